"""Labels, splits and groups of images from tables beside them, or from one that is named."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import compress
from pathlib import Path, PurePosixPath

from tenfold.data.folders.layout import (
    LEFT_OUT,
    UNSPLIT,
    Images,
    Places,
    classes_of,
    lookalikes,
    same_name,
    split_of,
)
from tenfold.data.folders.members import LARGEST_MEMBER
from tenfold.data.folders.options import FolderOptions
from tenfold.data.folders.tables import (
    AMBIGUOUS,
    SPLIT_HEADINGS,
    ImageNames,
    LabelColumn,
    NameColumn,
    Table,
    find_tables,
    label_column,
    labels_in,
    name_column,
    read_table,
    rows_of_images,
    simplified,
)
from tenfold.errors import (
    DataError,
    FileRefusedError,
    UsageError,
    counted,
    listing,
    quoted,
    shell_word,
)
from tenfold.paths import found_at, is_file
from tenfold.storage import read_regular_file

_HELD_OUT = ("val", "test")
"""The splits that a table's name says something by; the others are for training anyway."""

MOST_OF_THEM = 0.9
"""A table that names this share of the images of class folders is pointed out."""

_NOT_LABELS = re.compile(r"sample.?submission|submission", re.IGNORECASE)
_MOST_SHOWN = 5


@dataclass(frozen=True)
class ImageTable:
    """A table, and the images that its rows name.

    Attributes:
        table: the table.
        of_names: its column of names.
        images: of every row, the image that it names; see `rows_of_images`.
    """

    table: Table
    of_names: NameColumn
    images: Sequence[int | None]

    @cached_property
    def named(self) -> set[int]:
        """The images that its rows name."""
        return {image for image in self.images if image is not None and image != AMBIGUOUS}

    @property
    def file_name(self) -> str:
        """The name of its file, without folders."""
        return PurePosixPath(self.table.name).name

    def said(self, cells: Sequence[str]) -> Iterator[tuple[int, int, str]]:
        """Every row that names an image and has a cell, with both; `cells` may be empty."""
        for row, (image, cell) in enumerate(zip(self.images, cells, strict=bool(cells))):
            if image is not None and image != AMBIGUOUS and cell:
                yield row, image, cell

    def rows_by_image(self, cells: Sequence[str], what: str, images: Images) -> dict[int, int]:
        """The row of every image for which this column has a cell.

        Args:
            cells: of the column, one for every row.
            what: what the cells are, for messages: `labels`.
            images: the images.

        Raises:
            DataError: an image has two different cells.
        """
        rows: dict[int, int] = {}
        twice: dict[int, None] = {}
        for row, image, cell in self.said(cells):
            if cells[rows.setdefault(image, row)] != cell:
                twice[image] = None
        if twice:
            names = ["/".join(images.names[image]) for image in twice]
            raise DataError(
                f"{self.table.name}: images have two {what}: {quoted(names)}",
                remedy="keep one row for each image",
            )
        return rows

    def splits(self) -> tuple[list[str], list[str]]:
        """The split of every row by a column with a usual heading, and the cells that name none.

        Both are empty without such a column, in which at least half of the cells name a split.
        """
        for place, heading in enumerate(self.table.headings):
            if place != self.of_names.place and simplified(heading) in SPLIT_HEADINGS:
                cells = list(self.table.cells(place))
                splits = [split_of(cell) for cell in cells]
                if any(cells) and 2 * sum(map(bool, splits)) >= sum(map(bool, cells)):
                    odd = [cell or "(empty)" for cell in cells if not split_of(cell)]
                    return splits, [] if set(odd) == {"(empty)"} and "train" not in splits else odd
        return [], []

    def oddities(self, labels: Sequence[str], odd: Sequence[str]) -> Iterator[str]:
        """Notes on what does not fit.

        Args:
            labels: the label in every row; empty without one.
            odd: cells that should say which split a row belongs to, and do not.
        """
        name = self.table.name
        names = list(self.table.cells(self.of_names.place))
        if self.of_names.left_out:
            yield f"names in {name} are taken without {self.of_names.left_out!r}"
        absent = compress(names, [place is None for place in self.images])
        ambiguous = compress(names, [place == AMBIGUOUS for place in self.images])
        without = compress(names, [not label for label in labels])
        yield from _listed(f"{name} lists images that are not there", absent)
        yield from _listed(f"{name} has names that several images have", ambiguous)
        yield from _listed(f"{name} has rows without a label", without)
        yield from _listed(
            f"left out rows of {name} that are for neither training nor testing", odd
        )


