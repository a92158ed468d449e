"""Labels from a table beside the images, or from the images' names, in place of class folders."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import compress
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
from tenfold.data.folders.members import LARGEST_MEMBER, Parts
from tenfold.data.folders.options import FolderOptions
from tenfold.data.folders.tables import (
    AMBIGUOUS,
    SPLIT_HEADINGS,
    ImageNames,
    NameColumn,
    Table,
    find_tables,
    label_column,
    name_column,
    read_table,
    rows_of_images,
    simplified,
)
from tenfold.errors import DataError, UsageError, counted, listing, quoted
from tenfold.storage import read_regular_file

LEAST_BURSTS, LEAST_IN_BURST = 3, 3
"""Names look like bursts if there are so many in each class, of so many images."""

_FEW_ODD = 0.05
"""A share of other names is no reason to keep silent about bursts."""

MOST_OF_THEM = 0.9
"""A table that names this share of the images of class folders is pointed out."""

_NOT_LABELS = re.compile(r"sample.?submission|submission", re.IGNORECASE)
_MOST_SHOWN = 5


@dataclass(frozen=True)
class Labeled:
    """Where images are by a table.

    Attributes:
        places: the split and class of every image.
        cells: of the column that groups are from, for every image; empty without one.
    """

    places: Places
    cells: list[str]


@dataclass(frozen=True)
class Images:
    """The images of a folder, before they have labels.

    Attributes:
        path: the directory or archive, for messages.
        names: of the images.
        folders: known folders beyond those of the images, such as empty ones.
        tables: the contents of tables beside the images, by their names.
    """

    path: Path
    names: Sequence[Parts]
    folders: Set[Parts]
    tables: Mapping[str, bytes]

    def by_folder(self) -> tuple[list[str], list[str]]:
        """The split of every image by the folders that it is in, and notes."""
        return splits_by_folder(self.path, self.names, self.folders)


def label_images(images: Images, options: FolderOptions) -> Places:
    """The split, class and group of every image.

    Raises:
        DataError: the images' places cannot be found.
        UsageError: the options do not fit the images.
    """
    if options.label_from and options.labels:
        raise UsageError(
            "labels are either in names or in a table, but --label-from and --labels were given",
            remedy="give one of them",
        )
    labeled: Labeled | None = None
    if options.label_from:
        places = places_in_names(images, compiled(options.label_from, "--label-from"))
    elif options.labels:
        labeled = _in_chosen_table(images, options)
        places = labeled.places
    else:
        try:
            places = find_places(images.path, images.names, images.folders)
        except DataError as error:
            labeled, reasons = _in_table_beside(images, options.group_by)
            if labeled is None:
                raise _with_reasons(error, reasons) from error
            places = labeled.places
        else:
            if len(places.classes) < 2:
                labeled, _ = _in_table_beside(images, options.group_by)
                places = places if labeled is None else labeled.places
            elif note := _note_on_tables(images):
                places = replace(places, notes=[*places.notes, note])
    if not options.group_by:
        hint = burst_hint(images.names, places)
        return replace(places, notes=[*places.notes, hint]) if hint else places
    if labeled is not None and labeled.cells:
        cells = labeled.cells
    elif (of_table := _cells_beside(images, options.group_by)) is not None:
        cells = of_table
    else:
        pattern = compiled(options.group_by, "--group-by")
        used = [place != LEFT_OUT for place in places.of_image]
        cells = parts_of_names(images.path, pattern, images.names, "--group-by", used)
    # An image without a group is a group of its own.
    return replace(places, groups=[cell or f"/{i}" for i, cell in enumerate(cells)])


# --- tables


@dataclass(frozen=True)
class _Rows:
    """What the rows of a table say about images.

    Attributes:
        table: the table.
        of_names: its column of names.
        of_labels: the place of its column of labels.
        images: of every row, the image that it names; see `rows_of_images`.
    """

    table: Table
    of_names: NameColumn
    of_labels: int
    images: Sequence[int | None]

    @cached_property
    def names(self) -> list[str]:
        """The name in every row."""
        return list(self.table.cells(self.of_names.place))

    @cached_property
    def labels(self) -> list[str]:
        """The label in every row; empty without one."""
        return list(self.table.cells(self.of_labels))

    def row_of_each(self, names: Sequence[Parts]) -> list[int | None]:
        """The row with the label of every image; None without one.

        Raises:
            DataError: an image has two labels.
        """
        row_of: list[int | None] = [None] * len(names)
        twice: dict[str, None] = {}
        for row, (place, label) in enumerate(zip(self.images, self.labels, strict=True)):
            if place is None or place == AMBIGUOUS or not label:
                continue
            before = row_of[place]
            if before is not None and self.labels[before] != label:
                twice["/".join(names[place])] = None
            row_of[place] = row
        if twice:
            raise DataError(
                f"{self.table.name}: images have two labels: {quoted(list(twice))}",
                remedy="keep one row for each image",
            )
        return row_of

    def source(self, used: int) -> str:
        """A note on where the labels of so many images are from."""
        heading = self.table.headings[self.of_labels]
        return (
            f"labels are from {self.table.name} (column {heading!r}), for {counted(used, 'image')}"
        )

    def oddities(self, unlabeled: Sequence[str], odd: Sequence[str]) -> Iterator[str]:
        """Notes on what does not fit.

        Args:
            unlabeled: names of images that have no row.
            odd: cells that should say which split a row belongs to, and do not.
        """
        name = self.table.name
        if self.of_names.left_out:
            yield f"names in {name} are taken without {self.of_names.left_out!r}"
        absent = self._names_where(place is None for place in self.images)
        ambiguous = self._names_where(place == AMBIGUOUS for place in self.images)
        without = self._names_where(not label for label in self.labels)
        for listed, words in (
            (unlabeled, "left out images without a label"),
            (absent, f"{name} lists images that are not there"),
            (ambiguous, f"{name} has names that several images have"),
            (without, f"{name} has rows without a label"),
            (odd, f"left out rows of {name} that are for neither training nor testing"),
        ):
            if listed:
                yield f"{words} ({len(listed):,}): {_few(listed)}"

    def _names_where(self, holds: Iterable[bool]) -> list[str]:
        return list(compress(self.names, holds))


def _in_chosen_table(images: Images, options: FolderOptions) -> Labeled:
    """By the table that `FolderOptions.labels` names."""
    splits, notes = images.by_folder()
    names = ImageNames(images.names, splits)
    data, file, column = _chosen_table(images, options)
    table = read_table(data, file, names)
    labels = table.column(column) if column else None
    of_names = name_column(table, names, labels)
    if of_names is None:
        shown = [row[0] for row in table.rows[:_MOST_SHOWN]]
        raise DataError(
            f"{table.name}: no column names an image of {images.path}, such as "
            f"{'/'.join(images.names[0])!r}; its first column has {quoted(shown)}",
            remedy="give the images' names in one column, with or without folders and extensions",
        )
    labels = label_column(table, of_names.place) if labels is None else labels
    rows = _Rows(table, of_names, labels, rows_of_images(table, of_names, names))
    return _labeled(images, rows, splits, notes, options.group_by)


def _chosen_table(images: Images, options: FolderOptions) -> tuple[bytes, str, str]:
    """The contents of the table, its name, and the heading of its labels, which may be empty."""
    for file, column in options.readings():
        if os.path.isfile(file):  # noqa: PTH113 (Path's raises for a long name)
            with read_regular_file(Path(file)) as (stream, size):
                if size > LARGEST_MEMBER:
                    raise DataError(
                        f"{file}: the table has {size:,} bytes, over the limit of "
                        f"{LARGEST_MEMBER:,}",
                        remedy="keep only the columns with names and labels",
                    )
                return stream.read(), file, column
    for file, column in options.readings():
        for name, data in images.tables.items():
            if name == file or name.endswith(f"/{file}"):
                return data, name, column
    beside = (
        f"; beside the images there are {quoted(sorted(images.tables))}" if images.tables else ""
    )
    remedy = "name a CSV or TSV file, optionally followed by a colon and a column"
    if Path(options.labels).is_absolute():  # as a run remembers it, which takes no other
        remedy = "put the table there"
    raise DataError(f"--labels {options.labels}: no such file{beside}", remedy=remedy)


def _in_table_beside(images: Images, group_by: str) -> tuple[Labeled | None, list[str]]:
    """By the table beside the images, or several that go together; and why others do not count.

    Raises:
        DataError: several tables name the same images.
    """
    candidates = {n: data for n, data in images.tables.items() if not _NOT_LABELS.search(n)}
    if not candidates:
        return None, []
    splits, notes = images.by_folder()
    names = ImageNames(images.names, splits)
    found, reasons = find_tables(candidates, names, len(images.names))
    if not found:
        return None, reasons
    # Others may be of the images to predict.
    found = [each for each in found if each[0].has_labels] or found
    table, column = found[0]
    of_row, by_table = rows_of_images(table, column, names), list[str]()
    if len(found) > 1:
        table, of_row, by_table = _joined(images, found, names)
    rows = _Rows(table, column, label_column(table, column.place), of_row)
    if by_table and set(splits) == {UNSPLIT} and all(by_table):
        splits = [UNSPLIT] * len(splits)
        for place, split in zip(rows.images, by_table, strict=True):
            if place is not None and place != AMBIGUOUS:
                splits[place] = split
    return _labeled(images, rows, splits, notes, group_by), reasons


def _joined(
    images: Images, found: Sequence[tuple[Table, NameColumn]], names: ImageNames
) -> tuple[Table, list[int | None], list[str]]:
    """Several tables as one, the image of each row, and the split that its table is named after.

    Raises:
        DataError: they have other columns, or name the same images.
    """
    first, of_names = found[0]
    by_table = [rows_of_images(table, column, names) for table, column in found]
    named = [place for rows in by_table for place in set(rows) - {None, AMBIGUOUS}]
    are_alike = all(
        (table.headings, column.place) == (first.headings, of_names.place)
        for table, column in found
    )
    if not are_alike or len(set(named)) < len(named):
        listed = listing(
            [f"{table.name} ({counted(column.matches, 'image')})" for table, column in found]
        )
        raise DataError(
            f"{images.path}: several tables name its images: {listed}",
            remedy=f"choose one with --labels, such as --labels {first.name}",
        )
    tables = [table for table, _ in found]
    by_row = [
        split_of(PurePosixPath(table.name).stem) for table in tables for _ in range(len(table.rows))
    ]
    whole = Table(
        ", ".join(table.name for table in tables),
        first.headings,
        [row for table in tables for row in table.rows],
        tuple(note for table in tables for note in table.notes),
        first.folder,
    )
    return whole, [place for rows in by_table for place in rows], by_row


def _labeled(
    images: Images, found: _Rows, splits: list[str], notes: list[str], group_by: str
) -> Labeled:
    """The place of every image by a table.

    Args:
        images: the images.
        found: the table's rows.
        splits: of the images, by their folders.
        notes: on these splits.
        group_by: see `FolderOptions`.
    """
    table = found.table
    row_of = found.row_of_each(images.names)
    by_column, odd = _splits_by_column(table, found.of_names.place)
    is_split = set(splits) != {UNSPLIT}
    used = row_of
    if by_column and is_split:
        notes = [*notes, f"the splits are those of the folders, not those in {table.name}"]
        odd = []
    elif by_column:
        splits = [UNSPLIT if row is None else by_column[row] for row in row_of]
        used = [row if split else None for row, split in zip(row_of, splits, strict=True)]
    of_image = [
        LEFT_OUT if row is None else (split, same_name(found.labels[row]))
        for split, row in zip(splits, used, strict=True)
    ]
    classes = {place[1] for place in of_image if place != LEFT_OUT}
    unlabeled = [
        "/".join(name) for name, row in zip(images.names, row_of, strict=True) if row is None
    ]
    told = [found.source(sum(row is not None for row in used)), *found.oddities(unlabeled, odd)]
    places = Places(
        classes_of(images.path, classes),
        of_image,
        [*table.notes, *told, *notes, *lookalikes(classes)],
    )
    return Labeled(places, _grouped(table, used, group_by) if table.has(group_by) else [])


def _grouped(table: Table, row_of: Sequence[int | None], heading: str) -> list[str]:
    """The cells of a column, for every image."""
    cells = list(table.cells(table.column(heading)))
    return ["" if row is None else cells[row] for row in row_of]


def _cells_beside(images: Images, heading: str) -> list[str] | None:
    """The cells of a column with this heading in the one table beside that has it."""
    if not images.tables:
        return None
    names = ImageNames(images.names, images.by_folder()[0])
    found, _ = find_tables(images.tables, names, len(images.names))
    fitting = [(table, column) for table, column in found if table.has(heading)]
    if len(fitting) != 1:
        return None
    (table, column), row_of = fitting[0], dict[int, int]()
    for row, place in enumerate(rows_of_images(table, column, names)):
        if place is not None:
            row_of[place] = row
    return _grouped(table, [row_of.get(place) for place in range(len(images.names))], heading)


def _note_on_tables(images: Images) -> str:
    """A note if a table labels nearly all images of class folders, too; else empty."""
    if not images.tables:
        return ""
    names = ImageNames(images.names, [UNSPLIT] * len(images.names))
    found, _ = find_tables(images.tables, names, len(images.names))
    for table, column in found:
        if table.has_labels and column.matches >= MOST_OF_THEM * min(
            len(images.names), column.rows
        ):
            return (
                f"the classes are the folders, although {table.name} names the images, too; "
                f"--labels {table.name} takes its labels"
            )
    return ""


def _with_reasons(error: DataError, reasons: Sequence[str]) -> DataError:
    """The error of a layout, with why tables beside the images were not used."""
    if not reasons:
        return error
    return DataError(f"{error.message} ({listing(list(reasons), 3)})", remedy=error.remedy)


def _splits_by_column(table: Table, of_names: int) -> tuple[list[str], list[str]]:
    """The split of every row by a column with a usual heading, and the cells that name none.

    Both are empty without such a column, in which at least half of the rows have names of splits.
    """
    for place, heading in enumerate(table.headings):
        if place != of_names and simplified(heading) in SPLIT_HEADINGS:
            cells = list(table.cells(place))
            splits = [split_of(cell) for cell in cells]
            if 2 * sum(map(bool, splits)) >= len(splits):
                return splits, [
                    cell for cell, split in zip(cells, splits, strict=True) if not split
                ]
    return [], []


def _few(names: Iterable[str]) -> str:
    return listing(sorted(set(names)), _MOST_SHOWN)


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


# --- names


def places_in_names(images: Images, pattern: re.Pattern[str]) -> Places:
    """The split and class of every image, by a pattern that its name matches.

    Images of a test folder in which no name matches are left out.

    Args:
        images: the images.
        pattern: searched for in each image's name, with its folders; see `parts_of_names`.

    Raises:
        DataError: a name does not match.
    """
    splits, notes = images.by_folder()
    matching = [pattern.search("/".join(parts)) is not None for parts in images.names]
    tested = [matches for matches, split in zip(matching, splits, strict=True) if split == "test"]
    used = [True] * len(matching)
    if tested and not any(tested) and any(matching):
        used = [split != "test" for split in splits]
        notes.append(
            f"{counted(len(tested), 'image')} of the test folder have no label in their names, so "
            "they were left out; `tenfold predict` classifies them"
        )
    labels = parts_of_names(images.path, pattern, images.names, "--label-from", used)
    found = {label for label, is_used in zip(labels, used, strict=True) if is_used}
    of_image = [
        (split, same_name(label)) if is_used else LEFT_OUT
        for split, label, is_used in zip(splits, labels, used, strict=True)
    ]
    return Places(classes_of(images.path, found), of_image, notes + lookalikes(found))


def parts_of_names(
    path: Path,
    pattern: re.Pattern[str],
    images: Sequence[Parts],
    option: str,
    used: Sequence[bool],
) -> list[str]:
    """What a pattern finds in every name: its group `label` or `group`, its first, or all of it.

    For images that are not used, it is empty.

    Raises:
        DataError: it finds nothing in the name of a used image; the option is named.
    """
    wanted = next((name for name in ("label", "group") if name in pattern.groupindex), None)
    group: str | int = wanted or min(pattern.groups, 1)
    found, others = [], []
    for parts, is_used in zip(images, used, strict=True):
        name = "/".join(parts)
        match = pattern.search(name) if is_used else None
        text = match[group] if match else None
        if is_used and not text:
            others.append(name)
        found.append(text or "")
    if others:
        raise DataError(
            f"{path}: {option} {pattern.pattern!r} finds nothing in "
            f"{counted(len(others), 'name')} of {sum(used):,}: {_few(others)}",
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
            remedy=rf"write, for example, {option} '([^/\d]+)_\d+'",
        ) from error


def burst_hint(images: Sequence[Parts], places: Places) -> str:
    """A hint if names look like bursts, frames or several pictures of one thing; else empty.

    They do if the names without their last number are at least `LEAST_BURSTS` for each class, name
    several pictures each, and are not just the folders.
    """
    number = re.compile(r"^(?P<group>.*\D)\d+\D*$")
    found: dict[str, set[str]] = {}
    bursts: dict[str, list[str]] = {}
    odd = 0
    for parts, (split, label) in zip(images, places.of_image, strict=True):
        match = number.match(PurePosixPath(parts[-1]).stem) if split else None
        if match is not None:
            key = "/".join([*parts[:-1], match["group"]])
            found.setdefault(label, set()).add(key)
            bursts.setdefault(key, []).append("/".join(parts))
        odd += bool(split) and match is None
    if not found or odd > _FEW_ODD * len(images) or min(map(len, found.values())) < LEAST_BURSTS:
        return ""
    if median(map(len, bursts.values())) < LEAST_IN_BURST:
        return ""
    largest = max(bursts, key=lambda key: len(bursts[key]))
    names = sorted(bursts[largest])
    return (
        f"names such as {names[0]} and {names[1]} look like several images of one thing, which "
        "should not be both in training and in testing; keep them together with --group-by "
        r"'^(.*\D)\d+\D*\.[^.]*$'"
    )
