"""What the catalog knows of a data set, as types."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tenfold.types import ImageShape

FileFormat = Literal[
    "idx", "cifar10-python", "cifar10-binary", "cifar100-python", "cifar100-binary"
]

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
    """A gzipped tar file that holds all files of a layout in one folder.

    Attributes:
        name: on a mirror.
        digest: of the archive as it is published.
    """

    name: str
    digest: str


@dataclass(frozen=True)
class Layout:
    """One way in which a data set's files lie on a disk.

    Attributes:
        folder: below the folder of data sets, as torchvision names it.
        format: what reads the files.
        files: in reading order; for `idx`, the images before the labels of each split.
        mirrors: addresses that a file's or the archive's name is appended to, in the order in
            which they are tried.
        archive: what the mirrors have; None where they have each file with `.gz` behind its name.
    """

    folder: str
    format: FileFormat
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
        layouts: how its files may lie on a disk, the one that is downloaded first; none for a
            data set that comes with a dependency.
        licence: as its authors state it.
        citation: one line.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    image_shape: ImageShape
    n_train: int
    n_test: int
    layouts: tuple[Layout, ...]
    licence: str
    citation: str


def files_in(folder: Path, layout: Layout) -> dict[str, Path]:
    """Which of a layout's files this folder has, gzipped or not, by their catalogue names."""
    found = {}
    for file in layout.files:
        plain, gzipped = folder / file.name, folder / f"{file.name}.gz"
        # Plain content is read faster, but for some files only the gzipped one can be checked.
        candidates = (gzipped, plain) if file.digest is None else (plain, gzipped)
        for path in candidates:
            if path.is_file():
                found[file.name] = path
                break
    return found
