"""What Ctrl-C does: end at once while nothing was begun, and stop at a safe place afterwards.

SIGTERM, which SLURM, Docker and Kubernetes send before they kill, and SIGHUP, which a closed terminal sends, do it too.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ad_hypotheses.report.progress import Meter, metered
from ad_hypotheses.storage.lock import release_all
from ad_hypotheses.studies.machine import keep_freed_memory

if TYPE_CHECKING:
    from ad_hypotheses.storage.scratch import Scratch

STOPPED = 2  # exit code of a run that was stopped
ECHO = 3.0  # seconds in which a launcher may repeat a Ctrl-C, or send another signal for the same reason
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SHOW_CURSOR = b"\r\x1b[?25h"  # a progress bar hides it


class Stopped(Exception):
    """The user stopped a run; the message says what is kept and how to go on, unless another process says it."""


@contextmanager
def leaving_at_once() -> Iterator[None]:
    """Let Ctrl-C end the program without a word more than needed, since nothing can be lost yet."""
    with _handling(lambda number, frame: _leave(b"stopped.\n")):
        yield


@contextmanager
def stoppable(explain: Callable[[], str]) -> Iterator[None]:
    """Let Ctrl-C stop what is inside, wherever it is.

    Args:
        explain: Returns what to tell the user then.

    Raises:
        Stopped: The user pressed Ctrl-C.
    """
    with _handling(signal.default_int_handler):
        try:
            yield
        except KeyboardInterrupt:
            raise Stopped(explain()) from None


class Brake:
    """Remembers a Ctrl-C until the run reaches a place where it may stop; a second Ctrl-C ends it at once."""

    def __init__(self, passed_on: bool = False) -> None:
        self.pulled, self.passed_on, self.since, self.by = False, passed_on, 0.0, 0

    def stop_if_pulled(self) -> None:
        """Stop here if the user asked for it.

        Raises:
            KeyboardInterrupt: The user did.
        """
        if self.pulled:
            raise KeyboardInterrupt

    def _pull(self, number: int, frame: Any) -> None:
        # a scheduler signals a worker of a sweep, and so does the sweep, which was signalled too
        if self.pulled and (self.passed_on or number != self.by) and time.monotonic() < self.since + ECHO:
            return
        if self.pulled:
            _leave(b"stopped at once; the same command goes on where the state was saved last.\n")
        self.pulled, self.since, self.by = True, time.monotonic(), number
        os.write(2, b"\rstopping at the next safe place; Ctrl-C again ends at once\n")


@contextmanager
def braking(explain: Callable[[], str], passed_on: bool = False) -> Iterator[Brake]:
    """Let Ctrl-C stop what is inside, but only where it calls `stop_if_pulled`.

    Args:
        explain: Returns what to tell the user then.
        passed_on: A launcher repeats every Ctrl-C to this process, which has seen it already.

    Raises:
        Stopped: The user pressed Ctrl-C.
    """
    brake = Brake(passed_on)
    with _handling(brake._pull):
        try:
            yield brake
        except KeyboardInterrupt:
            raise Stopped(explain()) from None


class StoppableMeter(Meter):
    """Show a run, and let Ctrl-C stop it where it says that it may be stopped."""

    _brake: Brake | None = None

    def may_stop(self) -> None:
        """Stop here if the user asked for it."""
        if self._brake is not None:
            self._brake.stop_if_pulled()

    def stopping(
        self, explain: Callable[[], str], *, at_once: bool = True, repeated: bool = False
    ) -> AbstractContextManager[None]:
        """Let Ctrl-C stop what is inside, as in :class:`ad_hypotheses.progress.Progress`.

        Raises:
            Stopped: The user pressed Ctrl-C.
        """
        return stoppable(explain) if at_once else self._braking(explain, repeated)

    @contextmanager
    def _braking(self, explain: Callable[[], str], repeated: bool) -> Iterator[None]:
        with braking(explain, repeated) as self._brake:
            try:
                yield
            finally:
                self._brake = None


@contextmanager
def watched() -> Iterator[Meter]:
    """Give a meter that shows progress on stderr, and lets Ctrl-C stop what reports to it."""
    with metered(StoppableMeter) as meter:
        yield meter


@contextmanager
def resumable(reports: Path, name: str, nothing: str, done: str) -> Iterator[tuple[Meter, Scratch]]:
    """Give a study a meter and a place to keep what it measures, which is cleared once the study has ended.

    Args:
        reports: Folder of the reports.
        name: Name of the place: runs of that name go on from each other.
        nothing: What did not even begin where it is stopped at once: `"a claim"`.
        done: Participle of what is kept: `"measured"`.

    Raises:
        Stopped: The user pressed Ctrl-C; says what is kept.
    """
    from ad_hypotheses.storage.scratch import LIVES, PARTIAL, Scratch, clear_old

    scratch = Scratch(reports / PARTIAL / name)
    keep_freed_memory()
    with watched() as meter, meter.stopping(lambda: scratch.when_stopped(nothing, done)):
        yield meter, scratch
        scratch.discard()
        for folder in (PARTIAL, LIVES):
            meter.say(clear_old(reports / folder), "dim")


@contextmanager
def following() -> Iterator[None]:
    """Leave Ctrl-C to the first of several processes, which tells this one when to stop."""
    with _handling(signal.SIG_IGN):
        try:
            yield
        except KeyboardInterrupt:
            raise Stopped from None


def _leave(words: bytes) -> None:
    os.write(2, (SHOW_CURSOR if os.isatty(2) else b"") + words)
    release_all()
    os._exit(STOPPED)


@contextmanager
def _handling(handler: Any) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # only the main thread gets signals
        yield
        return
    # nohup lets a program ignore that its terminal is closed
    wanted = [number for number in SIGNALS if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in wanted}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier or signal.SIG_DFL)
