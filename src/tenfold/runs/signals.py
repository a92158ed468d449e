"""Ctrl-C and SIGTERM: the first asks the run to save and stop, the second exits immediately."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Whether a signal has asked the run to stop, and which one.

    Attributes:
        signal_number: 0 until a signal arrives.
    """

    def __init__(self) -> None:
        self.signal_number = 0

    def __call__(self) -> bool:
        """Whether the run should stop."""
        return bool(self.signal_number)


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn SIGINT and SIGTERM into a stop request inside the block; a second one exits.

    Python delivers signals only to the main thread, so in others the request never comes.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, frame: FrameType | None) -> None:
        del frame
        request.signal_number = number
        for other in previous:
            signal.signal(other, _exit_at_once)

    for number in previous:
        signal.signal(number, ask)
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _exit_at_once(number: int, frame: FrameType | None) -> None:
    del frame
    signal.signal(number, signal.SIG_DFL)
    raise SystemExit(128 + number)
