"""What is done when a run has ended: its report."""

from __future__ import annotations

from tenfold.errors import TenfoldError
from tenfold.listening import Listener
from tenfold.runs.evidence import AfterRun, Evidence
from tenfold.runs.folder import RunFolder
from tenfold.runs.run import Run


def reporter(listener: Listener) -> AfterRun:
    """What writes the report of a run that has ended; its failure is only a note.

    Args:
        listener: gets that note.
    """

    def report(run: Run, evidence: Evidence) -> None:
        try:
            from tenfold.reporting.pages.report import write_report  # not before it is needed

            write_report(run, evidence)
        except Exception as error:  # noqa: BLE001 - a finished run stays one
            reason = str(error) if isinstance(error, TenfoldError) else repr(error)
            again = RunFolder(run.folder).command("report")
            listener.note(f"the report could not be written: {reason}; try again with: {again}")

    return report
