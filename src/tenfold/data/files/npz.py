"""Reader for `.npz` files of images and labels."""

from __future__ import annotations

import io
import math
import re
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from tenfold.data.files.reading import (
    CHUNK,
    LARGEST_ARRAY,
    LARGEST_DEFLATE_RATIO,
    damaged,
    described,
    file_errors,
    fill,
    labeled,
    library_errors,
    require_known_method,
)
from tenfold.errors import DataError, counted, listing, nearest, quoted
from tenfold.storage import open_regular
from tenfold.storage.zips import opened_zip
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
_SPLIT_WORDS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
_KIND_WORDS = {
    **dict.fromkeys(("images", "image", "imgs", "img", "data", "pixels", "x"), "images"),
    **dict.fromkeys(("labels", "label", "targets", "target", "y"), "labels"),
    **dict.fromkeys(("classes", "names"), "classes"),
}
"""Words in the keys that others use, with those in ours."""

_HOW_TO_SAVE = {
    "images": "save whole numbers 0..255",
    "labels": "number the classes from 0, and save their names as 'classes'",
    "classes": "save the names as text: numpy.array(names, dtype='U')",
}

_LARGEST_NPY_HEADER = 10_000
_MOST_UNNAMED_CLASSES = 10_000
_MOST_MEANT = 20
"""Unknown arrays for which known ones are looked up; a zip file of images has thousands."""


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
    with file_errors(path):
        with open_regular(path) as file:
            start = file.read(4)
        if start not in (b"PK\x03\x04", b"PK\x05\x06"):
            raise _wrong_arrays(path, "not an .npz file")
        arrays = _npz_arrays(path)
    names = arrays.pop("classes", None)
    pairs = _npz_pairs(path, arrays)
    highest = max(int(labels.max(initial=-1)) for _, labels in pairs.values())
    classes = _numbered(path, highest) if names is None else _named(path, names)
    return {
        split: labeled(f"{path} ({split})", images, labels, classes)
        for split, (images, labels) in pairs.items()
    }


def _npz_arrays(path: Path) -> dict[str, NDArray[np.generic]]:
    """All arrays of the file by key, with their sizes checked first."""
    with (
        library_errors(f"{path}: the .npz file is damaged or truncated"),
        opened_zip(path) as archive,
    ):
        entries = archive.infolist()
        keys = [entry.filename.removesuffix(".npy") for entry in entries]
        if not keys:
            raise _wrong_arrays(path, "it has no arrays")
        _require_known(path, keys)
        if len(set(keys)) < len(keys):
            raise _wrong_arrays(path, "several arrays have the same name")
        total = sum(entry.file_size for entry in entries)
        if total > LARGEST_ARRAY:
            raise DataError(
                f"{path}: its arrays have {total:,} bytes, over the limit of {LARGEST_ARRAY:,}"
            )
        arrays = [_npy_array(path, archive, entry) for entry in entries]
        return dict(zip(keys, arrays, strict=True))


def _require_known(path: Path, keys: Sequence[str]) -> None:
    unknown = [key for key in keys if key not in _NPZ_KEYS]
    if not unknown:
        return
    arrays = "unknown array" if len(unknown) == 1 else "unknown arrays"
    error = _wrong_arrays(path, f"{arrays}: {quoted(unknown)}")
    meant = [_meant_by(key) for key in unknown[: _MOST_MEANT + 1]]
    if (
        len(unknown) <= _MOST_MEANT
        and all(meant)
        and len({*meant, *keys}) == len(meant) + len(keys)
    ):
        raise DataError(error.message, remedy=f"did you mean {' and '.join(map(repr, meant))}?")
    raise error


def _meant_by(key: str) -> str:
    """The known key that an unknown one comes closest to; empty if none does."""
    lower = key.lower()
    words = re.findall(r"[a-z]+", lower)
    splits = [_SPLIT_WORDS[word] for word in words if word in _SPLIT_WORDS]
    kinds = [_KIND_WORDS[word] for word in words if word in _KIND_WORDS]
    combined = "_".join([*splits, *kinds])
    if lower not in _NPZ_KEYS and combined in _NPZ_KEYS and len(splits) + len(kinds) == len(words):
        return combined
    if not splits and kinds:
        return kinds[0]
    return "" if splits and not kinds else nearest(lower, _NPZ_KEYS)


def _kind_of(entry: zipfile.ZipInfo) -> str:
    """`images`, `labels` or `classes`: what an array with a known key is."""
    key = entry.filename.removesuffix(".npy")
    return key if key == "classes" else "images" if key in _NPZ_SPLITS else "labels"


