"""`histories`: generate what learners do, and see whether they learn."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ad_hypotheses.cli.options import AsJson, Threads, at_least
from ad_hypotheses.studies.machine import set_up_torch


def histories(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A YAML file, as for train.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help="Where to keep them.", show_default="histories/<name>"),
    ] = None,
    learners: Annotated[
        int | None,
        typer.Option(
            "--learners", metavar="N", callback=at_least(1), help="How many.", show_default="what CONFIG says"
        ),
    ] = None,
    minari: Annotated[
        str | None,
        typer.Option("--export-minari", metavar="NAME", help="Also write a Minari dataset, e.g. dark-room/dyna-q-v0."),
    ] = None,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Let the learners of a configuration live, and see whether they learn.

    Ctrl-C stops it; the same command goes on.
    """
    from ad_hypotheses.distill.config import read_config

    settings = read_config(config, task_file="named")
    from ad_hypotheses.studies.histories.study import live
    from ad_hypotheses.studies.train.study import default_name

    set_up_torch("cpu", threads)
    if learners is not None:
        fewer = settings.histories.model_copy(update={"learners": learners})
        settings = settings.model_copy(update={"histories": fewer})
    live(settings, Path("histories") / default_name(config) if out is None else out, minari, as_json)
