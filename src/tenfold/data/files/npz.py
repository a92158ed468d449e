"""Reader for `.npz` files of images and labels."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tenfold.data.files.reading import (
    CHUNK,
    LARGEST_ARRAY,
    LARGEST_DEFLATE_RATIO,
    damaged,
    described,
    file_errors,
    labeled,
    library_errors,
)
from tenfold.errors import DataError, counted, listing
from tenfold.types import LabelArray, LabeledArrays, PixelArray

_NPZ_SPLITS = {
    "images": ("all", "labels"),
    "train_images": ("train", "train_labels"),
    "val_images": ("val", "val_labels"),
    "test_images": ("test", "test_labels"),
    "x_train": ("train", "y_train"),
    "x_val": ("val", "y_val"),
    "x_test": ("test", "y_test"),
}
"""For each key of images: the split, and the key of its labels."""

_NPZ_KEYS = frozenset(_NPZ_SPLITS) | {labels for _, labels in _NPZ_SPLITS.values()} | {"classes"}
_LARGEST_NPY_HEADER = 10_000
_MOST_UNNAMED_CLASSES = 10_000


def read_npz(path: Path) -> dict[str, LabeledArrays]:
    """The splits of an `.npz` file: `train`, `val`, `test`, or `all`.

    The keys are `images` and `labels`; or per split, `train_images` and `train_labels` or
    `x_train` and `y_train`, and likewise for val and test; and optionally `classes`, an array of
    strings. Without it, the class names are "0" up to the largest label. Any other key is refused.

    Images are whole numbers 0..255 of shape (n, height, width), (n, height, width, channels) or
    (n, channels, height, width) with 1 or 3 channels. If both of the latter fit, the channels are
    last. Labels are whole numbers of shape (n,) or (n, 1).

    Raises:
        DataError: it is missing, damaged, too large, or has any other content.
    """
    with file_errors(path), path.open("rb") as file:
        if file.read(4) not in (b"PK\x03\x04", b"PK\x05\x06"):
            raise _wrong_arrays(path, "not an .npz file")
        arrays = _npz_arrays(path, file)
    names = arrays.pop("classes", None)
    pairs = _npz_pairs(path, arrays)
    highest = max(int(labels.max(initial=-1)) for _, labels in pairs.values())
    classes = _numbered(path, highest) if names is None else _named(path, names)
    return {
        split: labeled(f"{path} ({split})", images, labels, classes)
        for split, (images, labels) in pairs.items()
    }


def _npz_arrays(path: Path, file: io.BufferedIOBase) -> dict[str, NDArray[np.generic]]:
    """All arrays of the file by key, with their sizes checked first."""
    with (
        library_errors(f"{path}: the .npz file is damaged or truncated"),
        zipfile.ZipFile(file) as archive,
    ):
        entries = archive.infolist()
        keys = [entry.filename.removesuffix(".npy") for entry in entries]
        unknown = [key for key in keys if key not in _NPZ_KEYS]
        if not keys:
            raise _wrong_arrays(path, "it has no arrays")
        if unknown:
            raise _wrong_arrays(path, f"unknown arrays: {listing(unknown)}")
        if len(set(keys)) < len(keys):
            raise _wrong_arrays(path, "several arrays have the same name")
        total = sum(entry.file_size for entry in entries)
        if total > LARGEST_ARRAY:
            raise DataError(
                f"{path}: its arrays have {total:,} bytes, over the limit of {LARGEST_ARRAY:,}"
            )
        arrays = [_npy_array(path, archive, entry) for entry in entries]
        return dict(zip(keys, arrays, strict=True))


def _npy_array(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> NDArray[np.generic]:
    """One array, if its header matches its size in the archive."""
    place = f"{path}: {entry.filename}"
    if entry.file_size > entry.compress_size * LARGEST_DEFLATE_RATIO + CHUNK:
        raise damaged(
            place, f"{counted(entry.compress_size, 'byte')} cannot unpack to {entry.file_size:,}"
        )
    _require_true_header(place, archive, entry)
    with archive.open(entry) as file:
        return np.lib.format.read_array(file, max_header_size=_LARGEST_NPY_HEADER)


def _require_true_header(place: str, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    """Refuse an array whose header has the wrong dtype or size, before allocating memory for it."""
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    with archive.open(entry) as file:
        version = np.lib.format.read_magic(file)
        if version not in readers:
            raise DataError(f"{place}: its format is version {version}, wanted 1.0 or 2.0")
        shape, _, dtype = readers[version](file, max_header_size=_LARGEST_NPY_HEADER)
        there = entry.file_size - file.tell()
    if any(side < 0 for side in shape):
        raise DataError(f"{place}: its header declares the shape {shape}")
    # With an item size of 0, an array of any shape fits into 0 bytes.
    if dtype.itemsize == 0 or dtype.kind not in "biufU":
        raise DataError(f"{place}: its dtype is {dtype}", remedy="save whole numbers 0..255")
    size = math.prod(shape) * dtype.itemsize
    if size != there:
        raise damaged(place, f"its header declares {counted(size, 'byte')}, but it has {there:,}")


def _numbered(path: Path, highest: int) -> tuple[str, ...]:
    if highest >= _MOST_UNNAMED_CLASSES:
        raise DataError(
            f"{path}: the largest label is {highest:,}, "
            f"wanted less than {_MOST_UNNAMED_CLASSES:,} without names",
            remedy="number the classes from 0, or save their names as 'classes'",
        )
    return tuple(str(label) for label in range(highest + 1))


def _named(path: Path, names: NDArray[np.generic]) -> tuple[str, ...]:
    if names.dtype.kind != "U" or names.ndim != 1 or names.size == 0:
        raise DataError(f"{path}: its 'classes' are {described(names)}, wanted text of shape (n,)")
    with library_errors(f"{path}: its 'classes' are not text"):
        return tuple(str(name) for name in names)


def _npz_pairs(
    path: Path, arrays: Mapping[str, NDArray[np.generic]]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Images and labels by split; their counts are not compared yet."""
    pairs: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for images_key, (split, labels_key) in _NPZ_SPLITS.items():
        if images_key not in arrays and labels_key not in arrays:
            continue
        absent = [key for key in (images_key, labels_key) if key not in arrays]
        if absent:
            raise _wrong_arrays(path, f"there is no {absent[0]!r}")
        if split in pairs or (pairs and "all" in (split, *pairs)):
            raise _wrong_arrays(
                path, f"{images_key!r} is not possible together with {listing(list(pairs))}"
            )
        images = _npz_images(f"{path}: {images_key}", arrays[images_key])
        labels = _npz_labels(f"{path}: {labels_key}", arrays[labels_key])
        pairs[split] = images, labels
    if not pairs:
        raise _wrong_arrays(path, "it has no images")
    return pairs


