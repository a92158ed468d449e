"""What is done when a run has ended: its report, whose failure is only a note."""

from __future__ import annotations

from collections.abc import Callable

from tenfold.errors import TenfoldError
from tenfold.listening import Listener
from tenfold.paths import exists
from tenfold.runs.evidence import AfterRun, Evidence
from tenfold.runs.folder import RunFolder
from tenfold.runs.resources import Resources
from tenfold.runs.run import Run


def reporter(listener: Listener) -> AfterRun:
    """What writes the report of a run that has ended.

    Args:
        listener: gets a note if that fails.
    """

    def report(run: Run, evidence: Evidence) -> None:
        def write() -> None:
            from tenfold.reporting.pages.report import write_report  # not before it is needed

            write_report(run, evidence)

        _try(write, run, listener)

    return report


def report_if_missing(run: Run, resources: Resources, listener: Listener) -> None:
    """Write the report of a finished run that has none, as if its process died before that.

    Args:
        run: the run.
        resources: what the evaluation may use.
        listener: gets the progress of long reads, and a note if it fails.
    """

    def make() -> None:
        from tenfold.reporting.pages.report import make_report

        make_report(run.folder, resources=resources, listener=listener)

    if run.facts.has_ended and not exists(RunFolder(run.folder).report):
        _try(make, run, listener)


def _try(write: Callable[[], None], run: Run, listener: Listener) -> None:
    try:
        write()
    except Exception as error:  # noqa: BLE001 - a finished run stays one
        reason = str(error) if isinstance(error, TenfoldError) else repr(error)
        again = RunFolder(run.folder).command("report")
        listener.note(f"the report could not be written: {reason}; try again with: {again}")
