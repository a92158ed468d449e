"""What is done when a run has ended: its report, whose failure is only a note."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tenfold.errors import TenfoldError
from tenfold.listening import Listener
from tenfold.runs.evidence import Evidence
from tenfold.runs.folder import RunFolder
from tenfold.runs.resources import Resources
from tenfold.runs.run import Run


class Reporter:
    """Writes the reports of runs that have ended.

    Args:
        listener: gets a note if that fails.
    """

    def __init__(self, listener: Listener) -> None:
        self._tried: set[Path] = set()
        self._listener = listener

    def __call__(self, run: Run, evidence: Evidence) -> None:
        """Write it."""

        def write() -> None:
            from tenfold.reporting.pages.report import write_report  # not before it is needed

            write_report(run, evidence, self._listener)

        self._tried.add(run.folder)
        _try(write, run, self._listener)

    def make_up_for(self, run: Run, data: object, resources: Resources) -> None:
        """Write the report of a finished run that has none, or one of other results.

        As if its process had died before it was written. Nothing is done if this has written, or
        failed to write, the run's report.

        Args:
            run: the run.
            data: its data, if it was passed in Python or has moved.
            resources: what the evaluation may use.
        """

        def make() -> None:
            from tenfold.reporting.pages.report import has_own_report, make_report

            if not has_own_report(run):
                make_report(run.folder, data, resources=resources, listener=self._listener)

        if run.facts.has_ended and run.folder not in self._tried:
            _try(make, run, self._listener)


def _try(write: Callable[[], None], run: Run, listener: Listener) -> None:
    try:
        write()
    except Exception as error:  # noqa: BLE001 - a finished run stays one
        reason = str(error) if isinstance(error, TenfoldError) else repr(error)
        again = RunFolder(run.folder).command("report")
        listener.note(f"the report could not be written: {reason}; try again with: {again}")
