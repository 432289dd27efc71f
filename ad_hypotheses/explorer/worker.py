"""The one thread in which models run: requests wait their turn, and of those that replace each other, the newest."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from ad_hypotheses.progress import LINE_EVERY, Pace, Progress

Value = TypeVar("Value")
MOST_PAGES = 256  # whose newest requests are known


class Replaced(Exception):
    """A newer request of the same page for the same panel came before this one was begun."""


class Cancelled(Exception):
    """The page that asked does not want the answer any more."""


class Listener(Progress):
    """Hears how far the work is that the thread is at, and stops it once its page does not want it any more."""

    def __init__(self) -> None:
        self.page, self.number, self.title, self.done, self.total, self.since = "", -1, "", 0, 0, 0.0
        self.cancelled: dict[str, int] = {}  # numbers below are not wanted

    def set_about(self, page: str, number: int) -> None:
        """Note whose work begins.

        Raises:
            Cancelled: It is not wanted any more.
        """
        self.page, self.number, self.title, self.done, self.total, self.since = page, number, "", 0, 0, time.monotonic()
        self.may_stop()

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
        """Start a phase, as :class:`Progress` has it."""
        self.title, self.total, self.done = title, total, done

    def reach(self, done: int, note: str = "") -> None:
        """Note how far it is."""
        self.done = done

    def may_stop(self) -> None:
        """Stop where the page said so.

        Raises:
            Cancelled: It did.
        """
        if self.number < self.cancelled.get(self.page, 0):
            raise Cancelled

    def plain(self) -> dict[str, Any]:
        """Return what the thread is at, as plain data; nothing where that has not told how far it is."""
        title, done, total = self.title, self.done, self.total
        return {"title": title, "done": done, "total": total} if title and total else {}


class ModelThread:
    """Runs one piece of work at a time.

    Attributes:
        listener: Hears what the work tells.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="explorer")
        self._numbers = itertools.count()
        self._newest: OrderedDict[tuple[str, str], int] = OrderedDict()
        self.listener = Listener()

    async def run(self, page: str, panel: str, work: Callable[[], Value]) -> Value:
        """Run a piece of work, unless a newer one for the same panel of the same page comes before it is begun.

        Args:
            page: Name of the page that asks; pages do not replace each other's work.
            panel: What it is for.
            work: The work.

        Raises:
            Replaced: A newer one came.
            Cancelled: The page cancelled it.
        """
        number, asked = next(self._numbers), (page, panel)
        self._newest[asked] = number
        self._newest.move_to_end(asked)
        while len(self._newest) > MOST_PAGES:
            self._newest.popitem(last=False)

        def unless_replaced() -> Value:
            if self._newest.get(asked, number) > number:
                raise Replaced
            self.listener.set_about(page, number)
            try:
                return work()
            finally:
                self.listener.title = ""

        return await asyncio.get_running_loop().run_in_executor(self._thread, unless_replaced)

    def cancel(self, page: str) -> None:
        """Stop what a page asked for so far, at the next place where it may stop."""
        cancelled = self.listener.cancelled
        cancelled[page] = next(self._numbers)
        while len(cancelled) > MOST_PAGES:
            del cancelled[next(iter(cancelled))]
