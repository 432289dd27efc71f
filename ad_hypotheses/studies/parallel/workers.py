"""Where the parts of a study are done; their numbers are the same everywhere."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from ad_hypotheses.errors import UserError
from ad_hypotheses.jobs.local import end_with_parent, processes
from ad_hypotheses.jobs.run import run_jobs
from ad_hypotheses.progress import Progress
from ad_hypotheses.report.words import counted
from ad_hypotheses.studies.machine import keep_freed_memory

J = TypeVar("J")
R = TypeVar("R")


@dataclass(frozen=True)
class Workers:
    """Do jobs in this process, in others of this machine, or wherever an executor runs them.

    Attributes:
        number: Processes, unless there is an executor; 1 for this one alone.
        executor: Where jobs run instead.
        threads: Threads of each process; sums of other numbers of threads may differ in their last digits.
        say: Called with what a person should know.
    """

    number: int = 1
    executor: Executor | None = None
    threads: int = 1
    say: Callable[[str], None] = lambda words: None

    @property
    def alone(self) -> bool:
        """Whether there is only this process."""
        return self.executor is None and self.number == 1

    @property
    def where(self) -> str:
        """Where jobs are done, in words."""
        return counted(self.number, "process", "processes") if self.executor is None else "workers of an executor"

    def do(self, function: Callable[[J], R], jobs: Sequence[J], kept: Path | None = None) -> Iterator[tuple[J, R]]:
        """Run a function on every job and yield each with its result once it is done, in whatever order.

        Args:
            function: Of a job; a function of a module, so that workers find it.
            jobs: Those that take longest first.
            kept: Folder of what another run of the same goes on from.

        Raises:
            UserError: Processes were ended from outside again and again.
        """
        if self.alone:
            yield from ((job, function(job)) for job in jobs)
            return
        try:
            yield from run_jobs(self._anywhere(function), jobs, self._opened, lost=self._lost)
        except BrokenExecutor as error:
            raise UserError(
                "processes were ended from outside again and again; the system does so when memory runs out. What was "
                f"done is {'lost' if kept is None else f'kept in {kept}'}; the same command goes on, and takes less "
                f"memory with fewer of them: local:{max(1, self.number // 2)} (`engine`)."
            ) from error

    def _anywhere(self, function: Callable[[J], R]) -> Callable[[J], R]:
        """Return a function that uses as many threads wherever it runs; processes of this machine do from the start."""
        return function if self.executor is None else partial(_with_threads, self.threads, function)

    def _opened(self) -> AbstractContextManager[Executor]:
        if self.executor is not None:
            return nullcontext(self.executor)
        return processes(self.number, partial(begin_worker, self.threads))

    def _lost(self, attempt: int) -> None:
        self.say(f"a process was ended from outside; what it was at is done again (attempt {attempt + 1})")


ALONE = Workers()


def workers_of(executor: Executor | None, progress: Progress, number: int = 1) -> Workers:
    """Return what does parts on an executor, whose processes use as many threads as this one; without one, here."""
    import torch

    threads = 1 if executor is None and number > 1 else torch.get_num_threads()
    return Workers(number, executor, threads, progress.say)


def begin_worker(threads: int) -> None:
    """Be a worker of this machine: Ctrl-C is left to the process that began it, with which this one ends."""
    import torch

    torch.set_num_threads(threads)
    end_with_parent(signal.SIGTERM)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    keep_freed_memory()


def _with_threads(threads: int, function: Callable[[J], R], job: J) -> R:
    import torch

    torch.set_num_threads(threads)
    return function(job)
