"""The command line as a process: `tenfold` and `python -m tenfold`."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from typing import NoReturn

from tenfold.cli import main


def program() -> NoReturn:
    """Run `main`, then end the process at once: freeing PyTorch takes a tenth of a second.

    Functions registered with `atexit` still run. If other threads run, output cannot be written, or
    a debugger or profiler looks on, the interpreter ends in the usual way.
    """
    try:
        main()
    except SystemExit as ending:
        code = ending.code or 0
        if isinstance(code, int) and _is_only_thread() and not _is_observed():
            atexit._run_exitfuncs()
            if _all_is_written():
                os._exit(code)
        raise
    raise AssertionError("main() ends by SystemExit")


def _is_only_thread() -> bool:
    """Whether the interpreter would not have to wait for another thread before it ends."""
    others = (each for each in threading.enumerate() if each is not threading.main_thread())
    return all(each.daemon for each in others)


def _is_observed() -> bool:
    """Whether a debugger, profiler or coverage tool runs the program, or a prompt follows it."""
    tools = [sys.gettrace(), sys.getprofile()]
    if monitoring := getattr(sys, "monitoring", None):  # since Python 3.12
        tools += [monitoring.get_tool(number) for number in range(6)]
    return bool(sys.flags.inspect) or any(tool is not None for tool in tools)


def _all_is_written() -> bool:
    """Write what is buffered; False where the interpreter should try again, and report that."""
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except (OSError, ValueError):
        return False
    return True


if __name__ == "__main__":
    program()
