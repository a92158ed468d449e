"""Corrections: a table of images that are left out, or get another label.

That is the table of findings that `tenfold check` writes, after a person has filled in its column
`action`; or any CSV file with the columns `image`, `action` and `new_label`.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tenfold.data.checks.findings import KINDS, Finding, image_name
from tenfold.data.dataset import ImageDataset
from tenfold.data.folders.text import decoded, meant, plain_name
from tenfold.data.lost_classes import without_lost_classes
from tenfold.errors import (
    DataError,
    FileRefusedError,
    counted,
    did_you_mean,
    encodable,
    listing,
    quoted,
)
from tenfold.listening import Listener
from tenfold.storage import read_regular_file
from tenfold.types import LabeledArrays

LEFT_OUT = ""
"""In place of a new label."""

IMAGE, ACTION, NEW_LABEL = "image", "action", "new_label"
"""The columns that say what is done to an image."""

FINDING, NUMBER, TEXT = "finding", "number", "text"
"""Columns that identify the finding that a `keep` is about: its kind, its number, and its text."""

CORRECTED = "corrected"
"""In place of a kind, for what has been deleted or relabeled already."""

DELETE, RELABEL, KEEP = "delete", "relabel", "keep"
"""The actions; an empty cell is the same as `keep`."""

LARGEST_FILE, LARGEST_CHANGES = 256 * 2**20, 16 * 2**20
"""Bytes that a table may have, and characters that the changes in it may have."""


_FORMULA = re.compile(r"'*[=+\-@\t\r]")
"""Spreadsheets take a cell that begins so for a formula; with an apostrophe before it, for text."""


class Kept(NamedTuple):
    """A finding that a person has looked at and found to be no fault."""

    image: str
    """That it is about; empty for one that is about no image."""
    finding: str
    """Its kind; empty for all kinds."""
    text: str = ""
    """What it says, if it is about no image; numbers in it do not count, see `_gist`."""


@dataclass(frozen=True)
class Corrections:
    """What is changed about the images of a data set.

    Attributes:
        place: where this comes from, for messages.
        new_labels: the new label of each image by its name; `LEFT_OUT` for one that is left out.
        kept: what the next check does not find again.
        is_recorded: whether a run has begun with them, so that what is no longer there is only
            noted: whether the data has changed is decided by comparing it.
    """

    place: str
    new_labels: Mapping[str, str]
    kept: frozenset[Kept] = frozenset()
    is_recorded: bool = False

    @property
    def deleted(self) -> frozenset[str]:
        """The names of the images that are left out."""
        return frozenset(name for name, label in self.new_labels.items() if label == LEFT_OUT)

    def surely_deleted(self) -> frozenset[str]:
        """Those whose names are like no other name in the table; the others are for `corrected`."""
        alike = Counter(map(plain_name, {*self.new_labels, *(each.image for each in self.kept)}))
        return frozenset(name for name in self.deleted if alike[plain_name(name)] == 1)

    def keeps(self, finding: Finding) -> bool:
        """Whether a person has found that this is no fault, of each image that it is about."""
        if not finding.images:
            return (finding.kind, _gist(finding.text)) in self._gists
        if finding.kind == "wrong-label" and all(i.name in self.new_labels for i in finding.images):
            return True  # its new label has been looked at, too
        return all(
            not self.kept.isdisjoint({Kept(image.name, ""), Kept(image.name, finding.kind)})
            for image in finding.images
        )

    @cached_property
    def _gists(self) -> frozenset[tuple[str, str]]:
        """Of what is kept, but is about no image: its kind, and what it says apart from numbers."""
        return frozenset((each.finding, _gist(each.text)) for each in self.kept if not each.image)

    def for_names(self, names: Iterable[str]) -> Corrections:
        """The same, by the names that the data has; see `meant`."""
        own = meant(self.new_labels.keys() | {each.image for each in self.kept}, names)
        return replace(
            self,
            new_labels={own.get(name, name): label for name, label in self.new_labels.items()},
            kept=frozenset(k._replace(image=own.get(k.image, k.image)) for k in self.kept),
        )


NO_CORRECTIONS = Corrections("", {})


def as_cell(text: str) -> str:
    """A name or text as a table has it, which no spreadsheet takes for a formula."""
    return f"'{text}" if _FORMULA.match(text) else text


def _from_cell(cell: str) -> str:
    """What a cell that `as_cell` made stands for."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def read_corrections(path: Path) -> Corrections:
    """The corrections in a CSV file.

    Raises:
        DataError: it cannot be read, a column is missing, or a row makes no sense.
    """
    rows = list(_rows(path))
    headings = [cell.strip().casefold().replace(" ", "_") for cell in rows[0][1]] if rows else []
    missing = [name for name in (IMAGE, ACTION) if name not in headings]
    if missing:
        raise DataError(
            f"{path}: a table of corrections needs the columns {IMAGE!r} and {ACTION!r}, and "
            f"{quoted(missing)} {'is' if len(missing) == 1 else 'are'} missing",
            remedy="take the findings.csv that `tenfold check` writes",
        )
    columns = (IMAGE, ACTION, NEW_LABEL, FINDING, NUMBER, TEXT)
    twice = [name for name in columns if headings.count(name) > 1]
    if twice:
        raise DataError(
            f"{path}: several columns are called {twice[0]!r}", remedy="remove all but one of them"
        )
    places = {name: headings.index(name) for name in columns if name in headings}
    found: dict[str, tuple[int, str | None]] = {}
    conflicts, decided = [], list[tuple[Kept, str, str]]()
    for line, row in rows[1:]:
        cells = {name: _from_cell(row[at]) for name, at in places.items() if at < len(row)}
        cells = dict.fromkeys(columns, "") | cells
        action = cells[ACTION].strip().casefold()
        is_about_images = bool(cells[IMAGE].strip())
        finding = Kept(
            cells[IMAGE] if is_about_images else "",
            cells[FINDING].strip().casefold(),
            "" if is_about_images else cells[TEXT],
        )
        decided.append((finding, cells[NUMBER].strip(), action))
        if not action:
            continue
        where = f"{path}: line {line}"
        if action not in (DELETE, RELABEL, KEEP):
            raise DataError(
                f"{where}: the action is {cells[ACTION]!r}",
                remedy=did_you_mean(action, (DELETE, RELABEL, KEEP)),
            )
        label = cells[NEW_LABEL] if action == RELABEL else LEFT_OUT
        if action == RELABEL and not label.strip():
            raise DataError(
                f"{where}: it does not say which label {cells[IMAGE]!r} gets",
                remedy=f"write it in the column {NEW_LABEL!r}",
            )
        if action == KEEP and finding.finding and finding.finding not in (*KINDS, CORRECTED):
            raise DataError(
                f"{where}: there are no findings of the kind {cells[FINDING]!r}",
                remedy=did_you_mean(finding.finding, KINDS),
            )
        if action == KEEP and finding.finding and (is_about_images or finding.text):
            continue  # in spite of this finding; it may be deleted or relabeled for another
        if not is_about_images:
            raise DataError(f"{where}: no image is named", remedy="name one, or remove the line")
        wanted = None if action == KEEP else label
        before, other = found.setdefault(cells[IMAGE], (line, wanted))
        if other != wanted:
            conflicts.append(f"{cells[IMAGE]!r} in lines {before} and {line}")
    if conflicts:
        raise DataError(
            f"{path}: different actions for the same image: {listing(conflicts)}",
            remedy="leave all but one action of an image empty",
        )
    changes = {name: label for name, (_, label) in found.items() if label is not None}
    if sum(len(name) + len(label) for name, label in changes.items()) > LARGEST_CHANGES:
        raise DataError(
            f"{path}: {counted(len(changes), 'image')} to correct, more than a run can record",
            remedy="move or delete the files themselves",
        )
    return Corrections(str(path), changes, _kept(decided))


