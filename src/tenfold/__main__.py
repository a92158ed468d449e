"""The command line as a process: `tenfold` and `python -m tenfold`."""

from __future__ import annotations

import _thread
import atexit
import math
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from types import FrameType
from typing import NoReturn


def program() -> NoReturn:
    """Run `main`, then end the process at once: freeing PyTorch takes a tenth of a second.

    Functions registered with `atexit` still run. The interpreter ends in the usual way if other
    threads run, output cannot be written, a Python debugger or profiler looks on, or this was not
    called at the top level of the main module. Code that goes on afterwards calls `main` instead.
    """
    try:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, _interrupt)
            sys.unraisablehook = _end_if_interrupted
        _open_standard_files()
        _run()
    except KeyboardInterrupt:
        _end_interrupted()


def _run() -> NoReturn:
    try:
        from tenfold.cli import main  # takes long enough to be interrupted

        main()
    except SystemExit as ending:
        code = ending.code or 0
        if isinstance(code, int) and _is_alone() and not _is_observed():
            atexit._run_exitfuncs()
            if _all_is_written():
                os._exit(code)
        raise


def _open_standard_files() -> None:
    """Open the standard files that are closed: others would take their place, and be written to."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            with suppress(OSError):
                os.open(os.devnull, os.O_RDWR)  # opens as the lowest number that is free


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raise `KeyboardInterrupt`, but end at once while a module is imported.

    A module may take the exception for another one, or not notice it. Further signals within a
    second mean the same: a terminal and a program that passes signals on may send one each.
    """
    del number
    if time.monotonic() < _Interrupted.until:
        return
    _Interrupted.until = time.monotonic() + 1
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            _end_interrupted()
        frame = frame.f_back
    raise KeyboardInterrupt


class _Interrupted:
    """Until when further signals mean the same."""

    until = 0.0


def _end_if_interrupted(ignored: sys.UnraisableHookArgs) -> None:
    """End the process if `KeyboardInterrupt` was raised where Python can only ignore it."""
    if issubclass(ignored.exc_type, KeyboardInterrupt):
        _end_interrupted()
    sys.__unraisablehook__(ignored)


def _end_interrupted() -> NoReturn:
    """End the process as Ctrl-C does, with one line."""
    _Interrupted.until = math.inf

    def say_so(done: list[bool]) -> None:
        with suppress(OSError):
            # A progress bar hides the cursor.
            start = b"\r\x1b[2K\x1b[?25h" if os.isatty(2) else b""
            os.write(2, start + b"tenfold: interrupted\n")
        done.append(True)

    done: list[bool] = []
    with suppress(RuntimeError):  # no more threads
        _thread.start_new_thread(say_so, (done,))  # if nobody reads it, writing waits for ever
        deadline = time.monotonic() + 1
        while not done and time.monotonic() < deadline:
            time.sleep(0.001)
    os._exit(128 + signal.SIGINT)


def _is_alone() -> bool:
    """Whether no other code has to run: no thread that the interpreter waits for, and no caller.

    There is one frame above `program`: of the script, or with `-m` of this module, which `runpy`
    runs.
    """
    frame: FrameType | None = sys._getframe(3)
    callers = 0
    while frame is not None:
        callers += frame.f_globals.get("__name__") != "runpy"
        frame = frame.f_back
    others = (each for each in threading.enumerate() if each is not threading.main_thread())
    return callers == 1 and all(each.daemon for each in others)


def _is_observed() -> bool:
    """Whether a debugger, profiler or coverage tool runs the program, or a prompt follows it."""
    tools = [sys.gettrace(), sys.getprofile()]
    if monitoring := getattr(sys, "monitoring", None):  # since Python 3.12
        tools += [monitoring.get_tool(number) for number in range(6)]
    return bool(sys.flags.inspect) or any(tool is not None for tool in tools)


def _all_is_written() -> bool:
    """Write what is buffered; False if that failed: the interpreter tries again, and reports it.

    What cannot be written to standard error is dropped.
    """
    with suppress(Exception):
        if sys.stderr is not None:
            sys.stderr.flush()
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except (OSError, ValueError):
        return False
    return True


if __name__ == "__main__":
    program()
