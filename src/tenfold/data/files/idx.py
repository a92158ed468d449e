"""IDX files, as MNIST and its relatives come in, to arrays.

Every count and shape in a file is a claim, which is compared with the bytes that are there before
anything of that size is allocated.
"""

from __future__ import annotations

import gzip
import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tenfold.data.files.reading import (
    FETCH_AGAIN,
    LARGEST_ARRAY,
    LARGEST_DEFLATE_RATIO,
    file_errors,
    fill,
    labelled,
)
from tenfold.errors import DataError
from tenfold.types import LabelArray, LabelledArrays, PixelArray

_GZIP_MAGIC = b"\x1f\x8b"

_IDX_IMAGES, _IDX_LABELS = 0x803, 0x801
_IDX_NAMES = {_IDX_IMAGES: "an IDX file of images", _IDX_LABELS: "an IDX file of labels"}


def read_idx_images(path: Path) -> PixelArray:
    """The images of an IDX file, as MNIST has them, as (n, 1, height, width).

    Args:
        path: gzipped or not, which its content says and not its name.

    Raises:
        DataError: it is missing, no IDX file of images, damaged, cut off, too long or too large.
    """
    return _read_idx_array(path, _IDX_IMAGES)[:, None]


def read_idx_labels(path: Path) -> LabelArray:
    """The labels of an IDX file, as MNIST has them.

    Args:
        path: gzipped or not, which its content says and not its name.

    Raises:
        DataError: it is missing, no IDX file of labels, damaged, cut off, too long or too large.
    """
    return _read_idx_array(path, _IDX_LABELS).astype(np.int64)


def read_idx(paths: Sequence[Path], classes: Sequence[str]) -> LabelledArrays:
    """Images and labels of two IDX files that belong together.

    Args:
        paths: the images, then the labels.
        classes: the names of the classes.

    Raises:
        DataError: as the readers of each; the counts differ, or a label is out of range.
    """
    images_path, labels_path = paths
    images, labels = read_idx_images(images_path), read_idx_labels(labels_path)
    if len(images) != len(labels):
        raise DataError(
            f"{images_path} has {len(images):,} images but "
            f"{labels_path} has {len(labels):,} labels",
            remedy="name two files that belong together",
        )
    return labelled(str(labels_path), images, labels, classes)


def count_idx_classes(paths: Sequence[Path]) -> int:
    """As many classes as the labels, the second of two files, need, but at least ten."""
    return int(read_idx_labels(paths[1]).max(initial=9)) + 1


def _read_idx_array(path: Path, wanted: int) -> NDArray[np.uint8]:
    """The array of an IDX file of unsigned bytes with the wanted magic number."""
    with file_errors(path), path.open("rb") as file:
        is_gzipped = file.read(2) == _GZIP_MAGIC
        file.seek(0)
        largest = path.stat().st_size * (LARGEST_DEFLATE_RATIO if is_gzipped else 1)
        if not is_gzipped:
            return _read_idx_stream(path, file, wanted, largest)
        with gzip.GzipFile(fileobj=file) as unzipped:
            return _read_idx_stream(path, unzipped, wanted, largest)


def _read_idx_stream(
    path: Path, file: io.BufferedIOBase, wanted: int, largest: int
) -> NDArray[np.uint8]:
    """The array of an opened IDX file that has at most `largest` bytes."""
    axes = wanted & 0xFF
    header = file.read(4 + 4 * axes)
    _require_idx_magic(path, header, wanted)
    if len(header) < 4 + 4 * axes:
        raise DataError(
            f"{path}: it ends after {len(header)} bytes, inside its header",
            remedy=FETCH_AGAIN,
        )
    shape = [int(n) for n in np.frombuffer(header, ">u4", offset=4)]
    size = math.prod(shape)
    declared = f"its header declares {' x '.join(f'{n:,}' for n in shape)} bytes"
    if size == 0:
        raise DataError(f"{path}: {declared}, so there is nothing in it")
    if size > LARGEST_ARRAY:
        raise DataError(f"{path}: {declared}, over the limit of {LARGEST_ARRAY:,}")
    if size > largest:
        raise DataError(
            f"{path}: {declared}, more than the file can hold; it is cut off",
            remedy=FETCH_AGAIN,
        )
    array = np.empty(size, np.uint8)
    filled = fill(file, array)
    if filled < size:
        raise DataError(
            f"{path}: {declared}, but only {filled:,} are there; it is cut off",
            remedy=FETCH_AGAIN,
        )
    if file.read(1):
        raise DataError(f"{path}: {declared}, but more follow them", remedy=FETCH_AGAIN)
    return array.reshape(shape)


def _require_idx_magic(path: Path, header: bytes, wanted: int) -> None:
    found = int.from_bytes(header[:4], "big")
    if len(header) >= 4 and found == wanted:
        return
    if len(header) >= 4 and found in _IDX_NAMES:
        raise DataError(
            f"{path}: this is {_IDX_NAMES[found]}, wanted {_IDX_NAMES[wanted]}",
            remedy="swap the two files",
        )
    start = header[:4].hex(" ") or "nothing"
    raise DataError(
        f"{path}: it begins with {start}, wanted {wanted.to_bytes(4, 'big').hex(' ')}, "
        f"as {_IDX_NAMES[wanted]} does",
        remedy=FETCH_AGAIN,
    )
