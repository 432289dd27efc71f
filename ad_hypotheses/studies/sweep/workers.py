"""The processes of a sweep: each trains one model, and none outlives a sweep that was stopped."""

from __future__ import annotations

import fcntl
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ad_hypotheses
from ad_hypotheses.errors import UserError

LOCK = ".sweep.lock.tmp"  # as files that nobody keeps are called
LOG = "log.txt"
WORK = "from ad_hypotheses.studies.sweep.workers import work; work()"
POOLS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
END_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl.h


def work() -> None:
    """Be a worker: run the command line, and stop as if by Ctrl-C when the sweep is no more."""
    import ctypes

    def stop_once(*_: Any) -> None:
        # a sweep of several threads dies thread by thread and each says so, but a second Ctrl-C ends at once
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.raise_signal(signal.SIGINT)

    with suppress(OSError, AttributeError):  # only Linux can do this
        prctl = ctypes.CDLL(None).prctl
        signal.signal(signal.SIGUSR1, stop_once)
        prctl(END_WITH_PARENT, signal.SIGUSR1)
    runpy.run_module("ad_hypotheses", run_name="__main__")


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


def start(name: str, slot: int, command: Sequence[str], threads: int, log: Path, lock: int) -> Worker:
    """Start a worker.

    Args:
        name: Of its model.
        slot: Which of the workers it is.
        command: What a user would type, `["python", "cli.py", "train", ...]`.
        threads: That it may use.
        log: Where to add what it says.
        lock: File that stays locked as long as it lives.

    Raises:
        OSError: There is no room for its log, or no more processes may be started.
    """
    paths = [str(Path(ad_hypotheses.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    pinned = {name: str(threads) for name in POOLS}
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", WORK, *command[2:]],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, **pinned, "PYTHONPATH": os.pathsep.join(path for path in paths if path)},
            start_new_session=True,  # else a Ctrl-C would reach it twice: from the terminal and from the sweep
            pass_fds=(lock,),
        )
    return Worker(name, slot, process, log)


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


@contextmanager
def locked(folder: Path) -> Iterator[int]:
    """Keep other sweeps out of a folder; gives the locked file.

    The lock is the operating system's, which drops it when its last holder ends, however that came about.

    Raises:
        UserError: Another sweep is in there, or one of its workers.
    """
    path = folder / LOCK
    file = _lock(path)
    try:
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield file.fileno()
    finally:
        path.unlink(missing_ok=True)
        file.close()


def _lock(path: Path) -> Any:
    while True:
        file = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            holder = file.read().strip()
            file.close()
            raise UserError(
                f"another sweep is training into {path.parent}" + (f" (process {holder})" if holder else "") + ".\n"
                "  Wait for it, stop it with Ctrl-C, or train into another folder (--out)."
            ) from None
        with suppress(OSError):
            if path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                return file
        file.close()  # its owner removed it in between: what was locked is no longer what others see
