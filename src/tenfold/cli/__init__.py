"""The command line: results on standard output, everything else on standard error."""

from __future__ import annotations

import os
import re
import sys
import traceback
from contextlib import suppress
from typing import Any, NoReturn, cast

import typer

from tenfold.cli import (  # noqa: F401 - they add the commands
    comparing,
    explaining,
    exporting,
    looking,
    serving,
    training,
    using,
)
from tenfold.cli.app import InterruptedByUserError, app
from tenfold.cli.output import write_json
from tenfold.errors import StoppedAtOnce, StorageError, TenfoldError
from tenfold.native.waiting import let_threads_wait_briefly
from tenfold.reporting.language import error_line, note_on_language, speaker
from tenfold.reporting.streams import standard_streams
from tenfold.reporting.usage import misunderstood


class _NotEnoughMemoryError(TenfoldError):
    """Memory ran out where nothing more can be said of it."""

    def __init__(self) -> None:
        super().__init__("there is not enough memory", remedy="end other programs")


def main() -> NoReturn:
    """Run the command line; tenfold's own errors show a traceback only with `--debug`."""
    _forget_impossible_settings()
    let_threads_wait_briefly()
    debug = "--debug" in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != "--debug"]
    with standard_streams():
        if note := note_on_language():
            sys.stderr.write(f"{speaker(sys.stderr)(f'note: {note}')}\n")
        try:
            code = _run_app()
            sys.stdout.flush()
        except (TenfoldError, MemoryError) as found:
            error = found if isinstance(found, TenfoldError) else _NotEnoughMemoryError()
            code = error.exit_code
            if "--json" in sys.argv:
                with suppress(StorageError):  # the first error is the one to report
                    write_json({"error": _error_facts(error)})
            if debug:
                traceback.print_exception(found)
            else:
                sys.stderr.write(f"tenfold: {error_line(error, sys.stderr)}\n")
        except StoppedAtOnce as second_signal:
            code = cast("int", second_signal.code)
            is_server = sys.argv[1:2] == ["serve"]
            lost = "requests were not answered" if is_server else "nothing more was saved"
            said = speaker(sys.stderr)(f"stopped at once; {lost}")
            sys.stderr.write(f"tenfold: {said}\n")
        sys.exit(code)


_POSSIBLE = {
    "COLUMNS": r"0*[1-9][0-9]{1,4}",
    "LINES": r"0*[1-9][0-9]{0,4}",
    "OMP_NUM_THREADS": r"\s*0*[1-9][0-9]{0,8}(\s*,\s*0*[1-9][0-9]{0,8})*\s*",
    "OMP_DYNAMIC": r"(?i)\s*(true|false)\s*",
    "OMP_STACKSIZE": r"(?i)\s*0*([1-9]\d{5,8}\s*b|[1-9]\d{2,5}\s*k?|[1-9]\d{0,2}\s*m|1\s*g)\s*",
    "OMP_WAIT_POLICY": r"(?i)\s*(active|passive)\s*",
    "GOMP_SPINCOUNT": r"(?i)\s*([0-9]{1,18}\s*[kmgt]?|infinity|infinite)\s*",
}
"""By environment variable, values with which Rich shows something and OpenMP does not complain."""


def _forget_impossible_settings() -> None:
    """Drop settings from the environment that libraries would fail with, or complain about."""
    for name, possible in _POSSIBLE.items():
        value = os.environ.get(name)
        if value is not None and not re.fullmatch(possible, value):
            del os.environ[name]


def _error_facts(error: TenfoldError) -> dict[str, Any]:
    """What went wrong, ready for JSON; with every bad file, if that is what is wrong."""
    facts = {"message": error.message, "remedy": error.remedy, "exit_code": error.exit_code}
    bad_files = getattr(error, "bad_files", None)
    return facts if bad_files is None else {**facts, "bad_files": bad_files}


def _run_app() -> int | None:
    """Run the command; returns the exit code, None for 0.

    Raises:
        UsageError: the command line is wrong.
    """
    try:
        code: int | None = app(prog_name="tenfold", standalone_mode=False)
    except typer.Abort:
        raise InterruptedByUserError from None
    except typer.TyperException as error:
        if len(sys.argv) == 1:  # the message is the help text
            sys.stderr.write(f"{error.format_message()}\n")
            return error.exit_code
        raise misunderstood(error, sys.argv[1:]) from error
    if code == InterruptedByUserError.exit_code:  # by Ctrl-C while the command line was read
        raise InterruptedByUserError
    return code
