"""Run many jobs on an executor, whose workers may be lost on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, as_completed
from contextlib import AbstractContextManager
from typing import TypeVar

from ad_hypotheses.jobs.engines import RETRIES

J = TypeVar("J")
R = TypeVar("R")


def run_jobs(
    function: Callable[[J], R],
    jobs: Sequence[J],
    executors: Callable[[], AbstractContextManager[Executor]],
    retries: int = RETRIES,
    lost: Callable[[int], None] = lambda attempt: None,
) -> Iterator[tuple[J, R]]:
    """Run a function on every job and yield each with its result once it is done, in whatever order.

    A pool of processes is broken by the death of one of them. Then another pool is opened, and what had not ended is
    sent to it; clusters do that themselves.

    Args:
        function: Of a job; a function of a module, so that workers find it.
        jobs: What to do; those that take longest first.
        executors: Opens an executor; its exit ends what still runs.
        retries: How many broken executors are replaced.
        lost: Called with the number of the attempt that follows.

    Raises:
        BrokenExecutor: One more was broken.
    """
    waiting = list(jobs)
    for attempt in range(retries + 1):
        done: set[int] = set()
        try:
            with executors() as executor:
                numbers = {executor.submit(function, job): number for number, job in enumerate(waiting)}
                for future in as_completed(numbers):
                    result = future.result()
                    done.add(numbers[future])
                    yield waiting[numbers[future]], result
            return
        except BrokenExecutor:
            if attempt == retries:
                raise
            waiting = [job for number, job in enumerate(waiting) if number not in done]
            lost(attempt + 1)
