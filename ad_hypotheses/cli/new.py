"""`new`: begin a hypothesis file that runs as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ad_hypotheses.cli.options import Models, Trust


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the hypothesis and its file.", show_default=False)],
    folder: Annotated[Path, typer.Option("--folder", metavar="FOLDER", help="Where the hypothesis files are.")] = Path(
        "hypotheses"
    ),
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="NAME", help="Write it for this model.", show_default="any dark-room model"),
    ] = None,
    models: Models = Path("models"),
    trust: Trust = None,
) -> None:
    """Begin a hypothesis file that runs as it is."""
    from ad_hypotheses.language.problems import shown_path
    from ad_hypotheses.language.template import write_template
    from ad_hypotheses.report.screen import out, say
    from ad_hypotheses.storage.places import program

    text = None
    if model is not None:
        from ad_hypotheses.studies.check.template import template_of

        text = template_of(name, model, models)
    file = shown_path(write_template(name, folder, text))
    say(out(), f"wrote {file}", "green")
    say(out(), f"change it, then: {program()} check {file}")