class Tables:
    """What tables say about images.

    Args:
        images: the images, with the tables beside them.
    """

    def __init__(self, images: Images) -> None:
        self._images = images

    @cached_property
    def _names(self) -> ImageNames:
        return ImageNames(self._images.names, self._images.splits)

    @cached_property
    def _found(self) -> tuple[list[ImageTable], list[str]]:
        """The tables beside the images that name them, and why others do not count."""
        found, reasons = [], list(self._images.unread.values())
        if self._images.tables:
            tables, others = find_tables(self._images.tables, self._names, len(self._images.names))
            found = [self._of_images(table, column) for table, column in tables]
            reasons += others.values()
        return found, reasons

    @property
    def reasons(self) -> list[str]:
        """Why tables beside the images do not count."""
        return self._found[1]

    def without_column(self, heading: str, used: Sequence[ImageTable]) -> list[str]:
        """Why no table gives groups: each table's columns, or why it does not count."""
        tables = [*used, *(each for each in self._found[0] if each not in used)]
        found = []
        for each in tables:
            others = [
                h for place, h in enumerate(each.table.headings) if place != each.of_names.place
            ]
            found.append(f"{each.table.name} has no column {heading!r}, only {quoted(others, 10)}")
        return found + self.reasons

    def _of_images(self, table: Table, column: NameColumn) -> ImageTable:
        return ImageTable(table, column, rows_of_images(table, column, self._names))

    def chosen(self, options: FolderOptions) -> tuple[Places, list[ImageTable]]:
        """The places of the images by the table that `FolderOptions.labels` names.

        Raises:
            DataError: it cannot be read, or does not name the images.
            UsageError: there is no such table or column, or several.
        """
        data, file, column, is_beside = _chosen_table(self._images, options)
        table = read_table(data, file, self._names, is_beside=is_beside)
        labels = table.column(column) if column else None
        of_names = name_column(table, self._names, labels)
        if of_names is None:
            shown = [row[0] for row in table.rows[:_MOST_SHOWN]]
            raise DataError(
                f"{table.name}: no column names an image of {self._images.path}, such as "
                f"{'/'.join(self._images.names[0])!r}; its first column has {quoted(shown)}",
                remedy="give the images' names in one column, with or without folders and "
                "extensions",
            )
        found = self._of_images(table, of_names)
        of_labels = (
            label_column(table, of_names.place) if labels is None else labels_in(table, labels)
        )
        return self._places([(found, of_labels)]), [found]

    def beside(self, *, only_sure: bool = False) -> tuple[Places, list[ImageTable]] | None:
        """The places of the images by the table beside them, or by several that go together.

        Args:
            only_sure: use only tables with a usual heading of labels.

        Raises:
            DataError: several tables name the same images, or have other headings.
            UsageError: it is not clear which column has the labels.
        """
        tables = [each for each in self._found[0] if not _NOT_LABELS.search(each.file_name)]
        # Others may be of the images to predict.
        sure = [each for each in tables if each.table.has_labels]
        tables = sure if sure or only_sure else tables
        if not tables:
            return None
        named = [place for each in tables for place in each.named]
        if len(set(named)) < len(named):
            listed = [
                f"{each.table.name} ({counted(each.of_names.matches, 'image')})" for each in tables
            ]
            raise DataError(
                f"{self._images.path}: several tables name the same images: {listing(listed)}",
                remedy="choose one with --labels, such as --labels "
                + shell_word(tables[0].table.name),
            )
        try:
            columns = [label_column(each.table, each.of_names.place) for each in tables]
        except UsageError as error:
            if len(tables) == 1:
                raise
            raise UsageError(
                error.message, remedy="give this column the heading 'label' in each of the tables"
            ) from error
        labeled = list(zip(tables, columns, strict=True))
        headings = [column.heading for column in columns]
        if len(set(map(simplified, headings))) > 1:
            listed = [
                f"{each.table.name} ({h!r})" for each, h in zip(tables, headings, strict=True)
            ]
            raise DataError(
                f"{self._images.path}: the columns of labels have different headings in several "
                f"tables: {listing(listed)}",
                remedy="give them the same heading, or choose one table with --labels, such as "
                f"--labels {shell_word(tables[0].table.name)}",
            )
        return self._places(labeled), tables

    def _places(self, labeled: Sequence[tuple[ImageTable, LabelColumn]]) -> Places:
        """The place of every image by tables, each with its labels."""
        images, names = self._images, list(map("/".join, self._images.names))
        label_of = [""] * len(names)
        for each, column in labeled:
            for image, row in each.rows_by_image(column.cells, "labels", images).items():
                label_of[image] = column.cells[row]
        listed, heading = ", ".join(each.table.name for each, _ in labeled), labeled[0][1].heading
        of = f"column {heading!r}"
        if not heading:
            classes = sorted(set(label_of) - {""})
            of = f"the heading of the column with a 1: {quoted(classes, 10)}"
        splits, odd = images.splits, [list[str]()] * len(labeled)
        if set(splits) != {UNSPLIT}:
            about_splits = self._note_on_other_splits([each for each, _ in labeled])
        else:
            splits, odd = self._stated_splits([each for each, _ in labeled])
            about_splits = []
        of_image = [
            (split, same_name(label)) if split and label else LEFT_OUT
            for split, label in zip(splits, label_of, strict=True)
        ]
        used = sum(place != LEFT_OUT for place in of_image)
        told = [note for each, _ in labeled for note in each.table.notes]
        told.append(f"labels are from {listed} ({of}), for {counted(used, 'image')}")
        unlabeled = compress(names, [not label for label in label_of])
        told += _listed("left out images without a label", unlabeled)
        for (each, column), cells in zip(labeled, odd, strict=True):
            told += each.oddities(column.cells, cells)
        found = {place[1] for place in of_image if place != LEFT_OUT}
        notes = [*told, *images.notes, *about_splits, *lookalikes(found)]
        return Places(classes_of(images.path, found), of_image, notes)

    def _stated_splits(self, tables: Sequence[ImageTable]) -> tuple[list[str], list[list[str]]]:
        """The split of every image by columns, or by the names of several tables.

        With the cells of every table that name none.
        """
        stated = ["train"] * len(self._images.names)
        is_stated, odd = False, []
        for each in tables:
            splits, cells = each.splits()
            odd.append(cells)
            is_stated |= bool(splits) or (len(tables) > 1 and each.table.split_named in _HELD_OUT)
            # Where a column names only what is held out, the rest is for training.
            named = "" if "train" in splits else "train"
            if not splits:
                named = each.table.split_named or "train"
            for image in each.named:
                stated[image] = named
            if splits:
                for image, row in each.rows_by_image(splits, "splits", self._images).items():
                    stated[image] = splits[row]
        return (stated if is_stated else self._images.splits), odd

    def _note_on_other_splits(self, tables: Sequence[ImageTable]) -> list[str]:
        """A note if columns say other splits than the folders, which count."""
        by_folder = self._images.splits
        for each in tables:
            splits, _ = each.splits()
            if any(split != by_folder[image] for _, image, split in each.said(splits)):
                return [f"the splits are those of the folders, not those in {each.table.name}"]
        return []

    def groups(
        self, used: Sequence[ImageTable], heading: str
    ) -> tuple[list[str], list[ImageTable]] | None:
        """The cells of a column for every image, empty without one; None if no table has it.

        Args:
            used: the tables that labels are from, which come first.
            heading: of the column.

        Raises:
            DataError: an image has two different cells.
            UsageError: only some of the tables with the labels have this column.
        """
        tables: Sequence[ImageTable] = used
        if not any(each.table.has(heading) for each in tables):
            tables = [each for each in self._found[0] if each.table.has(heading)]
        if not tables:
            return None
        groups = [""] * len(self._images.names)
        for each in tables:
            cells = list(each.table.cells(each.table.column(heading)))
            rows = each.rows_by_image(cells, f"cells in the column {heading!r}", self._images)
            for image, row in rows.items():
                if groups[image] not in ("", cells[row]):
                    raise DataError(
                        f"{listing([each.table.name for each in tables])}: in the column "
                        f"{heading!r}, {'/'.join(self._images.names[image])} has "
                        f"{groups[image]!r} and {cells[row]!r}",
                        remedy="keep one row for each image",
                    )
                groups[image] = cells[row]
        return groups, list(tables)

    def note(self, *, for_all: bool = True) -> str:
        """A note if a table labels the images of class folders, too; else empty.

        Args:
            for_all: only if it has a usual heading of labels, and names nearly all images.
        """
        try:
            found, _ = self._found
        except DataError:  # the folders may be splits only if they are not classes
            return ""
        for each in found:
            if _NOT_LABELS.search(each.file_name):
                continue
            least = min(len(self._images.names), each.of_names.rows)
            is_sure = each.table.has_labels and each.of_names.matches >= MOST_OF_THEM * least
            if is_sure or not for_all:
                name = each.table.name
                return (
                    f"the classes are the folders, although {name} names the images, too; "
                    f"--labels {shell_word(name)} takes its labels"
                )
        return ""


