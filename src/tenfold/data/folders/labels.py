"""Labels from a table beside the images, or from the images' names, in place of class folders."""

from __future__ import annotations

import csv
import io
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from statistics import median

from tenfold.data.folders.layout import (
    LEFT_OUT,
    UNSPLIT,
    Places,
    Tree,
    classes_of,
    find_places,
    lookalikes,
    same_name,
    split_of,
    split_roots,
)
from tenfold.data.folders.members import Parts
from tenfold.data.folders.options import FolderOptions
from tenfold.errors import DataError, UsageError, counted, did_you_mean, listing, quoted
from tenfold.storage import read_regular_file

LEAST_BURSTS, LEAST_IN_BURST = 3, 3
"""Names look like bursts if there are so many in each class, of so many pictures."""

LARGEST_TABLE = 256 * 2**20
"""Maximum size of a table in bytes."""

LABEL_HEADINGS = (
    "label", "labels", "class", "classname", "classes", "category", "target", "species", "breed",
    "diagnosis", "name", "y", "labelname", "classid", "categoryid", "labelid",
)  # fmt: skip
"""Usual headings of the column with the labels, without case, spaces and underscores."""

SPLIT_HEADINGS = ("split", "subset", "set", "partition", "fold", "usage", "datasplit")
"""Usual headings of the column with the splits, likewise."""

_NOT_LABELS = re.compile(r"sample.?submission|submission", re.IGNORECASE)
_MOST_SHOWN = 5


@dataclass(frozen=True)
class Table:
    """A table of text cells.

    Attributes:
        name: of its file, for messages.
        headings: of its columns; their numbers, from 1, if it has no headings.
        rows: each with as many cells as there are headings.
    """

    name: str
    headings: tuple[str, ...]
    rows: list[list[str]]

    def column(self, heading: str) -> list[str]:
        """The cells of a column.

        Raises:
            UsageError: there is no such column.
        """
        simple = [_simple(each) for each in self.headings]
        if heading in self.headings:
            place = self.headings.index(heading)
        elif _simple(heading) in simple:
            place = simple.index(_simple(heading))
        else:
            raise UsageError(
                f"{self.name}: there is no column {heading!r}, only {quoted(self.headings)}",
                remedy=did_you_mean(heading, self.headings),
            )
        return [row[place] for row in self.rows]


class ImageNames:
    """Finds images by what a table calls them: their path, their name, or either without extension.

    Args:
        images: the images' names.
    """

    def __init__(self, images: Sequence[Parts]) -> None:
        self._places: dict[str, int] = {}
        for place, parts in enumerate(images):
            for start in range(len(parts)):
                path = "/".join(map(same_name, parts[start:]))
                for key in {path, str(PurePosixPath(path).with_suffix(""))}:
                    # A name that several images have names none of them.
                    self._places[key] = -1 if key in self._places else place

    def find(self, text: str) -> int | None:
        """The index of the image of this name; None if there is none, or more than one."""
        name = same_name(text.strip().replace("\\", "/")).removeprefix("./").lstrip("/")
        while name:
            place = self._places.get(name, -1)
            if place >= 0:
                return place
            name = name.partition("/")[2]  # the table may know more folders than there are
        return None


def read_table(data: bytes, name: str, images: ImageNames) -> Table:
    """A table from a CSV or TSV file; commas, semicolons and tabs are told apart by its first line.

    The first line has headings unless one of its cells is the name of an image.

    Raises:
        DataError: it is not a table of text.
    """
    text = _decoded(data, name)
    first = text.partition("\n")[0]
    delimiter = max("\t;,", key=first.count)
    try:
        rows = [row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if any(row)]
    except csv.Error as error:
        raise DataError(f"{name}: not a table: {error}", remedy="save it as CSV again") from error
    if not rows:
        raise DataError(f"{name}: the table is empty")
    width = max(map(len, rows))
    rows = [row + [""] * (width - len(row)) for row in rows]
    if any(images.find(cell) is not None for cell in rows[0]):
        return Table(name, tuple(str(number + 1) for number in range(width)), rows)
    return Table(
        name, tuple(cell.strip() or str(n + 1) for n, cell in enumerate(rows[0])), rows[1:]
    )


