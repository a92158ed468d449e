"""Reader for the batches of CIFAR-10 and CIFAR-100, binary and Python version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from tenfold.data.files.pickles import read_pickled_dict
from tenfold.data.files.reading import (
    LARGEST_ARRAY,
    damaged,
    described,
    joined,
    labeled,
    read_whole,
)
from tenfold.errors import DataError, counted, listing
from tenfold.types import LabelArray, LabeledArrays, PixelArray

_CIFAR_PIXELS = 3 * 32 * 32


def read_cifar_binary(
    paths: Sequence[Path], classes: Sequence[str], *, label_bytes: Literal[1, 2]
) -> LabeledArrays:
    """The batches of CIFAR's binary version, concatenated, as (n, 3, 32, 32).

    Args:
        paths: the batches.
        classes: class names.
        label_bytes: 1 for CIFAR-10; 2 for CIFAR-100, whose second, fine label is used.

    Raises:
        DataError: a file is missing or has a partial record, or a label is out of range.
    """
    record = label_bytes + _CIFAR_PIXELS
    batches = []
    for path in paths:
        data = read_whole(path, LARGEST_ARRAY // len(paths))
        if not data or len(data) % record:
            raise damaged(
                path,
                f"it has {counted(len(data), 'byte')}, not whole records of {record:,} bytes "
                f"({label_bytes} of labels, {_CIFAR_PIXELS:,} of pixels)",
            )
        records = np.frombuffer(data, np.uint8).reshape(-1, record)
        images = records[:, label_bytes:].reshape(-1, 3, 32, 32)
        labels = records[:, label_bytes - 1].astype(np.int64)
        batches.append(labeled(str(path), images, labels, classes))
    return joined(batches)


def read_cifar_python(
    paths: Sequence[Path], classes: Sequence[str], *, label_key: str
) -> LabeledArrays:
    """The batches of CIFAR's Python version, concatenated, as (n, 3, 32, 32).

    A batch is a pickled dict. The pickle is not executed: globals other than the parts of a NumPy
    array are refused.

    Args:
        paths: the batches.
        classes: class names.
        label_key: `labels` for CIFAR-10, `fine_labels` for CIFAR-100.

    Raises:
        DataError: a file is missing, damaged or not a CIFAR batch, or a label is out of range.
    """
    batches = []
    for path in paths:
        batch = read_pickled_dict(path)
        images = _cifar_images(path, batch.get("data"))
        labels = _cifar_labels(path, batch, label_key)
        batches.append(labeled(str(path), images, labels, classes))
    return joined(batches)


def _cifar_images(path: Path, data: object) -> PixelArray:
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2:
        raise DataError(
            f"{path}: its 'data' is {described(data)}, wanted uint8 of shape (n, {_CIFAR_PIXELS})"
        )
    if len(data) == 0 or data.shape[1] != _CIFAR_PIXELS:
        raise DataError(f"{path}: its 'data' has shape {data.shape}, wanted (n, {_CIFAR_PIXELS})")
    return data.reshape(-1, 3, 32, 32)


def _cifar_labels(path: Path, batch: Mapping[str, object], key: str) -> LabelArray:
    labels = batch.get(key)
    if labels is None:
        raise DataError(
            f"{path}: it has no {key!r}, only {listing(list(batch))}",
            remedy="CIFAR-10 has 'labels', CIFAR-100 'fine_labels' and 'coarse_labels'",
        )
    if isinstance(labels, np.ndarray) and labels.ndim == 1:
        labels = labels.tolist()
    if not isinstance(labels, list) or any(type(label) is not int for label in labels):
        raise DataError(f"{path}: its {key!r} is not a list of whole numbers")
    if any(not -(2**31) <= label < 2**31 for label in labels):
        raise DataError(f"{path}: its {key!r} has numbers far out of range")
    return np.array(labels, np.int64)
