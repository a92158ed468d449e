"""Tables of images' names and labels, as people have them: CSV and TSV files."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from tenfold.data.folders.layout import same_name, split_of
from tenfold.data.folders.members import Parts
from tenfold.data.folders.text import decoded
from tenfold.errors import DataError, UsageError, counted, did_you_mean, quoted

MOST_COLUMNS, MOST_ROWS = 1000, 2_000_000
"""Limits of a table."""

LABEL_HEADINGS = (
    "label", "labels", "class", "classname", "classes", "category", "target", "species", "breed",
    "diagnosis", "y", "labelname", "classid", "categoryid", "labelid", "name",
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

_LOOKED_AT = 2000
"""Rows that decide which column names images."""

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
        folder: that it is in, among the images.
    """

    name: str
    headings: tuple[str, ...]
    rows: list[list[str]]
    notes: tuple[str, ...] = ()
    folder: str = ""

    @property
    def split(self) -> str:
        """The split that its name names, or else that of its folder; by default for training."""
        path = PurePosixPath(self.name)
        named = [split_of(path.stem), *map(split_of, reversed(path.parent.parts))]
        return next(filter(None, named), "train")

    @property
    def has_labels(self) -> bool:
        """Whether a column has a usual heading of labels."""
        return not _SURE_LABEL_HEADINGS.isdisjoint(map(simplified, self.headings))

    def column(self, heading: str) -> int:
        """The place of a column.

        Raises:
            UsageError: there is no such column.
        """
        simple = [simplified(each) for each in self.headings]
        if heading in self.headings:
            return self.headings.index(heading)
        if simplified(heading) in simple:
            return simple.index(simplified(heading))
        raise UsageError(
            f"{self.name}: there is no column {heading!r}, only {quoted(self.headings)}",
            remedy=did_you_mean(heading, self.headings),
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

    That is their path, from the root or from the table's folder, or the end of their path; with or
    without extension, and in the same case if that tells images apart. Of several, the one in the
    table's split counts.

    Args:
        images: the images' names.
        splits: the split of each.
    """

    def __init__(self, images: Sequence[Parts], splits: Sequence[str]) -> None:
        self._whole, self._ends = _Index(), _Index()
        self._ends_in = {split: _Index() for split in set(splits)}
        for place, (parts, split) in enumerate(zip(images, splits, strict=True)):
            names = [same_name(part) for part in parts]
            self._whole.add("/".join(names), place)
            for start in range(max(0, len(names) - _DEEPEST), len(names)):
                end = "/".join(names[start:])
                self._ends.add(end, place)
                self._ends_in[split].add(end, place)

    def find(self, name: str, folder: str = "", split: str = "train") -> int | None:
        """The index of an image; `AMBIGUOUS` if there are several, None if there is none.

        Args:
            name: as `path_in` gives it.
            folder: the table's.
            split: the table's.
        """
        inside = f"{same_name(folder)}/{name}" if folder else name
        found = [
            self._whole.find(name),
            self._whole.find(inside),
            self._ends_in[split].find(name) if split in self._ends_in else None,
            self._ends.find(name),
        ]
        known = [place for place in found if place is not None]
        return next((place for place in known if place != AMBIGUOUS), known[0] if known else None)


class _Index:
    """The places of images by their names, with and without extension, and without case."""

    def __init__(self) -> None:
        self._exact: dict[str, int] = {}
        self._folded: dict[str, int] = {}

    def add(self, name: str, place: int) -> None:
        """Add a name."""
        for key in {name, str(PurePosixPath(name).with_suffix(""))}:
            for index, form in ((self._exact, key), (self._folded, key.casefold())):
                index[form] = AMBIGUOUS if index.get(form, place) != place else place

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
        while common and parts[: len(common)] != common:
            common.pop()
        if not common:
            return ""
    return "".join(f"{part}/" for part in common or ())


def read_table(data: bytes, name: str, names: ImageNames) -> Table:
    """A table from a CSV or TSV file.

    Commas, semicolons, tabs and vertical bars are told apart by its first line, which has headings
    unless one of its cells is the name of an image. Empty lines and comments (#) do not count.

    Raises:
        DataError: it is not a table of text, or too large.
    """
    text, notes = decoded(data, name)
    lines = re.sub(r"\r\n?", "\n", text)
    kept = re.sub(r"\A(?:\s*\n|#.*\n)+", "", lines)
    first = kept.partition("\n")[0]
    delimiter = max("\t;,|", key=first.count)
    rows: list[list[str]] = []
    try:
        for row in csv.reader(io.StringIO(kept), delimiter=delimiter):
            if any(row):
                rows.append(row)
            if len(row) > MOST_COLUMNS or len(rows) > MOST_ROWS:
                raise DataError(
                    f"{name}: the table has more than {MOST_COLUMNS:,} columns or {MOST_ROWS:,} "
                    "rows",
                    remedy="keep only the columns with names and labels",
                )
    except csv.Error as error:
        raise DataError(f"{name}: not a table: {error}", remedy="save it as CSV again") from error
    if not rows:
        raise DataError(f"{name}: the table is empty")
    width = max(map(len, rows))
    headings = [str(number + 1) for number in range(width)]
    if not any(isinstance(names.find(path_in(cell)), int) for cell in rows[0] if cell.strip()):
        for place, cell in enumerate(rows.pop(0)):
            headings[place] = cell.strip() or headings[place]
    return Table(name, tuple(headings), rows, notes, name.rpartition("/")[0])


@dataclass(frozen=True)
class NameColumn:
    """The column of a table that names images.

    Attributes:
        place: of the column.
        left_out: the folder that begins all its names and that images are found without.
        matches: number of different images that its first rows name.
        rows: number of those rows.
    """

    place: int
    left_out: str
    matches: int
    rows: int


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
            matched = {
                index
                for path in paths
                if (index := names.find(path.removeprefix(left_out), table.folder, table.split))
                not in (None, AMBIGUOUS)
            }
            if matched:
                usual = simplified(heading) in NAME_HEADINGS
                label = simplified(heading) in LABEL_HEADINGS and labels is None
                column = NameColumn(place, left_out, len(matched), len(paths))
                # Rows may be numbered, and images too.
                is_number = all(path.isdecimal() for path in paths)
                is_sure = usual and 2 * len(matched) >= len(paths)
                rank = (is_sure, not is_number, len(matched), usual, not label, -place)
                found.append((rank, column))
    return max(found, key=lambda each: each[0])[1] if found else None


def rows_of_images(table: Table, column: NameColumn, names: ImageNames) -> list[int | None]:
    """For each row, the index of the image that it names; see `ImageNames.find`."""
    return [
        names.find(path_in(cell).removeprefix(column.left_out), table.folder, table.split)
        for cell in table.cells(column.place)
    ]


def label_column(table: Table, of_names: int) -> int:
    """The column with the labels: of a usual heading, or the only one that is left.

    Raises:
        UsageError: it is not clear.
    """
    others = [place for place in range(len(table.headings)) if place != of_names]
    simple = [simplified(heading) for heading in table.headings]
    usual = [place for wanted in LABEL_HEADINGS for place in others if simple[place] == wanted]
    left = [place for place in others if simple[place] not in SPLIT_HEADINGS]
    if (usual and simple.count(simple[usual[0]]) == 1) or len(left) == 1:
        return usual[0] if usual else left[0]
    named = [table.headings[place] for place in others]
    raise UsageError(
        f"{table.name}: it is not clear which column has the labels: {quoted(named)}",
        remedy=f"name it, for example with --labels {table.name}:{named[0] if named else 'COLUMN'}",
    )


def find_tables(
    tables: Mapping[str, bytes], names: ImageNames, images: int
) -> tuple[list[tuple[Table, NameColumn]], list[str]]:
    """The tables that name images, those with most first; and why others do not.

    A table has to have another column, and to name at least half of the images, or at least half of
    what it names have to be images.

    Args:
        tables: the contents of files by their names.
        names: finds the images.
        images: their number.
    """
    found, reasons = [], []
    for name, data in tables.items():
        try:
            table = read_table(data, name, names)
        except DataError as error:
            reasons.append(error.message)
            continue
        column = name_column(table, names)
        if column is None or len(table.headings) < 2:
            reasons.append(f"{name}: no column names images")
        elif 2 * column.matches < min(images, column.rows):
            reasons.append(f"{name}: it names only {counted(column.matches, 'image')}")
        else:
            found.append((table, column))
    return sorted(found, key=lambda each: -each[1].matches), reasons


def simplified(heading: str) -> str:
    """A heading without case, spaces, underscores and hyphens."""
    return re.sub(r"[\s_-]+", "", heading).casefold()