def _decoded(data: bytes, name: str) -> str:
    """Text in UTF-8 or UTF-16, else in GB 18030, else in Windows' Western code page."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = ["utf-16"]
    else:
        encodings = ["utf-8-sig", "gb18030", "cp1252"]
    for encoding in encodings:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise DataError(f"{name}: not a table of text", remedy="save it as CSV in UTF-8")


def find_table(tables: Mapping[str, bytes], images: Sequence[Parts], path: Path) -> Table | None:
    """The one table among these that names images and has a column of labels; None if none does.

    Args:
        tables: the contents of files by their names.
        images: the images' names.
        path: the directory or archive, for messages.

    Raises:
        DataError: several do.
    """
    names = ImageNames(images)
    found = []
    for name, data in tables.items():
        if _NOT_LABELS.search(name):
            continue
        try:
            table = read_table(data, name, names)
        except DataError:
            continue
        column, matches = _column_of_names(table, names)
        if matches and len(table.headings) > 1 and column is not None:
            found.append((table, matches))
    if len(found) > 1:
        listed = listing([f"{table.name} ({counted(n, 'image')})" for table, n in found])
        raise DataError(
            f"{path}: several tables name its images: {listed}",
            remedy=f"choose one with --labels, such as --labels {found[0][0].name}",
        )
    return found[0][0] if found else None


def _column_of_names(table: Table, names: ImageNames) -> tuple[str | None, int]:
    """The column that names the most images, and how many."""
    best: tuple[str | None, int] = (None, 0)
    for place, heading in enumerate(table.headings):
        count = sum(names.find(row[place]) is not None for row in table.rows)
        if count > best[1]:
            best = heading, count
    return best


def places_in_table(
    path: Path, table: Table, column: str, images: Sequence[Parts], folders: Set[Parts]
) -> tuple[Places, list[int | None]]:
    """The split and class of every image, by a table.

    Splits are those of the folders, or else of a column with a usual heading.

    Args:
        path: the directory or archive, for messages.
        table: what says which image has which label.
        column: the heading of the labels; empty for the usual one, or the only other one.
        images: the images' names.
        folders: known folders beyond those of the images.

    Returns:
        The places, and for every image the number of its row, None if it has none.

    Raises:
        UsageError: there is no such column, or it is not clear which one has the labels.
        DataError: it names no image, or one with two labels.
    """
    names = ImageNames(images)
    of_names, _ = _column_of_names(table, names)
    if of_names is None:
        shown = [row[0] for row in table.rows[:_MOST_SHOWN]]
        raise DataError(
            f"{table.name}: no column names an image of {path}, such as "
            f"{'/'.join(images[0])!r}; its first column has {quoted(shown)}",
            remedy="give the images' names in one column, with or without folders and extensions",
        )
    labels = table.column(column or _column_of_labels(table, of_names))
    cells = table.column(of_names)
    row_of: list[int | None] = [None] * len(images)
    missing, unlabeled, twice = [], 0, []
    for row, (cell, label) in enumerate(zip(cells, labels, strict=True)):
        place = names.find(cell)
        if place is None:
            missing.append(cell)
        elif not label.strip():
            unlabeled += 1
        else:
            before = row_of[place]
            if before is not None and labels[before].strip() != label.strip():
                twice.append(cell)
            row_of[place] = row
    if twice:
        raise DataError(
            f"{table.name}: images have two labels: {quoted(twice)}",
            remedy="keep one row for each image",
        )
    splits, notes = splits_by_folder(path, images, folders)
    if set(splits) == {UNSPLIT} and (by_row := _splits_by_column(table, of_names)):
        splits = [UNSPLIT if row is None else by_row[row] for row in row_of]
    of_image = [
        LEFT_OUT if row is None else (split, same_name(labels[row].strip()))
        for split, row in zip(splits, row_of, strict=True)
    ]
    extra = ["/".join(images[place]) for place, row in enumerate(row_of) if row is None]
    used = counted(len(images) - len(extra), "image")
    notes.insert(0, f"labels are from {table.name}, for {used}")
    if extra:
        notes.append(f"left out {counted(len(extra), 'image')} without a label: {_few(extra)}")
    if missing:
        notes.append(
            f"{table.name} names {counted(len(missing), 'file')} not there: {_few(missing)}"
        )
    if unlabeled:
        notes.append(f"{table.name} has {counted(unlabeled, 'row')} without a label")
    found = {place[1] for place in of_image if place != LEFT_OUT}
    return Places(classes_of(path, found), of_image, notes + lookalikes(found)), row_of


def _few(names: Iterable[str]) -> str:
    return listing(sorted(names), _MOST_SHOWN)


def _column_of_labels(table: Table, of_names: str) -> str:
    others = [each for each in table.headings if each != of_names]
    usual = [each for wanted in LABEL_HEADINGS for each in others if _simple(each) == wanted]
    left = [each for each in others if _simple(each) not in SPLIT_HEADINGS]
    if usual or len(left) == 1:
        return usual[0] if usual else left[0]
    raise UsageError(
        f"{table.name}: it is not clear which column has the labels: {quoted(others)}",
        remedy="say so, for example with --labels "
        f"{table.name}:{others[0] if others else 'COLUMN'}",
    )


def splits_by_folder(
    path: Path, images: Sequence[Parts], folders: Set[Parts]
) -> tuple[list[str], list[str]]:
    """The split of every image by the folders it is in, and notes.

    Images outside split folders, beside those in them, are for training.

    Raises:
        DataError: see `split_roots`.
    """
    roots, notes = split_roots(path, Tree(images, folders), of_classes=False)
    if list(roots.values()) == [UNSPLIT]:
        return [UNSPLIT] * len(images), notes

    def split(parts: Parts) -> str:
        found = (split for root, split in roots.items() if parts[: len(root)] == root)
        return next(found, "train")

    return [split(parts) for parts in images], notes


def _splits_by_column(table: Table, of_names: str) -> list[str] | None:
    """The split of every row, if a column with a usual heading has nothing but names of splits."""
    for heading in table.headings:
        if heading != of_names and _simple(heading) in SPLIT_HEADINGS:
            splits = [split_of(cell) for cell in table.column(heading)]
            if all(splits):
                return splits
    return None


def places_in_names(
    path: Path, pattern: re.Pattern[str], images: Sequence[Parts], folders: Set[Parts]
) -> Places:
    """The split and class of every image, by a pattern that its name matches.

    Args:
        path: the directory or archive, for messages.
        pattern: searched for in each image's name, with its folders; see `part_of_name`.
        images: the images' names.
        folders: known folders beyond those of the images.

    Raises:
        DataError: a name does not match.
    """
    splits, notes = splits_by_folder(path, images, folders)
    labels = parts_of_names(path, pattern, images, "--label-from")
    found = set(labels)
    return Places(
        classes_of(path, found),
        [(split, same_name(label)) for split, label in zip(splits, labels, strict=True)],
        notes + lookalikes(found),
    )


def parts_of_names(
    path: Path, pattern: re.Pattern[str], images: Sequence[Parts], option: str
) -> list[str]:
    """What a pattern finds in every name: its group `label` or `group`, its first, or all of it.

    Raises:
        DataError: it finds nothing in a name; the option is named.
    """
    wanted = next((name for name in ("label", "group") if name in pattern.groupindex), None)
    group: str | int = wanted or min(pattern.groups, 1)
    found, others = [], []
    for parts in images:
        name = "/".join(parts)
        match = pattern.search(name)
        text = match[group] if match else None
        if text:
            found.append(text)
        else:
            others.append(name)
    if others:
        raise DataError(
            f"{path}: {option} {pattern.pattern!r} finds nothing in "
            f"{counted(len(others), 'name')} of {len(images):,}: {_few(others)}",
            remedy="change the expression, or move these images elsewhere",
        )
    return found


def compiled(text: str, option: str) -> re.Pattern[str]:
    """A regular expression from the command line.

    Raises:
        UsageError: it is not one.
    """
    try:
        return re.compile(text)
    except re.error as error:
        raise UsageError(
            f"{option} {text!r}: not a regular expression: {error}",
            remedy=rf"write, for example, {option} '(\D+)_\d+'",
        ) from error


def _simple(heading: str) -> str:
    """A heading without case, spaces, underscores and hyphens."""
    return re.sub(r"[\s_-]+", "", heading).casefold()


def burst_hint(images: Sequence[Parts], places: Places) -> str:
    """A hint if names look like bursts, frames or several pictures of one thing; else empty.

    They do if the names without their last number are at least `LEAST_BURSTS` for each class, name
    several pictures each, and are not just the folders.
    """
    number = re.compile(r"^(?P<group>.*\D)\d+\D*$")
    found: dict[str, set[str]] = {}
    sizes: Counter[str] = Counter()
    for parts, (split, label) in zip(images, places.of_image, strict=True):
        match = number.match(PurePosixPath(parts[-1]).stem)
        if match is None:
            return ""
        if split:
            key = "/".join([*parts[:-1], match["group"]])
            found.setdefault(label, set()).add(key)
            sizes[key] += 1
    if not found or min(map(len, found.values())) < LEAST_BURSTS:
        return ""
    if median(sizes.values()) < LEAST_IN_BURST:
        return ""
    names = sorted("/".join(parts) for parts in images)
    return (
        f"names such as {names[0]} and {names[1]} look like several pictures of one thing, which "
        "should not be both in training and in testing; keep them together with --group-by "
        r"'^(.*\D)\d+\D*\.[^.]*$'"
    )


def label_images(
    path: Path,
    options: FolderOptions,
    images: Sequence[Parts],
    folders: Set[Parts],
    tables: Mapping[str, bytes],
) -> Places:
    """The split, class and group of every image.

    Args:
        path: the directory or archive, for messages.
        options: how they are labeled and grouped.
        images: the images' names, one or more.
        folders: known folders beyond those of the images, such as empty ones.
        tables: the contents of tables beside the images, by their names.

    Raises:
        DataError: the images' places cannot be found.
        UsageError: the options do not fit the images.
    """
    table: Table | None = None
    rows: list[int | None] = []
    if options.label_from:
        pattern = compiled(options.label_from, "--label-from")
        places = places_in_names(path, pattern, images, folders)
    elif options.labels:
        table, column = _chosen_table(options, images, tables)
        places, rows = places_in_table(path, table, column, images, folders)
    else:
        try:
            places = find_places(path, images, folders)
        except DataError:
            table = find_table(tables, images, path)
            if table is None:
                raise
        else:
            if len(places.classes) < 2:
                table = find_table(tables, images, path)
        if table is not None:
            places, rows = places_in_table(path, table, "", images, folders)
    if not options.group_by:
        hint = burst_hint(images, places)
        return replace(places, notes=[*places.notes, hint]) if hint else places
    if table is not None and _simple(options.group_by) in map(_simple, table.headings):
        cells = table.column(options.group_by)
        groups = ["" if row is None else cells[row] for row in rows]
    else:
        groups = parts_of_names(
            path, compiled(options.group_by, "--group-by"), images, "--group-by"
        )
    return replace(places, groups=groups)


def _chosen_table(
    options: FolderOptions, images: Sequence[Parts], tables: Mapping[str, bytes]
) -> tuple[Table, str]:
    """The table and the column that `FolderOptions.labels` names; the column may be empty."""
    names = ImageNames(images)
    for file, column in options.readings():
        if os.path.isfile(file):  # noqa: PTH113 (Path's raises for a long name)
            with read_regular_file(Path(file)) as (stream, size):
                if size > LARGEST_TABLE:
                    raise DataError(
                        f"{file}: the table has {size:,} bytes, over the limit of "
                        f"{LARGEST_TABLE:,}",
                        remedy="keep only the columns with names and labels",
                    )
                return read_table(stream.read(), file, names), column
    for file, column in options.readings():
        if file in tables:
            return read_table(tables[file], file, names), column
    beside = f"; beside the images there are {quoted(sorted(tables))}" if tables else ""
    raise DataError(
        f"--labels {options.labels}: no such file{beside}",
        remedy="name a CSV or TSV file, optionally followed by a colon and a column",
    )
