"""A list of runs as plain text."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from tenfold.data.catalog.table import DATASETS
from tenfold.errors import printable
from tenfold.reporting.columns import in_table, width_of
from tenfold.reporting.language import Say
from tenfold.runs.listing import ListedRun, Listing

COLUMNS: dict[str, Callable[[ListedRun], str]] = {
    "run": lambda run: run.name,
    "when": lambda run: _when(run.created),
    "data": lambda run: _short(run.data if run.data in DATASETS else Path(run.data).name),
    "model": lambda run: _short(run.model),
    "status": lambda run: run.status,
    "epochs": lambda run: f"{run.epochs_done}/{run.epochs}",
    "val_acc": lambda run: _share(run, "val_acc"),
    "test_acc": lambda run: _share(run, "test_acc"),
    "n": lambda run: f"{run.figures['n_test']:,}" if run.figures.get("n_test") else "-",
    "seconds": lambda run: f"{run.figures['seconds']:,.1f}" if "seconds" in run.figures else "-",
}
"""The heading of each column, and its cell for a run."""

DISPENSABLE = ("seconds", "n", "data", "model", "when")
"""Columns that are left out, one after the other, if the table is too wide."""

LEFT = ("run", "when", "data", "model", "status")

_LONGEST = 20


def listing_text(listing: Listing, width: int | None = None, say: Say = str) -> str:
    """A line for each run, the newest last.

    Args:
        listing: the runs.
        width: of the terminal, in columns; None for any.
        say: turns a status into the language of its reader.
    """
    chosen = list(COLUMNS)
    rows = [
        [say(cell(run)) if name == "status" else cell(run) for name, cell in COLUMNS.items()]
        for run in listing.runs
    ]
    for column in DISPENSABLE:
        if width is None or width_of(chosen, rows) <= width:
            break
        place = chosen.index(column)
        chosen.pop(place)
        for row in rows:
            row.pop(place)
    return "\n".join(in_table(chosen, rows, left=LEFT))


def _when(created: str) -> str:
    """A time in ISO 8601 as the clock on the wall shows it, to the minute."""
    try:
        return datetime.fromisoformat(created).astimezone().strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):
        return printable(created, 16)


def _share(run: ListedRun, figure: str) -> str:
    value = run.figures.get(figure)
    return "-" if value is None else f"{value:.4f}"


def _short(name: str) -> str:
    return printable(name, _LONGEST)
