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

from tenfold.errors import DataError
from tenfold.types import LabelArray, LabelledArrays, PixelArray

LARGEST_ARRAY = 16 * 2**30
"""Bytes of pixels that one split may have once decoded."""

LARGEST_DEFLATE_RATIO = 1032
"""How many times its size deflate, which gzip and npz use, can unpack to at the most."""

CHUNK = 2**20
FETCH_AGAIN = "fetch the file again"


def labelled(
    place: str, images: PixelArray, labels: LabelArray, classes: Sequence[str]
) -> LabelledArrays:
    """Images and labels together, if every label is in range."""
    wrong = np.flatnonzero((labels < 0) | (labels >= len(classes)))
    if len(wrong):
        raise DataError(
            f"{place}: label {labels[wrong[0]]} at index {wrong[0]:,} is out of range, "
            f"wanted 0..{len(classes) - 1} for {len(classes)} classes",
            remedy="correct the labels or name more classes",
        )
    return LabelledArrays(images, labels, tuple(classes))


def joined(batches: Sequence[LabelledArrays]) -> LabelledArrays:
    """Batches of the same classes, one after the other."""
    return LabelledArrays(
        np.concatenate([batch.images for batch in batches]),
        np.concatenate([batch.labels for batch in batches]),
        batches[0].classes,
    )


@contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """Failures of the file system and of decompression as errors that name the file."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(
            f"{path}: there is no such file", remedy="check the name or fetch the data"
        ) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{path}: the gzip data is damaged or cut off: {error}",
            remedy=FETCH_AGAIN,
        ) from error
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise DataError(f"{path}: it cannot be read: {reason}") from error


def read_whole(path: Path, limit: int) -> bytearray:
    """A file's bytes, as memory that can be written."""
    with file_errors(path), path.open("rb") as file:
        data = bytearray(min(path.stat().st_size, limit + 1))
        size = file.readinto(data)
    if size > limit:
        raise DataError(f"{path}: it has more than {limit:,} bytes")
    return data[:size] if size < len(data) else data


def fill(file: io.BufferedIOBase, array: NDArray[np.uint8]) -> int:
    """Read into an array as far as the file goes, and how many bytes that was."""
    filled = 0
    while filled < len(array):
        chunk = file.read(min(CHUNK, len(array) - filled))
        if not chunk:
            break
        array[filled : filled + len(chunk)] = np.frombuffer(chunk, np.uint8)
        filled += len(chunk)
    return filled


def described(value: object) -> str:
    """What a value is, for messages."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype} of shape {value.shape}"
    return "missing" if value is None else f"a {type(value).__name__}"
