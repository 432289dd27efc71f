"""`new`: begin a hypothesis file that runs as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the hypothesis and its file.", show_default=False)],
    folder: Annotated[Path, typer.Option("--folder", metavar="FOLDER", help="Where the hypothesis files are.")] = Path(
        "hypotheses"
    ),
) -> None:
    """Begin a hypothesis file that runs as it is."""
    from ad_hypotheses.language.problems import shown_path
    from ad_hypotheses.language.template import write_template
    from ad_hypotheses.report.screen import out, say

    file = shown_path(write_template(name, folder))
    say(out(), f"wrote {file}", "green")
    say(out(), f"change it, then: python cli.py check {file}")
