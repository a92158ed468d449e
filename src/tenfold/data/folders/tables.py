"""Tables of images' names and labels, as people have them: CSV and TSV files."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, takewhile
from pathlib import PurePosixPath
from random import Random

from tenfold.data.folders.layout import same_name, split_of
from tenfold.data.folders.members import Parts
from tenfold.data.folders.text import decoded
from tenfold.errors import DataError, UsageError, counted, did_you_mean, quoted, shell_word

MOST_COLUMNS, MOST_ROWS = 1000, 2_000_000
"""Limits of a table."""

LABEL_HEADINGS = (
    "label", "labels", "class", "classname", "classes", "category", "target", "species", "breed",
    "diagnosis", "dx", "y", "labelname", "classid", "categoryid", "labelid", "name",
)  # fmt: skip
"""Usual headings of the column with the labels, without case, spaces and underscores."""

_SURE_LABEL_HEADINGS = frozenset(LABEL_HEADINGS) - {"name"}

NAME_HEADINGS = (
    "id", "file", "filename", "filepath", "image", "imageid", "imagename", "imagepath", "img",
    "imgid", "imgname", "imgpath", "path", "picture", "photo", "files", "filenames", "images",
)  # fmt: skip
"""Usual headings of the column with the images' names, likewise."""

SPLIT_HEADINGS = ("split", "subset", "set", "partition", "fold", "usage", "datasplit")
"""Usual headings of the column with the splits, likewise."""

_TABLE_WORDS = (
    "labels?|annotations?|annots?|metadata|meta|data|info|list|index|gt|ground[ _-]?truth|answers?|"
    "classes|targets?|solutions?"
)
_BESIDE_A_SPLIT = re.compile(
    rf"(?:{_TABLE_WORDS})[\s_.-]*(.+?)|(.+?)[\s_.-]*(?:{_TABLE_WORDS})", re.IGNORECASE
)

_LONGEST_STEM = 255
"""Characters of a table's name that may name a split; no file system allows longer names."""

_LOOKED_AT, _TRIED = 2000, 100
"""Rows that decide which column names images, and how many of them are tried first."""

_DEEPEST = 6
"""Parts of an image's path, from its end, by which it is found."""

AMBIGUOUS = -1
"""Instead of an image's index: several images have this name."""


@dataclass(frozen=True)
class Table:
    """A table of text cells.

    Attributes:
        name: of its file, for messages.
        headings: of its columns; their numbers, from 1, if it has no headings.
        rows: each with at most as many cells as there are headings.
        notes: what the user should know about how it was read.
        folder: that it is in, among the images; empty if it is elsewhere.
    """

    name: str
    headings: tuple[str, ...]
    rows: list[list[str]]
    notes: tuple[str, ...] = ()
    folder: str = ""

    @cached_property
    def split_named(self) -> str:
        """The split that its name names, as `train_labels` does; empty for none."""
        stem = PurePosixPath(self.name).stem
        if len(stem) > _LONGEST_STEM:  # matching takes time that grows with the square of it
            return ""
        match = _BESIDE_A_SPLIT.fullmatch(stem)
        return split_of(stem) or (split_of(match[1] or match[2]) if match else "")

    @cached_property
    def split(self) -> str:
        """The split that its name names, or else that of its folder; by default for training."""
        folders = reversed(PurePosixPath(self.folder).parts)
        named = [self.split_named, *map(split_of, folders)]
        return next(filter(None, named), "train")

    @property
    def has_labels(self) -> bool:
        """Whether a column has a usual heading of labels."""
        return not _SURE_LABEL_HEADINGS.isdisjoint(map(simplified, self.headings))

    def column(self, heading: str) -> int:
        """The place of a column.

        Raises:
            UsageError: there is no such column, or several.
        """
        places = [place for place, each in enumerate(self.headings) if each == heading]
        places = places or [
            place
            for place, each in enumerate(self.headings)
            if simplified(each) == simplified(heading)
        ]
        if len(places) == 1:
            return places[0]
        if places:
            raise self.of_one_heading(places)
        raise UsageError(
            f"{self.name}: there is no column {heading!r}, only {quoted(self.headings)}",
            remedy=did_you_mean(heading, self.headings),
        )

    def of_one_heading(self, places: Sequence[int]) -> UsageError:
        """The error for several columns of which one is wanted."""
        headings = quoted(sorted({self.headings[place] for place in places}))
        return UsageError(
            f"{self.name}: {len(places)} columns have the same heading: {headings}",
            remedy="give them different headings",
        )

    def has(self, heading: str) -> bool:
        """Whether there is a column of this heading."""
        return simplified(heading) in map(simplified, self.headings)

    def cells(self, column: int) -> Iterator[str]:
        """The cells of a column, without the spaces around them."""
        for row in self.rows:
            yield row[column].strip() if column < len(row) else ""


