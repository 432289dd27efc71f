"""How far a long run is: a bar on a terminal, a plain line now and then in a log."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TextColumn
from rich.progress import Progress as Bars

from ad_hypotheses.progress import LINE_EVERY, Pace, Progress, duration
from ad_hypotheses.report.screen import aside, is_live, say


class Meter(Progress):
    """Show one phase of a run at a time; made by :func:`metered`."""

    def __init__(self, console: Console, bars: Bars | None) -> None:
        self.console, self._bars = console, bars
        self._bar = None if bars is None else bars.add_task("", visible=False, counts="", note="", left="")
        self._said = time.monotonic()
        self.begin("", 0)

    def begin(
        self,
        title: str,
        total: int,
        unit: str = "",
        done: int = 0,
        *,
        pace: Pace | None = None,
        line_every: float = LINE_EVERY,
    ) -> None:
        """Start a phase, as in :class:`Progress`."""
        self.title, self.total, self.unit, self.done, self.remark = title, total, unit, done, ""
        self.pace, self.line_every = Pace() if pace is None else pace, line_every
        self.pace.note(done)
        if self._bars is not None and self._bar is not None:
            self._bars.reset(self._bar, total=total or None, completed=done, visible=bool(title), description=title)
        self._show()

    def reach(self, done: int, note: str = "") -> None:
        """Report that so much of the phase is done, and what it is busy with."""
        self.done, self.remark = done, note
        self.pace.note(done)
        self._show()

    def advance(self, by: int) -> None:
        """Report that so much more of the phase is done."""
        self.reach(self.done + by, self.remark)

    def note(self, text: str) -> None:
        """Report what the phase is busy with."""
        self.reach(self.done, text)

    def rename(self, title: str) -> None:
        """Give the phase another name."""
        self.title = title
        self._show()

    def say(self, line: str, style: str = "") -> None:
        """Print a line that stays, if there is one."""
        if line:
            say(self.console, line, style)

    @property
    def time_left(self) -> str:
        """`12 min`, empty if nobody can tell yet."""
        seconds = self.pace.left(self.total) if self.total else None
        return "" if seconds is None or self.done >= self.total else duration(seconds)

    def _show(self) -> None:
        counts = f"{self.done:,.0f} of {self.total:,.0f} {self.unit}".rstrip() if self.total else ""
        left = f"{self.time_left} left" if self.time_left else ""
        if self._bars is not None and self._bar is not None:
            self._bars.update(
                self._bar, description=self.title, completed=self.done, counts=counts, note=self.remark, left=left
            )
        elif time.monotonic() - self._said >= self.line_every and self.title:
            self._said = time.monotonic()
            share = f"{counts} ({self.done / self.total:.0%})" if self.total else ""
            self.say(f"{self.title}: " + ", ".join(part for part in (share, self.remark, left) if part))


@contextmanager
def metered(kind: type[Meter] = Meter) -> Iterator[Meter]:
    """Give a meter that shows progress on stderr and clears itself away at the end."""
    console = aside()
    if not is_live(console):
        yield kind(console, None)
        return
    columns = (
        SpinnerColumn(style="cyan"),
        TextColumn("{task.description}", style="bold"),
        BarColumn(bar_width=28, complete_style="cyan", finished_style="cyan"),
        TextColumn("{task.fields[counts]}"),
        TextColumn("{task.fields[note]}", style="dim"),
        TextColumn("{task.fields[left]}", style="cyan"),
    )
    with Bars(*columns, console=console, transient=True, refresh_per_second=8) as bars:
        yield kind(console, bars)
