"""Many damaged inputs, one oracle: an input is accepted and gives sound figures, or is refused with a message.

A trial damages something and uses it. It says in one word what became of it, or raises: an assertion where figures are
wrong, and whatever the product raised where that is not a message to the user.
"""

from __future__ import annotations

import math
import resource
import shutil
import signal
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ad_hypotheses.errors import UserError

ACCEPTED, REFUSED = "accepted", "refused"
PATIENCE = 60.0  # seconds of processor time after which an input counts as one that hangs: far more than any needs
IDLE = 0.001  # share of that which a process takes while it waits for something that never comes
ROOM = 2 * 10**9  # bytes of address space that an input may take, so that a huge number ends in MemoryError
SHOWN = 12  # faults that a failure lists


class HangError(BaseException):
    """An input did not come to an end; no `except Exception` of the product may catch this."""


@dataclass
class Trial:
    """One input.

    Attributes:
        rng: Decides everything about it.
        place: An empty folder.
        words: What was done to it, for whoever must repeat it.
    """

    rng: np.random.Generator
    place: Path
    words: list[str] = field(default_factory=list)

    def note(self, words: str) -> None:
        """Remember what was done."""
        self.words.append(words)


def settled(use: Callable[[], Any]) -> tuple[str, Any]:
    """Use an input that may be damaged.

    Returns:
        `ACCEPTED` and what it gave, or `REFUSED` and the message.

    Raises:
        AssertionError: It was refused without a message.
    """
    try:
        return ACCEPTED, use()
    except UserError as error:
        message = str(error)
    assert message.strip(), "refused without a word"
    return REFUSED, message


@contextmanager
def bounded(seconds: float = PATIENCE, room: int = ROOM) -> Iterator[None]:
    """Stop what runs for too long, waits for ever or takes too much memory, on however busy a machine.

    Args:
        seconds: Of processor time. What takes hardly any for as long on the clock is waiting.
        room: Bytes of address space.

    Raises:
        HangError: It ran for too long, or waited.
        MemoryError: It took too much.
    """
    began = previous = time.process_time()

    def stop(*_: object) -> None:
        nonlocal previous
        now = time.process_time()
        if now - began >= seconds or now - previous < IDLE * seconds:
            raise HangError(f"no end after {now - began:.1f} s of processor time")
        previous = now

    before = signal.signal(signal.SIGALRM, stop)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + room, hard))
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@dataclass(frozen=True)
class Campaign:
    """Inputs of one subject.

    Attributes:
        seed: Of all of them.
        root: Folder for theirs.
        seconds: Of processor time, after which a subject's inputs end.
    """

    seed: int
    root: Path
    seconds: float = math.inf

    def run(self, subject: str, n_inputs: int, attempt: Callable[[Trial], str]) -> Counter[str]:
        """Try inputs, and count what became of them.

        Args:
            subject: What is damaged; each has inputs of its own.
            n_inputs: How many, unless time is over.
            attempt: Makes and uses one, and says what became of it.

        Raises:
            AssertionError: Some ended in anything but figures or a message; lists them with their numbers.
        """
        counts: Counter[str] = Counter()
        faults: list[str] = []
        began = time.process_time()
        try:
            for number in range(n_inputs):
                if time.process_time() - began > self.seconds:
                    break
                rng = np.random.default_rng([self.seed, zlib.crc32(subject.encode()), number])
                trial = Trial(rng, self.root / f"{subject}-{number}")
                trial.place.mkdir()
                try:
                    with bounded():
                        counts[attempt(trial)] += 1
                except (KeyboardInterrupt, GeneratorExit):
                    raise
                except BaseException as error:
                    counts["faults"] += 1
                    faults.append(_described(self.seed, subject, number, trial, error))
                    print(faults[-1])  # at once: a long campaign may be stopped before its end
                finally:
                    shutil.rmtree(trial.place, ignore_errors=True)
        finally:
            spent = time.process_time() - began
            print(
                f"{subject}, seed {self.seed}: {counts.total()} inputs, {dict(counts)}, {spent:.0f} s of processor time"
            )
        assert not faults, f"{len(faults)} of {counts.total()} inputs:\n\n" + "\n".join(faults[:SHOWN])
        return counts


def _described(seed: int, subject: str, number: int, trial: Trial, error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    calls = " < ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in reversed(frames))
    try:
        message = str(error)[:600]
    except Exception:
        message = "(no text)"
    done = "; ".join(trial.words) or "nothing was done yet"
    return f"{subject} {number} of seed {seed}: {done}\n  {type(error).__name__}: {message}\n  {calls}\n"
