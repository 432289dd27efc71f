"""Look at the claims of a file whenever it is saved, and show the latest looks side by side."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ad_hypotheses.errors import UserError
from ad_hypotheses.report.screen import aside, out, say, say_error

if TYPE_CHECKING:
    from ad_hypotheses.studies.scrub.record import Study

EVERY = 0.2  # seconds between two looks at the file
SHOWN = 4  # of the latest looks


@dataclass(frozen=True)
class Look:
    """Figures of the claims of a file as it was once.

    Attributes:
        number: Number of the look, from 1.
        seconds: Of the processor that it took.
        figures: Fidelity by claim and regime, with its interval. {(claim, regime): text}
    """

    number: int
    seconds: float
    figures: dict[tuple[str, str], str]


def watch(
    file: Path,
    look: Callable[[], Sequence[Study]],
    explained: Callable[[UserError], str] = str,
    wait: Callable[[], None] = lambda: time.sleep(EVERY),
) -> None:
    """Look at the claims of a file at once and whenever it is saved, until Ctrl-C; what is wrong with them is said.

    Args:
        file: The file.
        look: Runs the file and looks at its claims.
        explained: Returns what to say of an error.
        wait: Waits a moment.
    """
    latest: deque[Look] = deque(maxlen=SHOWN)
    console, number = out(), 0
    for _ in _saved(file, wait):
        began = time.process_time()
        try:
            studies = look()
        except UserError as error:
            say_error(explained(error))
            continue
        number += 1
        latest.append(Look(number, time.process_time() - began, figures_of(studies)))
        show(latest, console)
        say(aside(), f"looks again when {file} is saved; Ctrl-C ends", "dim")


def _saved(file: Path, wait: Callable[[], None]) -> Iterator[None]:
    """Yield at once, and whenever another version of a file is there."""
    seen: tuple[int, int] | None = None
    while True:
        try:
            state = file.stat()
        except OSError:  # an editor puts a new version in its place
            wait()
            continue
        if (state.st_mtime_ns, state.st_size) == seen:
            wait()
            continue
        seen = state.st_mtime_ns, state.st_size
        yield


def figures_of(studies: Sequence[Study]) -> dict[tuple[str, str], str]:
    """Return the fidelity by claim and regime, with its interval."""
    from ad_hypotheses.report.words import interval

    claims = [claim for study in studies for claim in study.claims]
    return {
        (claim.name, regime.name): interval(regime.fidelity)
        for claim in claims
        for regime in claim.regimes
        if regime.fidelity is not None
    }


def show(looks: Sequence[Look], console: Console) -> None:
    """Print a table with a column for each look, the latest last; a figure that is new or has changed is bold."""
    table = Table(box=box.SIMPLE, title="fidelity: quick looks, no verdicts", title_justify="left")
    for head in ("claim", "regime"):
        table.add_column(head)
    for look in looks:
        table.add_column(f"{look.number} ({look.seconds:.1f} s)", justify="right")
    for key in looks[-1].figures:
        cells = [look.figures.get(key, "-") for look in looks]
        changed = [False, *(new != old for old, new in pairwise(cells))]
        styled = [Text(cell, "bold" if is_new else "") for cell, is_new in zip(cells, changed, strict=True)]
        table.add_row(*map(Text, key), *styled)
    console.print(table)
