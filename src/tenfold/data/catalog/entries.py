"""Types of the catalog's entries."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tenfold.paths import is_file
from tenfold.types import ImageShape

DATA_VARIABLE = "TENFOLD_DATA"
"""The environment variable that names a folder of data sets."""


@dataclass(frozen=True)
class CatalogFile:
    """One file of a data set.

    Attributes:
        name: of the decompressed file; on disk or on a mirror, `.gz` may be appended.
        split: the split of its images or labels.
        largest: maximum size of its content in bytes.
        digest: of its content; None if none was published.
        gzip_digest: of the `.gz` file as its authors published it; only if `digest` is None.
    """

    name: str
    split: Literal["train", "test"]
    largest: int
    digest: str | None = None
    gzip_digest: str | None = None


@dataclass(frozen=True)
class Archive:
    """A gzipped tar file with all files of a set in one folder.

    Attributes:
        name: its name on a mirror.
        digest: of the archive as published.
    """

    name: str
    digest: str


@dataclass(frozen=True)
class FileSet:
    """All files of a data set in one of its published formats.

    Attributes:
        folder: below the folder of data sets, as torchvision names it.
        format: a key of `FORMATS`.
        files: in reading order; for `idx`, the images before the labels of each split.
        mirrors: base URLs, to which the name of a file or of the archive is appended; tried in
            order.
        archive: what the mirrors offer; None if they offer each file with `.gz` appended.
    """

    folder: str
    format: str
    files: tuple[CatalogFile, ...]
    mirrors: tuple[str, ...]
    archive: Archive | None = None


@dataclass(frozen=True)
class CatalogEntry:
    """A known data set.

    Attributes:
        name: what the user types.
        title: its name in reports.
        classes: class names, in index order.
        image_shape: the shape of every image.
        n_train: number of training images; all images if there is no test split.
        n_test: number of test images; 0 without a test split.
        file_sets: alternatives, of which the first is downloaded; empty for a data set that ships
            with tenfold, as an `.npz` file of its name next to the table.
        license: as its authors state it.
        citation: one line.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    image_shape: ImageShape
    n_train: int
    n_test: int
    file_sets: tuple[FileSet, ...]
    license: str
    citation: str


def files_in(folder: Path, file_set: FileSet) -> dict[str, Path]:
    """The files of the set that are in this folder, gzipped or not, by catalog name."""
    found = {}
    for file in file_set.files:
        plain, gzipped = folder / file.name, folder / f"{file.name}.gz"
        # Plain files are faster to read, but some can only be checked gzipped.
        candidates = (gzipped, plain) if file.digest is None else (plain, gzipped)
        there = [path for path in candidates if is_file(path)]
        if there:
            found[file.name] = there[0]
    return found
