"""`known`: make the networks whose circuits are known."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ad_hypotheses.cli.options import Models, Threads
from ad_hypotheses.report.screen import out, say
from ad_hypotheses.storage.places import program
from ad_hypotheses.studies.machine import set_up_torch

if TYPE_CHECKING:
    from ad_hypotheses.known.build import BuiltNetwork


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
    from ad_hypotheses.known.build import build
    from ad_hypotheses.studies.interrupt import watched

    set_up_torch("cpu", threads)
    with watched() as meter:
        built = build(names or (), models, command=f"{program()} known", progress=meter)
    _show(built, models)


def _show(built: list[BuiltNetwork], models: Path) -> None:
    from ad_hypotheses.studies.evaluate.summary import drawn

    heads = ["network", "decisions compared", "largest difference", "of the optimum"]
    rows = [
        [
            network.name,
            f"{network.agreement['decisions']:,}",
            f"{network.agreement['largest']:.1e}",
            f"{network.share_of_optimum:.0%}",
        ]
        for network in built
    ]
    console = out()
    console.print(drawn(heads, rows))
    say(console, f"kept in {models}/; each has a card with its circuit", "dim")
