"""What a long run tells whoever listens to it, and how fast it goes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

WINDOW = 60.0  # seconds that the estimate of the time left looks back
LINE_EVERY = 5.0  # seconds between two lines in a log


class Pace:
    """How fast something goes, from what was done when."""

    def __init__(self) -> None:
        self.seen: deque[tuple[float, int]] = deque()

    def note(self, done: int) -> None:
        """Remember that so much is done by now."""
        now = time.monotonic()
        self.seen.append((now, done))
        while len(self.seen) > 2 and self.seen[1][0] < now - WINDOW:
            self.seen.popleft()

    def left(self, total: int) -> float | None:
        """Return the seconds until `total` is done, None if nobody can tell yet."""
        if not self.seen:
            return None
        (began, first), (now, last) = self.seen[0], self.seen[-1]
        return (total - last) * (now - began) / (last - first) if last > first and now > began else None


class Progress:
    """Listen to a long run and show nothing: what every study reports to when nobody watches it.

    A listener may stop a run by raising KeyboardInterrupt: in :meth:`may_stop`, where everything that was done is kept,
    or within what :meth:`stopping` encloses.
    """

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
        """Start a phase.

        Args:
            title: Name of the phase.
            total: Amount to do; 0 if unknown.
            unit: What is counted.
            done: Amount that an earlier run did already.
            pace: What knows the time left; None for as long as what was done so far tells.
            line_every: Seconds between two lines, where the phase is written to a log.
        """

    def rename(self, title: str) -> None:
        """Give the phase another name."""

    def reach(self, done: int, note: str = "") -> None:
        """Report that so much of the phase is done, and what it is busy with."""

    def advance(self, by: int) -> None:
        """Report that so much more of the phase is done."""

    def note(self, text: str) -> None:
        """Report what the phase is busy with."""

    def say(self, line: str, style: str = "") -> None:
        """Report a line that stays."""

    def measured(self, name: str, figures: Mapping[str, Any]) -> None:
        """Report figures on the way: of an `"update"` of a training, or of an `"evaluation"` between updates."""

    def may_stop(self) -> None:
        """Hear that everything done so far is kept, so that the run may be stopped without a loss."""

    def stopping(
        self, explain: Callable[[], str], *, at_once: bool = True, repeated: bool = False
    ) -> AbstractContextManager[None]:
        """Return a context in which the run may be stopped.

        Args:
            explain: Returns what is kept then, and how to go on.
            at_once: Whether it may stop anywhere; otherwise only where it calls :meth:`may_stop`.
            repeated: Whether a launcher of several processes repeats every signal to this one.
        """
        return nullcontext()


class _Wait:
    """Who waits, and for which phase.

    Attributes:
        listener: Who.
        phase: Title and total of the phase that was told last.
    """

    def __init__(self, listener: Progress) -> None:
        self.listener, self.phase = listener, ("", 0)


# who lives, and the worlds, do not know who waits for them, and users write their own: hence no argument of theirs
_wait: ContextVar[_Wait | None] = ContextVar("wait", default=None)


@contextmanager
def reporting_to(listener: Progress) -> Iterator[None]:
    """Let a listener hear what runs inside and calls :func:`tell`."""
    former = _wait.set(_Wait(listener))
    try:
        yield
    finally:
        _wait.reset(former)


def tell(title: str, done: int, total: int, unit: str = "") -> None:
    """Report how far something is to whoever waits for it, and may stop it here.

    Args:
        title: Name of the phase.
        done: Amount that is done.
        total: Amount to do.
        unit: What is counted.
    """
    wait = _wait.get()
    if wait is None:
        return
    if wait.phase != (title, total):
        wait.phase = title, total
        wait.listener.begin(title, total, unit)
    wait.listener.reach(done)
    wait.listener.may_stop()


def counting(progress: Progress, title: str) -> Callable[[int, int], None]:
    """Return what is called with (done, total) and reports it as a phase, which may stop after every call."""
    shown = None

    def reached(done: int, total: int) -> None:
        nonlocal shown
        if total != shown:
            shown = total
            progress.begin(title, total, done=done)
        progress.reach(done)
        progress.may_stop()

    return reached


def duration(seconds: float | int) -> str:
    """Return a time as a person says it: `40 s`, `12 min`, `2 h 05 min`."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
