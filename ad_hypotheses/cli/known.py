"""`known`: make the networks whose circuits are known."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ad_hypotheses.cli.options import Models, Threads
from ad_hypotheses.studies.machine import set_up_torch


def known(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Of known networks.", show_default="all of them"),
    ] = None,
    models: Models = Path("models"),
    threads: Threads = None,
) -> None:
    """Make the networks whose circuits are known, each from its configuration in models/known-<name>.

    Every one is compared with its rule on random histories before it is kept. Some are trained, which takes minutes.

    Ctrl-C stops it; finished networks are kept, and a training goes on where it stopped.
    """
    from ad_hypotheses.known.build import make_all

    set_up_torch("cpu", threads)
    make_all(names or [], models)