def _kept(decided: Iterable[tuple[Kept, str, str]]) -> frozenset[Kept]:
    """What is kept, from the rows of a table: what they are about, a number, and an action.

    One row of a finding is enough, unless another one has another action.
    """
    actions: dict[tuple[str, str], set[str]] = {}
    rows = list(decided)
    for finding, number, action in rows:
        if number and finding.finding:
            actions.setdefault((finding.finding, number), set()).add(action)
    return frozenset(
        finding
        for finding, number, action in rows
        if action == KEEP or actions.get((finding.finding, number), set()) - {""} == {KEEP}
    )


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The lines that are not empty, with their numbers."""
    try:
        with read_regular_file(path) as (stream, size):
            data = stream.read() if size <= LARGEST_FILE else None
    except FileRefusedError as error:
        raise DataError(error.message, remedy="name a CSV file that can be read") from error
    if data is None:
        raise DataError(
            f"{path}: it has {size:,} bytes, over the limit of {LARGEST_FILE:,}",
            remedy=f"keep only the columns {IMAGE!r}, {ACTION!r} and {NEW_LABEL!r}",
        )
    text, _ = decoded(data, str(path))
    text = re.sub(r"\Asep=.\r?\n", "", text)  # as Excel has it
    first = text.lstrip().partition("\n")[0]
    separator = max("\t;,", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                yield reader.line_num, row
    except csv.Error as error:
        raise DataError(
            f"{path}: line {reader.line_num}: {error}",
            remedy="look at this line and the ones before it: a quote may be missing",
        ) from error


def corrected(
    parts: Mapping[str, ImageDataset],
    corrections: Corrections,
    listener: Listener,
    *,
    gone: Mapping[str, tuple[str, str]] = {},
) -> dict[str, ImageDataset]:
    """The splits without the images that are left out, and with the new labels.

    A split that loses all of its images is gone, and so is a class.

    Args:
        parts: the splits as they were read.
        corrections: what to change.
        listener: gets notes on what was changed.
        gone: the splits and labels of images that were not read, by name; empty where they are not
            known.

    Raises:
        DataError: there is no such image or class, or no image is left.
    """
    names_of = {
        split: tuple(image_name(part, index) for index in range(len(part)))
        for split, part in parts.items()
    }
    gone = {encodable(name): place for name, place in gone.items()}
    corrections = corrections.for_names([*gone, *chain.from_iterable(names_of.values())])
    place, new_labels = corrections.place, corrections.new_labels
    arrays, found, unknown = dict[str, LabeledArrays](), set[str](), list[tuple[str, str]]()
    deleted = Counter(
        split for name, (split, _) in gone.items() if split and new_labels.get(name) == LEFT_OUT
    )
    changed = Counter[str]()
    for split, part in parts.items():
        names = names_of[split]
        labels, kept = part.label_array.copy(), np.ones(len(part), bool)
        for index, name in enumerate(names):
            new = new_labels.get(name)
            if new is None:
                continue
            if name in found:
                raise DataError(
                    f"{place}: several images are called {name!r}",
                    remedy="give every image its own name",
                )
            found.add(name)
            if new == LEFT_OUT:
                kept[index] = False
            elif (label := _label(new, part.classes)) is None:
                unknown.append((name, new))
            else:
                labels[index] = label
        deleted[split] += int((~kept).sum())
        changed[split] = int((labels != part.label_array).sum())
        if kept.any():  # numbers would mean other images afterwards
            whole = part.arrays._replace(labels=labels, names=part.names or names)
            arrays[split] = whole if kept.all() else whole.chosen(np.flatnonzero(kept))
    if unknown:
        name, new = unknown[0]
        others = f" (and so for {len(unknown) - 1:,} more)" if len(unknown) > 1 else ""
        classes = next(iter(parts.values())).classes
        raise DataError(
            f"{place}: there is no class {new.strip()!r}, the new label of {name!r}{others}",
            remedy=did_you_mean(new.strip(), classes),
        )
    found |= gone.keys()
    absent = sorted(new_labels.keys() - found)
    relabeled = [name for name in absent if new_labels[name] != LEFT_OUT]
    if not new_labels.keys() & found and not corrections.is_recorded:
        raise DataError(
            f"{place}: none of the images in it is in the data: {quoted(absent, 5)}; there are, "
            f"for example, {quoted([image_name(part, 0) for part in parts.values()])}",
            remedy="give the images' names as the data has them, in UTF-8",
        )
    if relabeled and not corrections.is_recorded:
        raise DataError(
            f"{place}: {counted(len(relabeled), 'image')} to relabel "
            f"{'is' if len(relabeled) == 1 else 'are'} not in the data: {quoted(relabeled, 5)}",
            remedy="use the corrections for the data that they were made for, or remove these rows",
        )
    if not arrays:
        raise DataError(f"{place}: no image is left", remedy="delete fewer images")
    if absent:
        listener.note(f"images to correct are not there ({len(absent):,}): {listing(absent, 5)}")
    left_out = sum(label == LEFT_OUT for name, label in new_labels.items() if name in found)
    listener.note(
        f"by {place}, {counted(left_out, 'image')} {'was' if left_out == 1 else 'were'} left out"
        f"{_of_splits(deleted)}, and {counted(changed.total(), 'label')} changed"
        f"{_of_splits(changed)}"
    )
    had = {part.classes[label] for part in parts.values() for label in set(part.label_array)}
    had |= {label for _, label in gone.values() if label}
    if len({part.classes for part in arrays.values()}) == 1:
        arrays = without_lost_classes(arrays, had, listener)
    return {
        split: ImageDataset.from_arrays(part, split=split, source=parts[split].source)
        for split, part in arrays.items()
    }


def _gist(text: str) -> str:
    """What a finding says, without the numbers that change with the data.

    Names, which are in quotes, stay.
    """
    quoted_or_number = re.compile(r"(?<!\w)(?:'[^']*'|\"[^\"]*\")|\d[\d.,]*")
    return quoted_or_number.sub(
        lambda found: "0" if found[0][0].isdigit() else found[0], plain_name(encodable(text))
    )


def _of_splits(counts: Mapping[str, int]) -> str:
    """How many images of each split, if any is not for training."""
    if not any(n for split, n in counts.items() if split != "train"):
        return ""
    return f" ({', '.join(f'{n:,} of {split}' for split, n in counts.items() if n)})"


def _label(name: str, classes: Sequence[str]) -> int | None:
    """The number of a class, found as images are; None if there is none."""
    if name in classes:
        return classes.index(name)
    alike = [label for label, each in enumerate(classes) if plain_name(each) == plain_name(name)]
    return alike[0] if len(alike) == 1 else None
