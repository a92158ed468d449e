"""The report of a run: `report.html`, `report.json` and `predictions.csv` in its folder."""

from __future__ import annotations

import json
from pathlib import Path

from tenfold.errors import DataError, FileRefusedError, UsageError
from tenfold.listening import Listener
from tenfold.paths import exists
from tenfold.reporting.pages.answers import answers_csv
from tenfold.reporting.pages.report_facts import answers_of, report_facts
from tenfold.reporting.pages.report_page import report_page
from tenfold.runs.evaluate import evidence_of, parts_of
from tenfold.runs.evidence import Evidence
from tenfold.runs.folder import MAX_TEXT_SIZE, RunFolder, existing_run
from tenfold.runs.resources import USUAL, Resources
from tenfold.runs.run import Run, open_run
from tenfold.storage import for_spreadsheets, read_text, write_text


def make_report(
    path: Path,
    data: object = None,
    *,
    resources: Resources = USUAL,
    listener: Listener | None = None,
) -> Path:
    """Write the report of a run that has ended; returns the page.

    If its data cannot be read any more, and there is no page yet, one is written that says so and
    has what is in the run's folder.

    Args:
        path: the run's folder.
        data: the same data, if it was passed in Python or has moved.
        resources: what the evaluation may use.
        listener: gets the progress of long reads, and a note if the data cannot be read.

    Raises:
        FileRefusedError: not a run folder, the run has not ended, or its files are damaged.
        UsageError, DataError: the data cannot be read, has changed, or other data was given.
        StorageError: the report cannot be written.
    """
    listener = listener or Listener()
    resources.require_valid()
    folder, run = existing_run(path), open_run(path)
    if run.facts.failure is not None:
        raise FileRefusedError(
            f"{folder}: the run has failed, so there is nothing to report: {run.facts.failure}"
        )
    if not run.facts.has_ended:
        raise FileRefusedError(
            f"{folder}: the run has not finished (status: {run.status}), so there is nothing to "
            "report yet",
            remedy=f"finish it with: {folder.command('resume')}",
        )
    again = (
        f"say where it is now: {folder.command('report', '--data', 'PLACE')}"
        if run.facts.data.can_be_reopened
        else f"pass it again: tenfold.report({str(folder)!r}, data)"
    )
    with folder.locked():
        try:
            parts = parts_of(path, data, remedy=again, resources=resources, listener=listener)
        except (DataError, UsageError) as error:
            if data is not None or exists(folder.report):
                raise
            listener.note(f"{error}; the report is without pictures")
            return _write(run, None, error.message.removeprefix(f"{folder}: "), listener)
        evidence = evidence_of(path, parts, resources=resources, listener=listener)
        return write_report(run, evidence, listener)


def write_report(run: Run, evidence: Evidence, listener: Listener) -> Path:
    """Write the report of a run that has ended; returns the page.

    Args:
        run: the run.
        evidence: its images, and what its model says about them.
        listener: gets a note if a simple baseline is better.

    Raises:
        StorageError: it cannot be written.
    """
    table = for_spreadsheets(answers_csv(answers_of(evidence).values()))
    write_text(RunFolder(run.folder).predictions, table)
    return _write(run, evidence, "", listener)


def has_own_report(run: Run) -> bool:
    """Whether the report in a run's folder is of the results that it has now."""
    folder = RunFolder(run.folder)
    try:
        found = json.loads(read_text(folder.figures, MAX_TEXT_SIZE))
    except (FileRefusedError, ValueError, RecursionError):
        return False
    own = isinstance(found, dict) and found.get("results") == run.facts.sha256_of_results
    return own and exists(folder.report)


def _write(run: Run, evidence: Evidence | None, missing: str, listener: Listener) -> Path:
    folder = RunFolder(run.folder)
    facts = report_facts(run, evidence, missing)
    if facts.judgement is not None and facts.judgement.concern:
        listener.note(f"{folder}: {facts.judgement.concern}")
    page = report_page(facts, evidence.parts if evidence else {})
    write_text(folder.report, page)
    # Last: it says of which results the report is.
    write_text(folder.figures, json.dumps(facts.to_dict(), allow_nan=False) + "\n")
    return folder.report
