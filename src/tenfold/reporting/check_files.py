"""What a check leaves behind: a page with pictures, a table for corrections, and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import tenfold
from tenfold.data.checks.findings import KINDS, Finding, Located
from tenfold.data.corrections import (
    ACTION,
    CORRECTED,
    DELETE,
    FINDING,
    IMAGE,
    KEEP,
    NEW_LABEL,
    NUMBER,
    RELABEL,
    TEXT,
    as_cell,
)
from tenfold.data.dataset import ImageDataset
from tenfold.doctor.check import Checked
from tenfold.errors import encodable, printable, shell_word
from tenfold.reporting.pages.pictures import picture_url
from tenfold.reporting.pages.rendering import rendered
from tenfold.storage import for_spreadsheets, make_folder, write_text

PAGE, TABLE, JSON = "check.html", "findings.csv", "findings.json"
"""The names of the files."""

SCORE = "score"

COLUMNS = (IMAGE, "split", "label", FINDING, NUMBER, TEXT, SCORE, ACTION, NEW_LABEL)
"""Of the table. Findings are numbered within their kind, from 1."""

MOST_SHOWN = 100
"""Findings of each kind that the page shows."""

MOST_PICTURES = 12
"""Pictures of each finding that the page shows."""


def write_check(folder: Path, checked: Checked) -> None:
    """Write the three files.

    Raises:
        StorageError: they cannot be written.
    """
    make_folder(folder)
    # The table last: by the others, the folder is known to be no data if the process dies here.
    write_text(folder / JSON, json.dumps(check_facts(checked), indent=1) + "\n")
    write_text(folder / PAGE, check_page(checked, folder / TABLE))
    write_text(folder / TABLE, for_spreadsheets(findings_csv(checked)))


def check_facts(checked: Checked) -> dict[str, Any]:
    """Everything that was found, ready for JSON."""
    return {
        "data": checked.source,
        "tenfold": tenfold.__version__,
        "classes": list(next(iter(checked.parts.values())).classes),
        "n": {split: len(part) for split, part in checked.parts.items()},
        "notes": list(checked.notes),
        "unchecked": list(checked.unchecked),
        "labels": {"judged": checked.judged, "agreeing": checked.accuracy},
        "counts": checked.counts(),
        "findings": [_facts(finding) for finding in checked.findings],
        "corrections": dict(checked.corrections.new_labels),
        "kept": [each._asdict() for each in sorted(checked.corrections.kept)],
    }


def _facts(finding: Finding) -> dict[str, Any]:
    return {
        "kind": finding.kind,
        "text": finding.text,
        "images": [
            {"name": image.name, "split": image.split, "label": image.label, "delete": delete}
            for image, delete in zip(finding.images, finding.delete, strict=True)
        ],
        "score": finding.score,
        **({"proposed": finding.proposed} if finding.proposed else {}),
    }


def findings_csv(checked: Checked) -> str:
    """A row for each image of each finding, and before them, one for each decision made before.

    What can be deleted safely has that action already; a person fills in the others. With the
    decisions made before, the table can take the place of the one that they are from.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in (*_decided(checked), *_found(checked)):
        cells = {name: as_cell(encodable(cell)) for name, cell in row.items()}
        writer.writerow({**cells, SCORE: row.get(SCORE, "")})  # may be a negative number
    return text.getvalue()


def _decided(checked: Checked) -> Iterator[dict[str, str]]:
    """A row for each image that a person has corrected, or kept in spite of a finding."""
    for name, label in sorted(checked.corrections.new_labels.items()):
        action = RELABEL if label else DELETE
        yield {IMAGE: name, FINDING: CORRECTED, ACTION: action, NEW_LABEL: label}
    for kept in sorted(checked.corrections.kept):
        yield {IMAGE: kept.image, FINDING: kept.finding, TEXT: kept.text, ACTION: KEEP}


def _found(checked: Checked) -> Iterator[dict[str, str]]:
    """A row for each image of each finding."""
    for number, finding in _numbered(checked):
        row = {FINDING: finding.kind, NUMBER: str(number), TEXT: finding.text}
        if not finding.images:
            yield row
        for image, delete in zip(finding.images, finding.delete, strict=True):
            yield row | {
                IMAGE: image.name,
                "split": image.split,
                "label": image.label,
                SCORE: "" if finding.score is None else f"{finding.score:.6g}",
                ACTION: DELETE if delete else "",
                NEW_LABEL: finding.proposed,
            }


def _numbered(checked: Checked) -> Iterator[tuple[int, Finding]]:
    for kind in KINDS:
        yield from enumerate(checked.of_kind(kind), 1)


def check_text(checked: Checked, folder: Path) -> str:
    """What was found in a few lines, and where all of it is."""
    return f"{checked}\npictures  {folder / PAGE}\ntable     {folder / TABLE}"


def check_page(checked: Checked, table: Path) -> str:
    """One page of HTML, with all that it shows in it.

    Args:
        checked: what was found.
        table: where the table of findings is.
    """
    return rendered(
        "check.html",
        source=printable(checked.source),
        sizes={split: f"{len(part):,}" for split, part in checked.parts.items()},
        classes=len(next(iter(checked.parts.values())).classes),
        notes=[printable(note, 2000) for note in (*checked.unchecked, *checked.notes)],
        accuracy=checked.accuracy,
        judged=checked.judged,
        kinds=[_kind_facts(checked, kind) for kind in checked.counts()],
        table=shell_word(table),
    )


def _kind_facts(checked: Checked, kind: str) -> Mapping[str, Any]:
    findings = checked.of_kind(kind)
    examples = _examples(checked) if any(finding.proposed for finding in findings) else {}
    return {
        "name": kind,
        "title": KINDS[kind].title,
        "meaning": KINDS[kind].meaning.split("`"),  # every second part is code
        "n": len(findings),
        "n_images": len({image for finding in findings for image in finding.images}),
        "findings": [
            {
                "number": number,
                "text": printable(finding.text, 2000),
                "images": [
                    _image_facts(image, checked.parts.get(image.split), delete)
                    for image, delete in zip(
                        finding.images[:MOST_PICTURES], finding.delete, strict=False
                    )
                ],
                "proposed": printable(finding.proposed),
                "example": examples.get(finding.proposed, ""),
                "more": max(0, len(finding.images) - MOST_PICTURES),
            }
            for number, finding in enumerate(findings[:MOST_SHOWN], 1)
        ],
        "more": max(0, len(findings) - MOST_SHOWN),
    }


def _examples(checked: Checked) -> dict[str, str]:
    """For each class, the first picture of it that no finding is about."""
    found = {(image.split, image.index) for each in checked.findings for image in each.images}
    examples: dict[str, str] = {}
    for split, part in checked.parts.items():
        for label, name in enumerate(part.classes):
            indices = np.flatnonzero(part.label_array == label).tolist()
            sound = (index for index in indices if (split, index) not in found)
            if name not in examples and (index := next(sound, None)) is not None:
                examples[name] = picture_url(part.image_array[index])
    return examples


def _image_facts(image: Located, part: ImageDataset | None, delete: bool) -> Mapping[str, Any]:
    picture = ""
    if part is not None and image.index is not None:
        picture = picture_url(part.image_array[image.index])
    return {
        "name": printable(image.name),
        "split": image.split,
        "label": printable(image.label),
        "delete": delete,
        "picture": picture,
    }
