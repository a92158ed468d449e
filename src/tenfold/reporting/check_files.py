"""What a check leaves behind: a page with pictures, a table for corrections, and JSON."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader
from PIL import Image

import tenfold
from tenfold.data.checks.findings import KINDS, Finding, Located
from tenfold.data.corrections import ACTION, DELETE, IMAGE, NEW_LABEL, RELABEL
from tenfold.data.dataset import ImageDataset
from tenfold.doctor.check import Checked
from tenfold.errors import counted, encodable, listing, printable
from tenfold.storage import make_folder, write_text

PAGE, TABLE, JSON = "check.html", "findings.csv", "findings.json"
"""The names of the files."""

COLUMNS = (IMAGE, "split", "label", "finding", "number", "text", "score", ACTION, NEW_LABEL)
"""Of the table. Findings are numbered within their kind, from 1."""

MOST_SHOWN = 100
"""Findings of each kind that the page shows."""

MOST_PICTURES = 12
"""Pictures of each finding that the page shows."""

LARGEST_PICTURE = 128
"""Longest side of a picture on the page, in pixels; larger ones are scaled down."""

_MOST_NAMED = 3


def write_check(folder: Path, checked: Checked) -> None:
    """Write the three files.

    Raises:
        StorageError: they cannot be written.
    """
    make_folder(folder)
    # The table last: by the others, the folder is known to be no data if the process dies here.
    write_text(folder / JSON, json.dumps(check_facts(checked), indent=1) + "\n")
    write_text(folder / PAGE, check_page(checked))
    table = findings_csv(checked)
    # Excel takes a file of other than plain characters for UTF-8 only if it begins so.
    write_text(folder / TABLE, table if table.isascii() else f"\ufeff{table}")


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
    }


def _facts(finding: Finding) -> dict[str, Any]:
    return {
        "kind": finding.kind,
        "text": finding.text,
        "images": [
            {"name": image.name, "split": image.split, "label": image.label}
            for image in finding.images
        ],
        "score": finding.score,
        **({"proposed": finding.proposed} if finding.proposed else {}),
    }


def findings_csv(checked: Checked) -> str:
    """A row for each image of each finding, and before them, one for each correction made before.

    What can be deleted safely has that action already; a person fills in the others. With the
    corrections made before, the table can take the place of the one that they are from.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for name, label in sorted(checked.corrections.new_labels.items()):
        action = RELABEL if label else DELETE
        writer.writerow([encodable(name), "", "", "corrected", "", "", "", action, label])
    for number, finding in _numbered(checked):
        if not finding.images:
            writer.writerow(["", "", "", finding.kind, number, finding.text, "", "", ""])
        deletes = [
            delete and image.name not in checked.corrections.new_labels
            for image, delete in zip(finding.images, finding.delete, strict=True)
        ]
        for image, delete in zip(finding.images, deletes, strict=True):
            cells = (
                image.name,
                image.split,
                image.label,
                finding.kind,
                number,
                finding.text,
                "" if finding.score is None else f"{finding.score:.6g}",
                DELETE if delete else "",
                finding.proposed,
            )
            writer.writerow([encodable(str(cell)) for cell in cells])
    return text.getvalue()


def _numbered(checked: Checked) -> Iterator[tuple[int, Finding]]:
    for kind in KINDS:
        yield from enumerate(checked.of_kind(kind), 1)


def check_text(checked: Checked, folder: Path) -> str:
    """What was found in a few lines, and where all of it is."""
    sizes = ", ".join(f"{split} {len(part):,}" for split, part in checked.parts.items())
    lines = [f"{printable(checked.source)}: {sizes}"]
    counts = checked.counts()
    width = max((len(f"{n:,}") for n in counts.values()), default=0)
    for kind, n in counts.items():
        first = checked.of_kind(kind)[0]
        names = [printable(image.name) for image in first.images]
        shown = "such as " * (n > 1) + (listing(names, _MOST_NAMED) + ": " if names else "")
        lines.append(f"{n:>{width},}  {kind}: {shown}{printable(first.text, 500)}")
    if not counts:
        lines.append("nothing was found")
    lines += [f"note: {printable(text, 2000)}" for text in checked.unchecked]
    if checked.accuracy is not None:
        lines.append(
            f"models that were not trained on them agree with {100 * checked.accuracy:.1f} % of "
            f"{counted(checked.judged, 'label')}"
        )
    lines += [f"pictures  {folder / PAGE}", f"table     {folder / TABLE}"]
    return "\n".join(lines)


def check_page(checked: Checked) -> str:
    """One page of HTML, with all that it shows in it."""
    environment = Environment(
        loader=PackageLoader("tenfold.reporting"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("check.html").render(
        source=printable(checked.source),
        version=tenfold.__version__,
        sizes={split: f"{len(part):,}" for split, part in checked.parts.items()},
        classes=len(next(iter(checked.parts.values())).classes),
        notes=[printable(note, 2000) for note in (*checked.unchecked, *checked.notes)],
        accuracy=checked.accuracy,
        judged=checked.judged,
        kinds=[_kind_facts(checked, kind) for kind in checked.counts()],
        table=TABLE,
    )


def _kind_facts(checked: Checked, kind: str) -> Mapping[str, Any]:
    findings = checked.of_kind(kind)
    return {
        "name": kind,
        "title": KINDS[kind].title,
        "meaning": KINDS[kind].meaning.split("`"),  # every second part is code
        "n": len(findings),
        "findings": [
            {
                "number": number,
                "text": printable(finding.text, 2000),
                "images": [
                    _image_facts(image, checked.parts.get(image.split))
                    for image in finding.images[:MOST_PICTURES]
                ],
                "more": max(0, len(finding.images) - MOST_PICTURES),
            }
            for number, finding in enumerate(findings[:MOST_SHOWN], 1)
        ],
        "more": max(0, len(findings) - MOST_SHOWN),
    }


def _image_facts(image: Located, part: ImageDataset | None) -> Mapping[str, str]:
    picture = ""
    if part is not None and image.index is not None:
        picture = _as_url(part.image_array[image.index])
    return {
        "name": printable(image.name),
        "split": image.split,
        "label": printable(image.label),
        "picture": picture,
    }


def _as_url(pixels: np.ndarray) -> str:
    """A picture as a `data:` URL, from uint8 of shape (channels, height, width)."""
    if len(pixels) == 3:
        array = pixels.transpose(1, 2, 0)
    else:  # of any other number of channels, their mean
        array = pixels.mean(0).astype(np.uint8)
    picture = Image.fromarray(np.ascontiguousarray(array))
    picture.thumbnail((LARGEST_PICTURE, LARGEST_PICTURE))
    encoded = io.BytesIO()
    picture.save(encoded, "PNG")
    return f"data:image/png;base64,{base64.b64encode(encoded.getvalue()).decode()}"
