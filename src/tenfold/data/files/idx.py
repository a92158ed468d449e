"""Reader for IDX files, the format of MNIST and its relatives.

Every count and shape in a file is compared with the file's actual size before any memory of that
size is allocated.
"""

from __future__ import annotations

import gzip
import io
import math
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tenfold.data.files.reading import (
    LARGEST_ARRAY,
    LARGEST_DEFLATE_RATIO,
    damaged,
    file_errors,
    fill,
    is_gzip,
    labeled,
    unzipped,
)
from tenfold.errors import DataError, counted
from tenfold.storage import open_regular
from tenfold.types import LabelArray, LabeledArrays, PixelArray

# The magic number ends in the number of axes.
_IDX_IMAGES, _IDX_LABELS = b"\0\0\x08\x03", b"\0\0\x08\x01"
_IDX_NAMES = {_IDX_IMAGES: "an IDX file of images", _IDX_LABELS: "an IDX file of labels"}


def read_idx_images(path: Path) -> PixelArray:
    """The images of an IDX file, as (n, 1, height, width).

    Args:
        path: gzipped or not, detected from its content.

    Raises:
        DataError: it is missing, not an IDX file of images, damaged, truncated, too long or too
            large.
    """
    return _read_idx_array(path, _IDX_IMAGES)[:, None]


def read_idx_labels(path: Path) -> LabelArray:
    """The labels of an IDX file.

    Args:
        path: gzipped or not, detected from its content.

    Raises:
        DataError: it is missing, not an IDX file of labels, damaged, truncated, too long or too
            large.
    """
    return _read_idx_array(path, _IDX_LABELS).astype(np.int64)


def read_idx(paths: Sequence[Path], classes: Sequence[str]) -> LabeledArrays:
    """Images and labels from a pair of IDX files.

    Args:
        paths: the images, then the labels.
        classes: class names.

    Raises:
        DataError: a file cannot be read, the counts differ, or a label is out of range.
    """
    images_path, labels_path = paths
    images, labels = read_idx_images(images_path), read_idx_labels(labels_path)
    return labeled(f"{images_path} with {labels_path.name}", images, labels, classes)


def count_idx_classes(paths: Sequence[Path]) -> int:
    """The number of classes in the labels, the second of two files; at least ten."""
    return int(read_idx_labels(paths[1]).max(initial=9)) + 1


def idx_kind(path: Path) -> str | None:
    """`an IDX file of images` or `an IDX file of labels`, by the first bytes; None for others.

    Args:
        path: a regular file, gzipped or not.
    """
    try:
        with open_regular(path) as file:
            if not is_gzip(file):
                return _IDX_NAMES.get(file.read(4))
            with gzip.GzipFile(fileobj=file) as content:
                return _IDX_NAMES.get(content.read(4))
    except (OSError, EOFError, zlib.error):
        return None


def _read_idx_array(path: Path, wanted: bytes) -> NDArray[np.uint8]:
    """The array of an IDX file of unsigned bytes with the wanted magic number."""
    with file_errors(path), open_regular(path) as file:
        largest = path.stat().st_size
        if not is_gzip(file):
            return _read_idx_stream(path, file, wanted, largest)
        return _read_idx_stream(path, unzipped(file), wanted, largest * LARGEST_DEFLATE_RATIO)


def _read_idx_stream(
    path: Path, file: io.BufferedIOBase, wanted: bytes, largest: int
) -> NDArray[np.uint8]:
    """The array of an open IDX file of at most `largest` bytes."""
    header_size = 4 + 4 * wanted[-1]
    header = file.read(header_size)
    _require_idx_magic(path, header[:4], wanted)
    if len(header) < header_size:
        raise damaged(path, f"it ends after {counted(len(header), 'byte')}, inside its header")
    shape = [int(n) for n in np.frombuffer(header, ">u4", offset=4)]
    size = math.prod(shape)
    declared = f"its header declares {' x '.join(f'{n:,}' for n in shape)} bytes"
    if size == 0:
        raise DataError(f"{path}: {declared}, so it is empty")
    if size > LARGEST_ARRAY:
        raise DataError(f"{path}: {declared}, over the limit of {LARGEST_ARRAY:,}")
    if size > largest:
        raise damaged(path, f"{declared}, more than the file can hold; it is truncated")
    array = np.empty(size, np.uint8)
    filled = fill(file, array)
    if filled < size:
        raise damaged(path, f"{declared}, but it has only {filled:,}; it is truncated")
    if file.read(1):
        raise damaged(path, f"{declared}, but it has more")
    return array.reshape(shape)


def _require_idx_magic(path: Path, found: bytes, wanted: bytes) -> None:
    if found == wanted:
        return
    if found in _IDX_NAMES:
        raise DataError(
            f"{path}: this is {_IDX_NAMES[found]}, wanted {_IDX_NAMES[wanted]}",
            remedy="swap the two files",
        )
    start = found.hex(" ") or "nothing"
    raise damaged(
        path, f"it begins with {start}, wanted {wanted.hex(' ')} as in {_IDX_NAMES[wanted]}"
    )
