"""Bytes of the known data sets' files to arrays: IDX, CIFAR, npz."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from tenfold.types import LabelArray, LabelledArrays, PixelArray

LARGEST_ARRAY = 16 * 2**30
"""Bytes of pixels that one split may have once decoded."""


def read_idx_images(path: Path) -> PixelArray:
    """The images of an IDX file, gzipped or not, as (n, 1, height, width)."""
    raise NotImplementedError


def read_idx_labels(path: Path) -> LabelArray:
    """The labels of an IDX file, gzipped or not."""
    raise NotImplementedError


def read_idx_pair(images_path: Path, labels_path: Path, classes: Sequence[str]) -> LabelledArrays:
    """Images and labels of two IDX files that belong together."""
    raise NotImplementedError


def read_cifar_binary(
    paths: Sequence[Path], classes: Sequence[str], *, label_bytes: Literal[1, 2] = 1
) -> LabelledArrays:
    """The batches of CIFAR's binary version, one after the other."""
    raise NotImplementedError


def read_cifar_python(
    paths: Sequence[Path], classes: Sequence[str], *, label_key: str = "labels"
) -> LabelledArrays:
    """The batches of CIFAR's python version, one after the other."""
    raise NotImplementedError


def read_npz(path: Path) -> dict[str, LabelledArrays]:
    """The splits of an `.npz` file: `train`, `val`, `test`, or `all`."""
    raise NotImplementedError
