"""Images of many requests computed together: while one thread computes, others gather."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from tenfold.deployment.classifier import Guess
from tenfold.deployment.looks import Look
from tenfold.deployment.serving.limits import Limits
from tenfold.deployment.serving.refusals import full
from tenfold.types import PixelArray


@dataclass(frozen=True, slots=True)
class Judged:
    """What a model says of one image.

    Attributes:
        guesses: the most probable classes, most probable first.
        look: how it differs from the training images.
    """

    guesses: tuple[Guess, ...]
    look: Look


Compute = Callable[[PixelArray, int], list[Judged]]
"""From images and a number of classes to what the model says of each."""


@dataclass(eq=False, slots=True)
class _Waiting:
    """A request whose images wait."""

    pixels: PixelArray
    top: int
    answered: asyncio.Future[list[Judged]]
    since: float = field(default_factory=time.monotonic)


class Batcher:
    """Computes images of many requests together.

    Args:
        compute: called by one thread.
        limits: `queue`, `batch`, `delay` and `answer_seconds`.
        observe: called by that thread with the number of images of each batch.

    Attributes:
        waiting: number of images that wait.
    """

    def __init__(
        self, compute: Compute, limits: Limits, observe: Callable[[int], object] = lambda _: None
    ) -> None:
        self._compute, self._limits, self._observe = compute, limits, observe
        self.waiting = 0
        self._queue: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._work, name="tenfold-batches", daemon=True)
        self._thread.start()

    async def judge(self, pixels: PixelArray, top: int) -> list[Judged]:
        """What the model says of these images.

        Args:
            pixels: one or more, in the model's shape.
            top: number of guesses, 1 or more.

        Raises:
            RefusedError: too many images wait, or these waited for too long.
        """
        if self.waiting and self.waiting + len(pixels) > self._limits.queue:
            raise full("too many images are waiting to be classified")
        answered: asyncio.Future[list[Judged]] = asyncio.get_running_loop().create_future()
        with self._changed:
            self._queue.append(_Waiting(pixels, top, answered))
            self.waiting += len(pixels)
            self._changed.notify()
        return await answered

    def stop(self) -> None:
        """Compute what waits, and end the thread."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while batch := self._next():
            late = time.monotonic() - self._limits.answer_seconds
            outcomes: list[_Outcome] = [
                (each, full("the images waited for too long to be classified"))
                for each in batch
                if each.since <= late
            ]
            if in_time := [each for each in batch if each.since > late]:
                outcomes += self._answers(in_time)
            batch[0].answered.get_loop().call_soon_threadsafe(_settle, outcomes)

    def _next(self) -> list[_Waiting]:
        """Wait for requests; empty when there will be no more."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._is_stopping)
            if self._queue and self._limits.delay:
                end = self._queue[0].since + self._limits.delay
                self._changed.wait_for(self._is_enough, max(0.0, end - time.monotonic()))
            batch: list[_Waiting] = []
            images = 0
            while self._queue and (
                not batch or images + len(self._queue[0].pixels) <= self._limits.batch
            ):
                batch.append(self._queue.popleft())
                images += len(batch[-1].pixels)
            self.waiting -= images
            return batch

    def _is_enough(self) -> bool:
        return self.waiting >= self._limits.batch or self._is_stopping

    def _answers(self, batch: list[_Waiting]) -> list[_Outcome]:
        self._observe(sum(len(each.pixels) for each in batch))
        try:
            return self._computed(batch)
        except Exception as error:  # noqa: BLE001 - whoever waits gets it
            if len(batch) == 1:
                return [(batch[0], error)]
        # One image can be at fault; the others' clients shall not notice.
        outcomes: list[_Outcome] = []
        first: Exception | None = None
        for each in batch:
            try:
                outcomes += self._computed([each])
            except Exception as error:  # noqa: BLE001 - likewise
                first = first or error  # which is reported once
                outcomes.append((each, first))
        return outcomes

    def _computed(self, batch: list[_Waiting]) -> list[_Outcome]:
        pixels = batch[0].pixels
        if len(batch) > 1:
            pixels = np.concatenate([each.pixels for each in batch])
        judged = self._compute(pixels, max(each.top for each in batch))
        outcomes: list[_Outcome] = []
        done = 0
        for each in batch:
            own = judged[done : done + len(each.pixels)]
            done += len(own)
            outcomes.append((each, [Judged(one.guesses[: each.top], one.look) for one in own]))
        return outcomes


_Outcome = tuple[_Waiting, list[Judged] | Exception]


def _settle(outcomes: list[_Outcome]) -> None:
    """Hand over what was computed, in the thread of the event loop."""
    for waiting, outcome in outcomes:
        if waiting.answered.done():  # nobody waits any more
            continue
        if isinstance(outcome, Exception):
            waiting.answered.set_exception(outcome)
        else:
            waiting.answered.set_result(outcome)
