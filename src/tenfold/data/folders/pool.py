"""Work for a pool of threads, which goes on when the main thread has ended."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def submitted(
    pool: ThreadPoolExecutor, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs
) -> Future[R]:
    """Like `pool.submit`; if the pool refuses, the function runs here, after its pending work.

    All pools refuse as soon as the main thread has ended, although other threads go on. If the pool
    cannot start a thread, the function may run twice.
    """
    try:
        return pool.submit(function, *args, **kwargs)
    except RuntimeError:
        pool.shutdown()  # waits for the work that it has
        done: Future[R] = Future()
        try:
            done.set_result(function(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - raised again by whoever waits for it
            done.set_exception(error)
        return done
