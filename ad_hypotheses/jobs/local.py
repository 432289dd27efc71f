"""Processes of this machine that run jobs, and end with the process that began them."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager, suppress

END_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl.h


@contextmanager
def processes(number: int, begin: Callable[[], None]) -> Iterator[Executor]:
    """Open a pool of processes; what still runs when an error leaves it is ended at once.

    Args:
        number: How many.
        begin: Called in each before its first job; a function of a module.
    """
    # a fork would copy the threads of torch in a state in which they never wake up
    with ProcessPoolExecutor(number, multiprocessing.get_context("spawn"), begin) as executor:
        try:
            yield executor
        except BaseException:
            for process in multiprocessing.active_children():
                process.terminate()  # else what it has begun would be waited for
            # only the executor's own thread joins them: of two threads that wait for one process, one is told nothing
            executor.shutdown(cancel_futures=True)
            raise


def end_with_parent(number: int) -> None:
    """Let this process get a signal when the one that started it ends, however that comes about; only on Linux."""
    import ctypes

    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(END_WITH_PARENT, number)
