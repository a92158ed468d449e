"""PyTorch on a CPU with denormals flushed to zero, in a separate thread.

Arithmetic on denormals can be a hundred times slower, and training is full of them once gradients
vanish. But the setting is per thread, PyTorch's workers inherit it when they start, and it cannot
be undone in a worker. A separate thread has its own workers, which start with the setting and end
with the thread, so the caller's workers are not affected.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

import torch
from jaxtyping import Int64
from torch import Tensor

from tenfold.data.dataset import ImageDataset
from tenfold.evaluation.compiled import Predict
from tenfold.tensors import Images, Logits
from tenfold.training.engine import Engine, StepSettings, Stretch
from tenfold.training.state import TrainingState

P = ParamSpec("P")
R = TypeVar("R")


class FlushingThread:
    """Calls functions in one thread in which PyTorch flushes denormals to zero.

    It has as many workers as the thread that creates it. PyTorch's per-thread settings, such as
    `no_grad` and autocast, have their defaults there. Use it as a context manager, or close it.
    """

    def __init__(self) -> None:
        self._threads = torch.get_num_threads()
        self._start()

    def __call__(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function in the thread; returns or raises what it does."""
        if os.getpid() != self._process:  # a fork copies this object, but not the thread
            self._start()
        return self._executor.submit(function, *args, **kwargs).result()

    def __enter__(self) -> FlushingThread:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the thread and its workers once the current call is done."""
        if os.getpid() == self._process:
            self._executor.shutdown()

    def _start(self) -> None:
        self._process = os.getpid()
        self._executor = ThreadPoolExecutor(
            1, thread_name_prefix="tenfold", initializer=_flush, initargs=(self._threads,)
        )


def flushing(predict: Predict) -> Predict:
    """The same function, run in a thread that flushes denormals."""

    def flushing_predict(images: Images, batch_size: int) -> Logits:
        with FlushingThread() as thread:
            return thread(predict, images, batch_size)

    return flushing_predict


class FlushingEngine(Engine):
    """Another engine, run in a thread that flushes denormals.

    Args:
        kind: the other engine's class.
        state: see `Engine`.
        data: see `Engine`.
        settings: see `Engine`.
    """

    def __init__(
        self,
        kind: type[Engine],
        state: TrainingState,
        data: ImageDataset,
        settings: StepSettings,
    ) -> None:
        super().__init__(state, data, settings)
        self._thread = FlushingThread()
        try:
            self._engine = self._thread(kind, state, data, settings)
        except BaseException:
            self._thread.close()
            raise

    def begin_epoch(self, epoch: int, order: Int64[Tensor, " n"]) -> None:
        """See `Engine`."""
        self._thread(self._engine.begin_epoch, epoch, order)

    def advance(
        self, first: int, learning_rates: Sequence[float], *, gradient_norms: bool = False
    ) -> Stretch:
        """See `Engine`."""
        return self._thread(
            self._engine.advance, first, learning_rates, gradient_norms=gradient_norms
        )

    def logits(self, images: Images, batch_size: int) -> Logits:
        """See `Engine`."""
        return self._thread(self._engine.logits, images, batch_size)

    def close(self) -> None:
        """See `Engine`."""
        try:
            self._thread(self._engine.close)
        finally:
            self._thread.close()


def denormals_are_flushed(threads: int) -> bool:
    """Whether PyTorch flushes denormals to zero in this thread and all its workers.

    Args:
        threads: number of PyTorch's threads; with 1 it has no workers.
    """
    enough_for_all = threads * 2**16 if threads > 1 else 1
    # Created and checked as bits: a thread that flushes would read the numbers as zeros.
    denormal = torch.full((enough_for_all,), 1000, dtype=torch.int32).view(torch.float32)
    return not bool((denormal * 0.5).view(torch.int32).count_nonzero())


def _flush(threads: int) -> None:
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
