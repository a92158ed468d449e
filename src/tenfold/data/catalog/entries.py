"""What the catalog knows of a data set, as types."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tenfold.types import ImageShape

DATA_VARIABLE = "TENFOLD_DATA"
"""The environment variable that names a folder of data sets."""


@dataclass(frozen=True)
class CatalogFile:
    """One file of a data set.

    Attributes:
        name: of the decompressed file; on a disk or a mirror it may have `.gz` behind it.
        split: what its images or labels belong to.
        largest: bytes that its content has at the most.
        digest: of its content; None where none was published.
        gzip_digest: of the `.gz` file as its authors published it; only where `digest` is None.
    """

    name: str
    split: Literal["train", "test"]
    largest: int
    digest: str | None = None
    gzip_digest: str | None = None


@dataclass(frozen=True)
class Archive:
    """A gzipped tar file that holds all files of a set in one folder.

    Attributes:
        name: on a mirror.
        digest: of the archive as it is published.
    """

    name: str
    digest: str


@dataclass(frozen=True)
class FileSet:
    """All files of a data set in one of the formats that it is published in.

    Attributes:
        folder: below the folder of data sets, as torchvision names it.
        format: a key of `FORMATS`.
        files: in reading order; for `idx`, the images before the labels of each split.
        mirrors: addresses that a file's or the archive's name is appended to, in the order in
            which they are tried.
        archive: what the mirrors have; None where they have each file with `.gz` behind its name.
    """

    folder: str
    format: str
    files: tuple[CatalogFile, ...]
    mirrors: tuple[str, ...]
    archive: Archive | None = None


@dataclass(frozen=True)
class CatalogEntry:
    """A data set that has a name.

    Attributes:
        name: what a person types.
        title: what a report calls it.
        classes: in the order of their indices.
        image_shape: of every image.
        n_train: images of the training split; all of them where there is no test split.
        n_test: images of the test split; 0 where there is none.
        file_sets: any of them will do, the first is downloaded; none for a data set that ships
            beside the table, as an `.npz` file of its name.
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
    """Which files of the set this folder has, gzipped or not, by their names in the catalog."""
    found = {}
    for file in file_set.files:
        plain, gzipped = folder / file.name, folder / f"{file.name}.gz"
        # Plain content is read faster, but for some files only the gzipped one can be checked.
        candidates = (gzipped, plain) if file.digest is None else (plain, gzipped)
        there = [path for path in candidates if path.is_file()]
        if there:
            found[file.name] = there[0]
    return found
