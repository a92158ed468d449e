"""The report of a run: `report.html`, `report.json` and `predictions.csv` in its folder."""

from __future__ import annotations

import json
from pathlib import Path

from tenfold.errors import FileRefusedError, TenfoldError
from tenfold.listening import Listener
from tenfold.reporting.pages.answers import answers_csv
from tenfold.reporting.pages.report_facts import answers_of, report_facts
from tenfold.reporting.pages.report_page import report_page
from tenfold.runs.evaluate import evidence_of
from tenfold.runs.evidence import Evidence
from tenfold.runs.folder import RunFolder, existing_run
from tenfold.runs.predicted import PREDICTIONS
from tenfold.runs.resources import USUAL, Resources
from tenfold.runs.run import Run, open_run
from tenfold.storage import write_text

JSON = "report.json"
"""The file with the figures of the page."""


def make_report(
    path: Path, *, resources: Resources = USUAL, listener: Listener | None = None
) -> Path:
    """Write the report of a run that has ended; returns the page.

    Where its data cannot be read any more, the page says so, and has what is in the run's folder.

    Args:
        path: the run's folder.
        resources: what the evaluation may use.
        listener: gets the progress of long reads, and a note if the data cannot be read.

    Raises:
        FileRefusedError: not a run folder, the run has not ended, or its files are damaged.
        StorageError: the report cannot be written.
    """
    listener = listener or Listener()
    folder, run = existing_run(path), open_run(path)
    if not run.facts.has_ended:
        raise FileRefusedError(
            f"{folder}: the run has not finished (status: {run.status}), so there is nothing to "
            "report yet",
            remedy=f"finish it with: {folder.command('resume')}",
        )
    with folder.locked():
        try:
            run, evidence = evidence_of(path, resources=resources, listener=listener)
        except FileRefusedError:
            raise
        except TenfoldError as error:
            listener.note(f"{error}; the report is without pictures")
            return _write(run, None, error.message)
        return write_report(run, evidence)


def write_report(run: Run, evidence: Evidence) -> Path:
    """Write the report of a run that has ended; returns the page.

    Raises:
        StorageError: it cannot be written.
    """
    write_text(run.folder / PREDICTIONS, answers_csv(answers_of(evidence).values()))
    return _write(run, evidence, "")


def _write(run: Run, evidence: Evidence | None, missing: str) -> Path:
    facts = report_facts(run, evidence, missing)
    page = report_page(facts, evidence.parts if evidence else {})
    write_text(run.folder / JSON, json.dumps(facts.to_dict(), indent=1, allow_nan=False) + "\n")
    path = RunFolder(run.folder).report
    write_text(path, page)
    return path
