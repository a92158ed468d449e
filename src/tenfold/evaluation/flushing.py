"""PyTorch on a CPU with denormals flushed to zero, in a separate thread.

Arithmetic on denormals can be a hundred times slower, and training is full of them once gradients
vanish. But the setting is per thread, PyTorch's workers inherit it when they start, and it cannot
be undone in a worker. A separate thread has its own workers, which start with the setting and end
with the thread, so the caller's workers are not affected.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any, ParamSpec, TypeVar

import torch
from torch import nn

from tenfold.evaluation.passes import predict_logits
from tenfold.evaluation.threads import run_threads
from tenfold.tensors import Images, Logits

P = ParamSpec("P")
R = TypeVar("R")


class FlushingThread:
    """Calls functions in one thread in which PyTorch flushes denormals to zero.

    It computes with the run's threads, or without a run, with as many as its creator. PyTorch's
    per-thread settings, such as `no_grad` and autocast, have their defaults there. Use it as a
    context manager, or close it.

    It is not a `ThreadPoolExecutor`, which refuses work as soon as the main thread has ended.
    """

    def __init__(self) -> None:
        self._threads = run_threads()
        self._start()

    def __call__(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function in the thread; returns or raises what it does.

        Raises:
            RuntimeError: the thread has been closed.
        """
        if not self._end.alive:
            raise RuntimeError("the thread has been closed")
        if os.getpid() != self._process:  # a fork copies this object, but not the thread
            self._start()
        call = _Call(partial(function, *args, **kwargs))
        self._calls.put(call)
        call.done.wait()
        if call.error is not None:
            try:
                raise call.error
            finally:
                del call  # the traceback refers to this frame, and the frame to the error
        result: R = call.result
        return result

    def __enter__(self) -> FlushingThread:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the thread and its workers once the current call is done."""
        self._end()
        if os.getpid() == self._process:
            self._thread.join()

    def _start(self) -> None:
        self._process = os.getpid()
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._end = weakref.finalize(self, self._calls.put, None)
        # A daemon: whoever forgets to close it need not wait for it when the program ends.
        work = partial(_work, self._calls, self._threads)
        self._thread = Thread(target=work, name="tenfold", daemon=True)
        self._thread.start()


def flushing_logits(model: nn.Module, images: Images, batch_size: int) -> Logits:
    """`predict_logits` in a new thread that flushes denormals."""
    with FlushingThread() as thread:
        return logits_in(thread, model, images, batch_size)


def logits_in(thread: FlushingThread, model: nn.Module, images: Images, batch_size: int) -> Logits:
    """`predict_logits` in a thread, one call per batch, so that Ctrl-C waits for only one."""
    batches = torch.split(images, batch_size)
    return torch.cat(
        [thread(predict_logits, model, batch, batch_size=batch_size) for batch in batches]
    )


def denormals_are_flushed(threads: int) -> bool:
    """Whether PyTorch flushes denormals to zero in this thread and all its workers.

    Args:
        threads: number of threads that PyTorch uses; with 1 it has no workers.
    """
    enough_for_all = threads * 2**16 if threads > 1 else 1
    # Created and checked as bits: as floats, a thread that flushes would see zeros.
    denormal = torch.full((enough_for_all,), 1000, dtype=torch.int32).view(torch.float32)
    return not bool((denormal * 0.5).view(torch.int32).count_nonzero())


@dataclass
class _Call:
    """A function to call in the thread, and what came of it once it is done."""

    function: Callable[[], Any]
    result: Any = None
    error: BaseException | None = None
    done: Event = field(default_factory=Event)


def _work(calls: SimpleQueue[_Call | None], threads: int) -> None:
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    while (call := calls.get()) is not None:
        try:
            call.result = call.function()
        except BaseException as error:  # noqa: BLE001 - raised again by whoever is waiting
            call.error = error
        call.done.set()
        del call  # the next one may come much later
