"""Commands that list and compare runs."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from tenfold.cli.app import TRAINING, command
from tenfold.cli.options import DataRoot, Json, Offline, Open
from tenfold.cli.output import open_in_viewer, show, watching
from tenfold.errors import UsageError, shell_word
from tenfold.paths import exists
from tenfold.reporting.language import speaker

RUNS = Path("runs")
"""Where runs are by default."""


@command(TRAINING)
def runs(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Where to look, up to three folders deep.")
    ] = RUNS,
    as_json: Json = False,
) -> None:
    """List runs: when, data, model, status and figures; the newest last."""
    from tenfold.reporting.listing import listing_text
    from tenfold.runs.listing import Listing, list_runs
    from tenfold.storage import absolute

    if folder == RUNS and not exists(folder):
        listing = Listing(absolute(folder), (), {})
    else:
        listing = list_runs(folder)
    if listing.problems:
        with watching() as watcher:
            for name, problem in listing.problems.items():
                watcher.note(f"{name}: {problem}")
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    show(
        listing.to_dict(),
        as_json,
        lambda: (
            listing_text(listing, width, speaker(sys.stdout)) if listing.runs else _none_in(folder)
        ),
    )


@command(TRAINING)
def compare(
    places: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help="Two or more folders of runs, or of train --seeds. Others are tested against the "
            "first.",
        ),
    ],
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Also write a page with curves to this file."),
    ] = None,
    open_it: Open = False,
    data_root: DataRoot = None,
    offline: Offline = False,
    as_json: Json = False,
) -> None:
    """Put runs side by side: figures, what differs in them, and whether it is chance.

    Runs that differ only in their seeds are taken together.
    """
    from tenfold.reporting.comparison.text import comparison_text
    from tenfold.runs.comparing import compare_runs
    from tenfold.runs.resources import Resources
    from tenfold.storage import destination

    if html is not None:
        destination(html)  # refuses it before the work
    elif open_it:
        raise UsageError("--open: there is no page to open", remedy="add --html FILE")
    with watching() as watcher:
        comparison = compare_runs(
            places, resources=Resources(data_root, not offline), listener=watcher
        )
        for note in comparison.notes:
            watcher.note(note)
    if html is not None:
        from tenfold.reporting.comparison.page import write_page

        write_page(html, comparison)
    page = "" if html is None else f"\n\npage  {shell_word(html)}"
    show(
        comparison.to_dict(),
        as_json,
        lambda: comparison_text(comparison, speaker(sys.stdout)) + page,
    )
    if html is not None and open_it:
        open_in_viewer(html)


def _none_in(folder: Path) -> str:
    """That there are no runs, and how to get some."""
    place = shell_word(folder)
    return (
        f"no runs in {place}; train one with: tenfold train digits, or list another folder with: "
        "tenfold runs FOLDER"
    )