class ImageNames:
    """Finds images by what a table calls them.

    That is their path, from the table's folder or from the root, or the end of their path; with or
    without extension, and in the same case if that tells images apart. Of several, the one in the
    table's split counts.

    Args:
        images: the images' names.
        splits: the split of each.
    """

    def __init__(self, images: Sequence[Parts], splits: Sequence[str]) -> None:
        self._images, self._splits = images, splits
        self._depths, self._kinds = set(map(len, images)), set(splits)
        self._indexes: dict[tuple[int, str | None], _Index] = {}

    @property
    def example(self) -> str:
        """The name of an image."""
        return "/".join(self._images[0]) if self._images else ""

    def find(self, name: str, folder: str = "", split: str = "train") -> int | None:
        """The index of an image; `AMBIGUOUS` if there are several, None if there is none.

        Args:
            name: as `path_in` gives it.
            folder: the table's.
            split: the table's.
        """
        found = [self._among(None, f"{same_name(folder)}/{name}")] if folder else []
        found.append(self._among(None, name))
        if split in self._kinds and len(self._kinds) > 1:
            found.append(self._among(split, name))
        found.append(self._among("", name))
        known = [place for place in found if place is not None]
        return next((place for place in known if place != AMBIGUOUS), known[0] if known else None)

    def _among(self, split: str | None, name: str) -> int | None:
        """Of the images in a split, or all (empty), the one whose path ends so; None: is so."""
        depth = name.count("/") + 1
        if depth not in self._depths if split is None else depth > _DEEPEST:
            return None
        index = self._indexes.get((depth, split))
        if index is None:
            places = [
                place
                for place, (parts, its) in enumerate(zip(self._images, self._splits, strict=True))
                if (len(parts) == depth if split is None else len(parts) >= depth)
                and (not split or its == split)
            ]
            ends = ("/".join(map(same_name, self._images[place][-depth:])) for place in places)
            index = self._indexes[depth, split] = _Index(zip(ends, places, strict=True))
        return index.find(name)


class _Index:
    """The places of images by their names, with and without extension, and without case."""

    def __init__(self, places: Iterable[tuple[str, int]]) -> None:
        self._exact: dict[str, int] = {}
        for name, place in places:
            stem, dot, extension = name.rpartition(".")
            for key in (name, stem) if dot and "/" not in extension else (name,):
                if self._exact.setdefault(key, place) != place:
                    self._exact[key] = AMBIGUOUS

    @cached_property
    def _folded(self) -> dict[str, int]:
        folded: dict[str, int] = {}
        for name, place in self._exact.items():
            key = name.casefold()
            if folded.setdefault(key, place) != place:
                folded[key] = AMBIGUOUS
        return folded

    def find(self, name: str) -> int | None:
        """The place of a name; `AMBIGUOUS` if several images have it, None if none has."""
        place = self._exact.get(name)
        return self._folded.get(name.casefold()) if place is None else place


def path_in(cell: str) -> str:
    """The path that a cell names, in one of its forms."""
    path = same_name(cell.strip().replace("\\", "/"))
    return re.sub(r"^(?:\./|/)+", "", path)


def common_folder(paths: Sequence[str]) -> str:
    """The folder, with a slash, that begins all of these paths; empty if there is none."""
    common: list[str] | None = None
    for path in paths:
        parts = path.split("/")[:-1]
        if common is None:
            common = parts
        same = takewhile(lambda pair: pair[0] == pair[1], zip(common, parts, strict=False))
        common = [part for part, _ in same]
        if not common:
            return ""
    return "".join(f"{part}/" for part in common or ())


