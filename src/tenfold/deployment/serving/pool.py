"""A few threads for work that would keep the event loop waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tenfold.deployment.serving.patience import Patience
from tenfold.deployment.serving.refusals import full

T = TypeVar("T")


class Pool:
    """A few threads, with a bounded queue before them.

    Args:
        threads: their number.
        most: maximum number of calls that run or wait.
        what: waits, for messages.

    Attributes:
        calls: number of those that run or wait.
    """

    def __init__(self, threads: int, most: int, what: str) -> None:
        self._threads = ThreadPoolExecutor(threads, f"tenfold-{what}")
        self._most, self._what = most, what
        self.calls = 0

    async def call(self, work: Callable[[], T], patience: Patience) -> T:
        """Call a function in one of the threads, unless patience has ended by then.

        Raises:
            RefusedError: too many wait, or this waited for too long.
            ClientGoneError: nobody waits for it any more.
        """
        if self.calls >= self._most:
            raise full(f"too many {self._what} are waiting")

        def call() -> T:
            patience.require()
            return work()

        self.calls += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, call)
        finally:
            self.calls -= 1

    def stop(self) -> None:
        """End the threads after what they are doing."""
        self._threads.shutdown()