def _wrong_arrays(path: Path, what: str) -> DataError:
    return DataError(
        f"{path}: {what}",
        remedy="save images and labels, or per split: train_images and train_labels, "
        "or x_train and y_train, and likewise for val and test",
    )


def _npz_images(place: str, images: NDArray[np.generic]) -> PixelArray:
    """Any accepted shape and dtype as uint8 of (n, channels, height, width)."""
    if images.size == 0:
        raise DataError(f"{place}: there are no pixels, its shape is {images.shape}")
    if images.dtype.kind not in "iu":
        raise DataError(
            f"{place}: the pixels are {images.dtype}, wanted whole numbers 0..255",
            remedy="save (255 * images).round().astype('uint8') if they are 0..1",
        )
    if images.dtype != np.uint8:
        lowest, highest = int(images.min()), int(images.max())
        if lowest < 0 or highest > 255:
            raise DataError(f"{place}: the pixels are {lowest}..{highest}, wanted 0..255")
    if images.ndim == 3:
        images = images[:, None]
    elif images.ndim == 4 and images.shape[3] in (1, 3):
        images = images.transpose(0, 3, 1, 2)
    elif images.ndim != 4 or images.shape[1] not in (1, 3):
        raise DataError(
            f"{place}: the shape is {images.shape}, wanted (n, height, width), "
            "(n, height, width, 1 or 3) or (n, 1 or 3, height, width)"
        )
    return np.ascontiguousarray(images, dtype=np.uint8)


def _npz_labels(place: str, labels: NDArray[np.generic]) -> LabelArray:
    is_column = labels.ndim == 2 and labels.shape[1] == 1
    if labels.dtype.kind not in "iu" or not (labels.ndim == 1 or is_column):
        raise DataError(
            f"{place}: the labels are {described(labels)}, wanted whole numbers of shape (n,)"
        )
    if labels.size and int(labels.max()) > np.iinfo(np.int64).max:
        raise DataError(f"{place}: label {int(labels.max()):,} is out of range")
    return labels.reshape(-1).astype(np.int64)
