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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ad_hypotheses
from ad_hypotheses.jobs.local import end_with_parent
from ad_hypotheses.storage.lock import is_held
from ad_hypotheses.studies.interrupt import STOPPED

LOG = "log.txt"
END = ".end.tmp"  # in the folder of a sweep; while it is there, trainings stop
SECONDS_A_LOOK = 0.2  # between two looks at a process, and at whether it may go on
LOOKS_A_LOCK = 50  # looks at a process for every look at the lock of the sweep
WORK = "from ad_hypotheses.studies.sweep.workers import work; work()"
POOLS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def work() -> None:
    """Be a worker: run the command line, and stop as if by Ctrl-C when the sweep is no more."""

    def stop_once(*_: Any) -> None:
        # a sweep of several threads dies thread by thread and each says so, but a second Ctrl-C ends at once
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.raise_signal(signal.SIGINT)

    signal.signal(signal.SIGUSR1, stop_once)
    end_with_parent(signal.SIGUSR1)
    runpy.run_module("ad_hypotheses", run_name="__main__")


@dataclass(frozen=True)
class TrainingJob:
    """A training in a process of its own, wherever a job may be sent.

    Attributes:
        name: Of the model.
        arguments: Of the command line, from :func:`train_arguments`.
        threads: That the process may use.
        place: Folder in which it runs.
        log: Where to add what it says, below that folder.
        models: Folder of the sweep, below that folder too; while it holds the file `END` the training stops, and so it
            does when nobody holds its lock any more, so that it does not outlive a sweep that was killed.
    """

    name: str
    arguments: tuple[str, ...]
    threads: int
    place: Path
    log: Path
    models: Path

    def is_over(self, look: int) -> bool:
        """Return whether the sweep was stopped, or is no more; at some looks only the former."""
        models = self.place / self.models
        return (models / END).exists() or (look % LOOKS_A_LOCK == 0 and not is_held(models))


@dataclass(frozen=True)
class TrainingEnd:
    """How a training ended.

    Attributes:
        code: Exit code; negative the number of the signal that ended it.
        seconds: That it took.
    """

    code: int
    seconds: float


def run_training(training: TrainingJob) -> TrainingEnd:
    """Train a model in a process of its own, and wait for it; it stops where its state is whole if the sweep does.

    Raises:
        OSError: There is no room for its log, or no more processes may be started.
    """
    began = time.monotonic()
    if training.is_over(0):
        return TrainingEnd(STOPPED, 0.0)
    process = start(training.arguments, training.threads, training.log, training.place)
    asked, looks = False, 0
    try:
        while process.poll() is None:
            if not asked and training.is_over(looks):
                asked = True
                process.send_signal(signal.SIGINT)
            looks += 1
            time.sleep(SECONDS_A_LOOK)
    except BaseException:  # a cluster takes its worker back
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)
        process.wait()
        raise
    return TrainingEnd(process.returncode, time.monotonic() - began)


def start(arguments: Sequence[str], threads: int, log: Path, place: Path) -> subprocess.Popen[bytes]:
    """Start the process of a training; arguments are those of :class:`TrainingJob`."""
    paths = [str(Path(ad_hypotheses.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    pinned = {name: str(threads) for name in POOLS}
    with (place / log).open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-c", WORK, *arguments],
            cwd=place,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, **pinned, "PYTHONPATH": os.pathsep.join(path for path in paths if path)},
            start_new_session=True,  # else a Ctrl-C would reach it twice: from the terminal and from the sweep
        )


def train_arguments(config: Path, folder: Path, device: str, threads: int) -> list[str]:
    """Return the arguments of the command line that train a model, and whose record says so."""
    place = [] if device == "cpu" else ["--device", device]
    return ["train", config.as_posix(), "--out", folder.as_posix(), *place, "--threads", str(threads)]


def last_words(log: Path, code: int, n_lines: int = 6) -> list[str]:
    """Return the end of the log of a training, and how it ended if that was not its own doing."""
    try:
        lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    except OSError as error:
        lines = [f"{log} cannot be read: {error.strerror}"]
    killed = [f"ended by signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"exit code {code}"]
    return lines[-n_lines:] + (killed if code not in (1, 2) else [])
