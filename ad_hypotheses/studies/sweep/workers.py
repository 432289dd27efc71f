"""The processes of a sweep: each trains one model, and none outlives a sweep that was stopped."""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ad_hypotheses

LOG = "log.txt"
WORK = "from ad_hypotheses.studies.sweep.workers import work; work()"
POOLS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
END_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl.h


def work() -> None:
    """Be a worker: run the command line, and stop as if by Ctrl-C when the sweep is no more."""

    def stop_once(*_: Any) -> None:
        # a sweep of several threads dies thread by thread and each says so, but a second Ctrl-C ends at once
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.raise_signal(signal.SIGINT)

    signal.signal(signal.SIGUSR1, stop_once)
    end_with_parent(signal.SIGUSR1)
    runpy.run_module("ad_hypotheses", run_name="__main__")


def end_with_parent(number: int) -> None:
    """Let this process get a signal when the one that started it ends, however that comes about; only on Linux."""
    import ctypes

    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(END_WITH_PARENT, number)


@dataclass
class Worker:
    """One process that trains one model.

    Attributes:
        name: Of the model.
        slot: Which of the workers it is, counted from 0.
        process: It.
        log: Where it writes.
        began: When, on the monotonic clock.
    """

    name: str
    slot: int
    process: subprocess.Popen[bytes]
    log: Path
    began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self.began


def start(name: str, slot: int, arguments: Sequence[str], threads: int, log: Path) -> Worker:
    """Start a worker.

    Args:
        name: Of its model.
        slot: Which of the workers it is.
        arguments: Arguments of the command line, from :func:`train_arguments`.
        threads: That it may use.
        log: Where to add what it says.

    Raises:
        OSError: There is no room for its log, or no more processes may be started.
    """
    paths = [str(Path(ad_hypotheses.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    pinned = {name: str(threads) for name in POOLS}
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", WORK, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, **pinned, "PYTHONPATH": os.pathsep.join(path for path in paths if path)},
            start_new_session=True,  # else a Ctrl-C would reach it twice: from the terminal and from the sweep
        )
    return Worker(name, slot, process, log)


def train_arguments(config: Path, folder: Path, device: str, threads: int) -> list[str]:
    """Return the arguments of the command line that train a model, and whose record says so."""
    place = [] if device == "cpu" else ["--device", device]
    return ["train", config.as_posix(), "--out", folder.as_posix(), *place, "--threads", str(threads)]


def stop(workers: Sequence[Worker]) -> None:
    """Stop workers where their state is whole, and wait for them."""
    for worker in workers:
        with suppress(ProcessLookupError):
            worker.process.send_signal(signal.SIGINT)
    for worker in workers:
        worker.process.wait()


def last_words(worker: Worker, n_lines: int = 6) -> list[str]:
    """Return the end of a worker's log, and how it ended if that was not its own doing."""
    try:
        lines = [line for line in worker.log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    except OSError as error:
        lines = [f"{worker.log} cannot be read: {error.strerror}"]
    code = worker.process.returncode
    killed = [f"ended by signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"exit code {code}"]
    return lines[-n_lines:] + (killed if code not in (1, 2) else [])