def read_table(data: bytes, name: str, names: ImageNames, *, is_beside: bool = True) -> Table:
    """A table from a CSV or TSV file.

    Commas, semicolons, tabs and vertical bars are told apart by its first line, which has headings
    unless one of its cells is the name of an image; without any of them, spaces count. Empty lines
    do not count, nor do comments (#) before the first line, the last of which may have the
    headings.

    Args:
        data: its contents.
        name: of its file.
        names: finds the images.
        is_beside: whether it is among the images.

    Raises:
        DataError: it is not a table of text, or too large, or has too few headings.
    """
    text, notes = decoded(data, name)
    lines = re.sub(r"\r\n?", "\n", text)
    kept = re.sub(r"\A(?:\s*\n|#.*\n)+", "", lines)
    comment = lines[: len(lines) - len(kept)].strip().rpartition("\n")[2].lstrip("#")
    first = kept.partition("\n")[0]
    delimiter = max("\t;,|", key=first.count)

    limit = _last_cell(kept, first.split(), names)

    def parsed(text: str) -> Iterator[list[str]]:
        if delimiter in first or " " not in first:
            yield from csv.reader(io.StringIO(text), delimiter=delimiter)
        else:
            yield from (line.split(maxsplit=limit) for line in text.split("\n"))

    rows: list[list[str]] = []
    try:
        for row in parsed(kept):
            if any(row):
                rows.append(row)
            if len(row) > MOST_COLUMNS or len(rows) > MOST_ROWS:
                raise DataError(
                    f"{name}: the table has more than {MOST_COLUMNS:,} columns or {MOST_ROWS:,} "
                    "rows",
                    remedy="keep only the columns with names and labels",
                )
        commented = next(parsed(comment), [])
    except csv.Error as error:
        raise DataError(f"{name}: not a table: {error}", remedy="save it as CSV again") from error
    if not rows:
        raise DataError(f"{name}: the table is empty")
    width = max(map(len, rows))
    headings = [str(number + 1) for number in range(width)]
    first_row: list[str] = []
    if not any(isinstance(names.find(path_in(cell)), int) for cell in rows[0] if cell.strip()):
        first_row = rows.pop(0)
    elif len(commented) == width > 1:
        first_row = commented
    for place, cell in enumerate(first_row):
        headings[place] = cell.strip() or headings[place]
    longer = [
        row
        for row in rows
        if first_row
        and any(row[len(first_row) :])
        and any(isinstance(names.find(path_in(cell)), int) for cell in row)
    ]
    if longer:
        raise DataError(
            f"{name}: a row has more cells than there are headings: {quoted(longer[0], 5)}",
            remedy="put cells with commas in quotes, and give every column a heading",
        )
    folder = name.rpartition("/")[0] if is_beside else ""
    return Table(name, tuple(headings), rows, notes, folder)


def _last_cell(text: str, first: Sequence[str], names: ImageNames) -> int:
    """The place of the last cell in lines of words, which may be several words.

    Where there are headings, it is below the last of them. Otherwise, lines of one length have a
    cell for every word, and those of different lengths a name and a label.
    """
    if not any(isinstance(names.find(path_in(word)), int) for word in first):
        return max(len(first) - 1, 0)
    lengths = {len(line.split()) for line in text.split("\n") if line.strip()}
    return -1 if len(lengths) == 1 else 1


@dataclass(frozen=True)
class NameColumn:
    """The column of a table that names images.

    Attributes:
        place: of the column.
        left_out: the folder that begins all its names and that images are found without.
        matches: number of different images that its first rows name.
        rows: number of those rows.
        may_be_chance: whether it has only numbers, and no usual heading of names.
    """

    place: int
    left_out: str
    matches: int
    rows: int
    may_be_chance: bool = False


def name_column(table: Table, names: ImageNames, labels: int | None = None) -> NameColumn | None:
    """The column that names the most images; usual headings decide between equals.

    Args:
        table: the table.
        names: finds the images.
        labels: the column with the labels, if it is known.
    """
    found = []
    for place, heading in enumerate(table.headings):
        if place == labels:
            continue
        paths = [
            path_in(row[place])
            for row in table.rows[:_LOOKED_AT]
            if place < len(row) and row[place].strip()
        ]
        # First with the folders that it gives, then without those that all names begin with.
        for left_out in dict.fromkeys(("", common_folder(paths))):
            some = Random(0).sample(paths, min(len(paths), _TRIED))  # noqa: S311 (no secret)
            if not _matched(table, names, left_out, some):
                continue
            matched = _matched(table, names, left_out, paths)
            if matched:
                usual = simplified(heading) in NAME_HEADINGS
                label = simplified(heading) in LABEL_HEADINGS and labels is None
                # Rows may be numbered, and images too.
                is_number = all(path.isdecimal() for path in paths)
                column = NameColumn(
                    place, left_out, len(matched), len(paths), is_number and not usual
                )
                is_sure = usual and 2 * len(matched) >= len(paths)
                rank = (is_sure, not is_number, len(matched), usual, not label, -place)
                found.append((rank, column))
    return max(found, key=lambda each: each[0])[1] if found else None


def _matched(table: Table, names: ImageNames, left_out: str, paths: Iterable[str]) -> set[int]:
    """The images that paths name, without a folder that begins them."""
    found = (names.find(path.removeprefix(left_out), table.folder, table.split) for path in paths)
    return {index for index in found if index is not None and index != AMBIGUOUS}


def rows_of_images(table: Table, column: NameColumn, names: ImageNames) -> list[int | None]:
    """For each row, the index of the image that it names; see `ImageNames.find`."""
    return [
        names.find(path_in(cell).removeprefix(column.left_out), table.folder, table.split)
        for cell in table.cells(column.place)
    ]


