"""Signals that a process was started with ignored, which its child processes inherit."""

from __future__ import annotations

import contextlib
import signal


def heed_ignored_signals() -> None:
    """Let child processes start with the usual handling of signals that are ignored here.

    Shells start background jobs with SIGINT and SIGQUIT ignored, and nohup ignores SIGHUP. Only
    handlers are not inherited, so each such signal gets one: of SIGINT the usual one; of the
    others, one that does nothing.
    """
    for number in sorted(signal.valid_signals()):
        if signal.getsignal(number) is not signal.SIG_IGN:
            continue
        if number in {getattr(signal, "SIGPIPE", None), getattr(signal, "SIGXFSZ", None)}:
            continue  # Python itself ignores them, but not in child processes
        usual = signal.default_int_handler if number == signal.SIGINT else _do_nothing
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, usual)


def _do_nothing(*_: object) -> None:
    pass
