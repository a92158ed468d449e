"""What the readers of files share: limits, errors that name the file, and careful reading."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import DataError, TenfoldError
from tenfold.storage.files import reason_of
from tenfold.types import LabeledArrays

LARGEST_ARRAY = 16 * 2**30
"""Bytes of pixels that one split may have once decoded."""

LARGEST_DEFLATE_RATIO = 1032
"""How many times its size deflate, which gzip and npz use, can unpack to at the most."""

CHUNK = 2**20
FETCH_AGAIN = "fetch the file again or make it anew"
_GZIP_MAGIC = b"\x1f\x8b"


def damaged(place: Path | str, what: str) -> DataError:
    """The error about a file that is not as whoever made it meant it to be."""
    return DataError(f"{place}: {what}", remedy=FETCH_AGAIN)


def unreadable(place: Path | str, error: OSError | ValueError) -> DataError:
    """The error about a file or folder that the system refuses to read."""
    return DataError(f"{place}: it cannot be read: {reason_of(error)}")


@contextmanager
def file_errors(path: Path, what: str = "file") -> Iterator[None]:
    """Failures of the file system and of decompression as errors that name the file."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(
            f"{path}: there is no such {what}", remedy="check the name or fetch the data"
        ) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise damaged(path, f"the gzip data is damaged or cut off: {error}") from error
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error


@contextmanager
def library_errors(what: str, *, remedy: str = FETCH_AGAIN) -> Iterator[None]:
    """Whatever a library raises becomes a DataError; tenfold's own errors pass.

    On bytes that were made up, readers of archives and images raise about any exception, so any is
    caught here.
    """
    try:
        yield
    except TenfoldError:
        raise
    except Exception as error:
        raise DataError(f"{what}: {str(error) or type(error).__name__}", remedy=remedy) from error


def require_matching(
    place: str, images: np.ndarray, labels: np.ndarray, classes: Sequence[str]
) -> None:
    """Refuse another number of labels than of images, and labels out of range."""
    if len(images) != len(labels):
        raise DataError(
            f"{place}: {len(images):,} images but {len(labels):,} labels",
            remedy="use images and labels that belong together",
        )
    wrong = np.flatnonzero((labels < 0) | (labels >= len(classes)))
    if len(wrong):
        raise DataError(
            f"{place}: label {labels[wrong[0]]} at index {wrong[0]:,} is out of range, "
            f"wanted 0..{len(classes) - 1} for {len(classes)} classes",
            remedy="correct the labels or name more classes",
        )


def labeled(
    place: str, images: np.ndarray, labels: np.ndarray, classes: Sequence[str]
) -> LabeledArrays:
    """Images and labels together, if they match."""
    require_matching(place, images, labels, classes)
    return LabeledArrays(images, labels, tuple(classes))


def joined(batches: Sequence[LabeledArrays]) -> LabeledArrays:
    """Batches of the same classes, one after the other."""
    images = np.concatenate([batch.images for batch in batches])
    labels = np.concatenate([batch.labels for batch in batches])
    return LabeledArrays(images, labels, batches[0].classes)


def read_whole(path: Path, limit: int) -> bytes:
    """A file's bytes, at most so many."""
    with file_errors(path), path.open("rb") as file:
        data = file.read(min(path.stat().st_size, limit + 1))
    if len(data) > limit:
        raise DataError(f"{path}: it has more than {limit:,} bytes")
    return data


def is_gzip(file: io.BufferedIOBase) -> bool:
    """Whether a file holds gzipped data; it is rewound."""
    file.seek(0)
    start = file.read(len(_GZIP_MAGIC))
    file.seek(0)
    return start == _GZIP_MAGIC


def fill(file: io.BufferedIOBase, array: NDArray[np.uint8]) -> int:
    """Read into an array as far as the file goes, and how many bytes that was."""
    filled = 0
    # In chunks: a decompressor first makes bytes of its own of all that it is asked for.
    while count := file.readinto(array.data[filled : filled + CHUNK]):
        filled += count
    return filled


def described(value: object) -> str:
    """What a value is, for messages."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype} of shape {value.shape}"
    return "missing" if value is None else f"a {type(value).__name__}"