@dataclass(frozen=True)
class LabelColumn:
    """The labels in a table.

    Attributes:
        heading: of their column; empty if there is a column for each class.
        cells: the label in every row; empty without one.
    """

    heading: str
    cells: list[str]


def label_column(table: Table, of_names: int) -> LabelColumn:
    """The labels: in the column of a usual heading, or in the only one that is left.

    Or else the headings of columns, of which every row has exactly one 1, and 0 in the others.

    Raises:
        UsageError: it is not clear.
    """
    others = [place for place in range(len(table.headings)) if place != of_names]
    simple = [simplified(heading) for heading in table.headings]
    others = [place for place in others if not _numbers_rows(table, place)] or others
    others = [place for place in others if any(table.cells(place))] or others
    usual = [place for wanted in LABEL_HEADINGS for place in others if simple[place] == wanted]
    left = [place for place in others if simple[place] not in SPLIT_HEADINGS]
    if len(same := [place for place in usual if simple[place] == simple[usual[0]]]) > 1:
        raise table.of_one_heading(same)
    if usual or len(left) == 1:
        return labels_in(table, usual[0] if usual else left[0])
    are_splits = all(split_of(table.headings[place]) for place in left)
    if not usual and not are_splits and (cells := _headings_marked(table, left)):
        return LabelColumn("", cells)
    named = [table.headings[place] for place in others]
    raise UsageError(
        f"{table.name}: it is not clear which column has the labels: {quoted(named)}",
        remedy="name it, for example with --labels "
        + shell_word(f"{table.name}:{named[0] if named else 'COLUMN'}"),
    )


def labels_in(table: Table, column: int) -> LabelColumn:
    """The labels in a column."""
    return LabelColumn(table.headings[column], list(table.cells(column)))


def _headings_marked(table: Table, columns: Sequence[int]) -> list[str]:
    """For each row, the heading of the one column that has a 1; empty if a row is not so."""
    marks = {"0": False, "0.0": False, "1": True, "1.0": True}
    found = []
    for cells in zip(*(table.cells(column) for column in columns), strict=True):
        marked = [column for column, cell in zip(columns, cells, strict=True) if marks.get(cell)]
        if len(marked) != 1 or not marks.keys() >= set(cells):
            return []
        found.append(table.headings[marked[0]])
    return found


def _numbers_rows(table: Table, column: int) -> bool:
    """Whether a column has no heading, or the one that pandas gives it, and different numbers."""
    heading = table.headings[column]
    if heading != str(column + 1) and not simplified(heading).startswith("unnamed:"):
        return False
    cells = list(islice(table.cells(column), _LOOKED_AT))
    return all(map(str.isdecimal, cells)) and len(set(cells)) == len(cells)


def find_tables(
    tables: Mapping[str, bytes], names: ImageNames, images: int
) -> tuple[list[tuple[Table, NameColumn]], dict[str, str]]:
    """The tables that name images, those with most first; and why others do not, by their names.

    A table has to have another column, and to name at least half of the images, or at least half of
    what it names have to be images.

    Args:
        tables: the contents of files by their names.
        names: finds the images.
        images: their number.
    """
    found, reasons = [], dict[str, str]()
    for name, data in tables.items():
        try:
            table = read_table(data, name, names)
        except DataError as error:
            reasons[name] = error.message
            continue
        column = name_column(table, names)
        if column is None and name.lower().endswith(".txt"):
            continue  # it may be any text
        if column is None or len(table.headings) < 2:
            reasons[name] = f"{name}: {_why_not(table, column, names)}"
        elif 2 * column.matches < (max if column.may_be_chance else min)(images, column.rows):
            reasons[name] = f"{name}: it names only {counted(column.matches, 'image')}"
        else:
            found.append((table, column))
    return sorted(found, key=lambda each: -each[1].matches), reasons


def _why_not(table: Table, column: NameColumn | None, names: ImageNames) -> str:
    """Why a table does not say anything about images."""
    if column is not None:
        return "it has only one column"
    for place in range(len(table.headings)):
        for cell in islice(table.cells(place), _LOOKED_AT):
            if names.find(path_in(cell), table.folder, table.split) == AMBIGUOUS:
                return (
                    f"several images have the name {cell!r}, so it has to give their folders, too"
                )
    shown = [cell for cell in islice(table.cells(0), 3) if cell]
    found = f"; its first column has {quoted(shown)}" if shown else ""
    return f"no column names images such as {names.example!r}{found}"


def simplified(heading: str) -> str:
    """A heading without case, spaces, underscores and hyphens."""
    return re.sub(r"[\s_-]+", "", heading).casefold()
