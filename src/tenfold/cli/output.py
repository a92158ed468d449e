"""What commands write: results to standard output, what they are doing to standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tenfold.errors import StorageError, json_line, printable
from tenfold.reporting.language import in_lines, speaker

if TYPE_CHECKING:
    from tenfold.runs import Run
    from tenfold.training.watching import Watcher

SCHEMA = 1
"""Version of the `--json` output."""


def show(facts: Mapping[str, Any], as_json: bool, text: Callable[[], str]) -> None:
    """Print facts as one JSON object, or as text in the language of its reader."""
    if as_json:
        write_json(facts)
    else:
        sys.stdout.write(f"{in_lines(text(), sys.stdout)}\n")
    sys.stdout.flush()


def write_json(facts: Mapping[str, Any]) -> None:
    """Print facts as one JSON object."""
    sys.stdout.write(f"{json_line({'schema': SCHEMA, **facts})}\n")


def open_in_viewer(path: Path) -> None:
    """Open a file in the program that the system has for it, or say that this failed."""
    if typer.launch(str(path)):
        said = f"{printable(path)}: no program here could open it"
        sys.stderr.write(f"{speaker(sys.stderr)(f'note: {said}')}\n")


def in_columns(table: Mapping[str, object]) -> str:
    """A line for each key and value."""
    width = max(map(len, table))
    return "\n".join(f"{key:<{width}}  {printable(value)}" for key, value in table.items())


def show_run(run: Run, as_json: bool) -> None:
    """Print a run's results; if that fails, the error says how to see them again."""
    from tenfold.reporting.terminal import run_text
    from tenfold.runs.folder import RunFolder

    try:
        show(run.to_dict(), as_json, lambda: run_text(run))
    except StorageError as error:
        again = RunFolder(run.folder).command("resume")
        raise StorageError(
            error.message, remedy=f"the run is saved; show its result with: {again}"
        ) from error


@contextmanager
def watching(quiet: bool = False, log_every: int = 0, plot: bool = False) -> Iterator[Watcher]:
    """The watcher for this output: a progress bar on a terminal, plain lines elsewhere.

    A notebook gives its commands what looks like a terminal, but it cannot redraw a line. What a
    network of the user's own prints goes to standard error, away from results.
    """
    with redirect_stdout(sys.stderr), _on_stderr(quiet, log_every, plot) as watcher:
        yield watcher


@contextmanager
def _on_stderr(quiet: bool, log_every: int, plot: bool) -> Iterator[Watcher]:
    is_in_notebook = "JPY_PARENT_PID" in os.environ
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb" or is_in_notebook:
        from tenfold.reporting.terminal import PlainWatcher

        yield _plotting(PlainWatcher(log_every=log_every, quiet=quiet), plot)
        return
    from tenfold.reporting.bar import BarWatcher

    with BarWatcher(log_every, quiet=quiet) as bar:
        yield _plotting(bar, plot)


def _plotting(watcher: Watcher, plot: bool) -> Watcher:
    if not plot:
        return watcher
    from tenfold.reporting.live import LivePlot
    from tenfold.training.watching import Watchers

    return Watchers([watcher, LivePlot(tell=watcher.note)])