def _chosen_table(images: Images, options: FolderOptions) -> tuple[bytes, str, str, bool]:
    """The contents of the table, its name, the heading of its labels, and whether it is beside.

    The heading may be empty.
    """
    for file, column in options.readings():
        if is_file(file):
            data = _read(Path(file))
            inside = Path(file).resolve()
            if inside.is_relative_to(images.path.resolve()):
                return data, inside.relative_to(images.path.resolve()).as_posix(), column, True
            return data, file, column, False
    for file, column in options.readings():
        names = [name for name in images.tables if name.endswith(f"/{file}")]
        if file in images.tables or len(names) == 1:
            name = file if file in images.tables else names[0]
            return images.tables[name], name, column, True
        if names:
            raise UsageError(
                f"--labels {options.labels}: {images.path} has several of this name: "
                f"{quoted(sorted(names), _MOST_SHOWN)}",
                remedy="give one with its folders, such as --labels "
                + shell_word(":".join(filter(None, [sorted(names)[0], column]))),
            )
        for name, reason in images.unread.items():
            if f"/{name}".endswith(f"/{file}"):
                raise DataError(reason, remedy="keep only the columns with names and labels")
    beside = (
        f"; beside the images there are {quoted(sorted(images.tables))}" if images.tables else ""
    )
    remedy = "name a CSV or TSV file, optionally followed by a colon and a column"
    if Path(options.labels).is_absolute():  # as a run remembers it, which takes no other
        remedy = "put the table there"
    found = found_at(options.labels)
    raise DataError(f"--labels {options.labels}: {found}{beside}", remedy=remedy)


def _read(path: Path) -> bytes:
    try:
        with read_regular_file(path) as (stream, size):
            if size <= LARGEST_MEMBER:
                return stream.read()
    except FileRefusedError as error:
        raise DataError(error.message, remedy="make it readable, or name another table") from error
    raise DataError(
        f"{path}: the table has {size:,} bytes, over the limit of {LARGEST_MEMBER:,}",
        remedy="keep only the columns with names and labels",
    )


def _listed(words: str, names: Iterable[str]) -> Iterator[str]:
    """A note with a few of these names, if there are any."""
    if listed := list(names):
        yield f"{words} ({len(listed):,}): {listing(sorted(set(listed)), _MOST_SHOWN)}"