def _npy_array(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> NDArray[np.generic]:
    """One array, if its header matches its size in the archive."""
    place = f"{path}: {entry.filename}"
    require_known_method(place, entry, "save the file with numpy.savez_compressed")
    if entry.file_size > entry.compress_size * LARGEST_DEFLATE_RATIO + CHUNK:
        raise damaged(
            place, f"{counted(entry.compress_size, 'byte')} cannot unpack to {entry.file_size:,}"
        )
    with cast("io.BufferedIOBase", archive.open(entry)) as file:
        shape, by_columns, dtype = _npy_header(place, file, entry)
        array = np.empty(math.prod(shape), dtype)
        filled = fill(file, array.view(np.uint8))
        if filled < array.nbytes:
            declared = counted(array.nbytes, "byte")
            raise damaged(place, f"its header declares {declared}, but it has only {filled:,}")
    return array.reshape(shape, order="F" if by_columns else "C")


def _npy_header(
    place: str, file: io.BufferedIOBase, entry: zipfile.ZipInfo
) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    """Shape, whether its columns are contiguous, and dtype, if they match the size in the archive.

    Raises:
        DataError: the header has the wrong dtype or size.
    """
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    version = np.lib.format.read_magic(file)
    if version not in readers:
        raise DataError(f"{place}: its format is version {version}, wanted 1.0 or 2.0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy warns that Python 2 wrote the header
        shape, by_columns, dtype = readers[version](file, max_header_size=_LARGEST_NPY_HEADER)
    there = entry.file_size - file.tell()
    if any(side < 0 for side in shape):
        raise DataError(f"{place}: its header declares the shape {shape}")
    # With an item size of 0, an array of any shape fits into 0 bytes.
    if dtype.itemsize == 0 or dtype.kind not in "biufU":
        raise DataError(f"{place}: its dtype is {dtype}", remedy=_HOW_TO_SAVE[_kind_of(entry)])
    size = math.prod(shape) * dtype.itemsize
    if size != there:
        raise damaged(place, f"its header declares {counted(size, 'byte')}, but it has {there:,}")
    return shape, by_columns, dtype


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
    if images.dtype.kind not in "biuf":
        raise DataError(f"{place}: the pixels are text, wanted whole numbers 0..255")
    if images.dtype != np.uint8:
        _require_pixels(place, images)
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


def _require_pixels(place: str, images: NDArray[np.generic]) -> None:
    """Refuse all but whole numbers 0..255."""
    if images.dtype == np.bool_:
        raise DataError(
            f"{place}: the pixels are bool, wanted whole numbers 0..255",
            remedy="save 255 * images.astype('uint8')",
        )
    lowest, highest = float(images.min()), float(images.max())
    if images.dtype.kind in "iu" and lowest >= 0 and highest <= 255:
        return
    if not np.isfinite(highest - lowest):
        remedy = "save pixels without infinite and undefined values"
    elif lowest == highest and not 0 <= lowest <= 255:
        remedy = "save the pixels as they were before they were changed"
    elif lowest < 0 or highest > 255:
        remedy = (
            "save the pixels as they were before they were changed, or scale these: "
            f"numpy.interp(images, [{lowest:g}, {highest:g}], [0, 255]).round().astype('uint8')"
        )
    elif highest > 1:
        remedy = "save images.round().astype('uint8')"
    else:
        remedy = "save (255 * images).round().astype('uint8')"
    raise DataError(
        f"{place}: the pixels are {images.dtype} from {lowest:g} to {highest:g}, "
        "wanted whole numbers 0..255",
        remedy=remedy,
    )


def _npz_labels(place: str, labels: NDArray[np.generic]) -> LabelArray:
    is_column = labels.ndim == 2 and labels.shape[1] == 1
    if labels.dtype.kind not in "iu" or not (labels.ndim == 1 or is_column):
        raise DataError(
            f"{place}: the labels are {described(labels)}, wanted whole numbers of shape (n,)",
            remedy="save labels.argmax(axis=1) if each row has a 1 for its class"
            if labels.ndim == 2 and not is_column
            else _HOW_TO_SAVE["labels"],
        )
    if labels.size and int(labels.max()) > np.iinfo(np.int64).max:
        raise DataError(f"{place}: label {int(labels.max()):,} is out of range")
    return labels.reshape(-1).astype(np.int64)
