"""The one thread in which models run: requests wait their turn, and of those that replace each other, the newest."""

from __future__ import annotations

import asyncio
import itertools
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Value = TypeVar("Value")
MOST_PAGES = 256  # whose newest requests are known


class Replaced(Exception):
    """A newer request of the same page for the same panel came before this one was begun."""


class ModelThread:
    """Runs one piece of work at a time."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="explorer")
        self._numbers = itertools.count()
        self._newest: OrderedDict[tuple[str, str], int] = OrderedDict()

    async def run(self, page: str, panel: str, work: Callable[[], Value]) -> Value:
        """Run a piece of work, unless a newer one for the same panel of the same page comes before it is begun.

        Args:
            page: Name of the page that asks; pages do not replace each other's work.
            panel: What it is for.
            work: The work.

        Raises:
            Replaced: A newer one came.
        """
        number, asked = next(self._numbers), (page, panel)
        self._newest[asked] = number
        self._newest.move_to_end(asked)
        while len(self._newest) > MOST_PAGES:
            self._newest.popitem(last=False)

        def unless_replaced() -> Value:
            if self._newest.get(asked, number) > number:
                raise Replaced
            return work()

        return await asyncio.get_running_loop().run_in_executor(self._thread, unless_replaced)
