"""Ray as a `concurrent.futures.Executor`. Needs the extra `ray`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from typing import Any


def call(function: Callable[..., Any], arguments: Sequence[Any], named: dict[str, Any]) -> Any:
    """Call a function on a worker."""
    return function(*arguments, **named)


class RayExecutor(Executor):
    """Run calls as Ray tasks, each of which is tried again where its worker or its node is lost.

    Args:
        ray: The module, connected to a cluster.
        cpus: Processors of each task.
        gpus: GPUs of each task, or a part of one; it sees no other.
        retries: Number of further attempts.
    """

    def __init__(self, ray: Any, cpus: int, gpus: float, retries: int) -> None:
        self._ray = ray
        self._task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=retries)(call)
        self._references: dict[Future[Any], Any] = {}

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        """Send a call to the cluster."""
        reference = self._task.remote(function, arguments, named)
        future: Future[Any] = reference.future()
        future.set_running_or_notify_cancel()  # else `cancel` would say yes, and the task go on
        self._references[future] = reference
        future.add_done_callback(lambda done: self._references.pop(done, None))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Cancel what has not ended, or wait for it."""
        for future, reference in list(self._references.items()):
            if cancel_futures:
                self._ray.cancel(reference, force=False)
            elif wait:
                future.exception()
