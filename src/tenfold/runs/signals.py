"""Ctrl-C, SIGTERM and SIGHUP, which ask a run to save and stop."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from tenfold.errors import StoppedAtOnce

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP
_SECOND_EXITS = (signal.SIGINT, signal.SIGTERM)
"""After one of these, another one exits at once."""

MEANT_ONCE = 1.0
"""Seconds within which several signals mean the same: `timeout`, for example, sends its signal to
the process and to its group."""


class StopRequest:
    """Whether a signal has asked the run to stop, and which one.

    Attributes:
        signal_number: 0 until a signal arrives.
    """

    def __init__(self) -> None:
        self.signal_number = 0
        self._raises = False

    def __call__(self) -> bool:
        """Whether the run should stop."""
        return bool(self.signal_number)

    @contextmanager
    def raising(self) -> Iterator[None]:
        """Raise `KeyboardInterrupt` in the block as soon as the run should stop."""
        self._raises = True
        try:
            self._look()
            yield
            self._look()  # where Python can only ignore an exception, it was lost
        finally:
            self._raises = False

    def arrived(self, number: int) -> None:
        """Note a signal."""
        self.signal_number = number
        self._look()

    def _look(self) -> None:
        if self._raises and self.signal_number:
            raise KeyboardInterrupt


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn SIGINT, SIGTERM and SIGHUP into a stop request in the block.

    After SIGINT or SIGTERM, another of these exits, if it comes `MEANT_ONCE` seconds later. After
    SIGHUP the first of them does not, nor does a second SIGHUP do anything: when a terminal is
    closed or a session ends, the shell and the system send several. If the block ends well all the
    same, the signal is sent again.

    Signals that the process ignores, as a process under `nohup` ignores SIGHUP, stay ignored, and
    so do those whose handlers were not set by Python. Python delivers signals only to the main
    thread, so in others the request never comes.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    handlers = {number: signal.getsignal(number) for number in numbers}
    previous = {
        number: handler
        for number, handler in handlers.items()
        if handler not in (signal.SIG_IGN, None)
    }

    def ask(number: int, frame: FrameType | None) -> None:
        del frame
        since = time.monotonic()

        def again(number: int, frame: FrameType | None) -> None:
            if time.monotonic() >= since + MEANT_ONCE:
                _exit_at_once(number, frame)

        for other in previous:
            if other not in _SECOND_EXITS:
                signal.signal(other, signal.SIG_IGN)
            elif number in _SECOND_EXITS:
                signal.signal(other, again)
        request.arrived(number)

    for number in previous:
        signal.signal(number, ask)
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if request():
        signal.raise_signal(request.signal_number)


def _exit_at_once(number: int, frame: FrameType | None) -> None:
    del frame
    signal.signal(number, signal.SIG_DFL)
    raise StoppedAtOnce(128 + number)
