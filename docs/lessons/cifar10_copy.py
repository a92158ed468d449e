"""CIFAR-10 from a copy as JPEG files, where there is only that.

    python docs/lessons/cifar10_copy.py train cifar10    # as `tenfold train cifar10`

If the folder that `TENFOLD_DATA` names has `cifar10-jpeg.tar.xz`, an archive of class folders,
CIFAR-10 is read from it. Its images are sorted by class; here they are shuffled, always alike,
because those of the original are in no order, either.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from pathlib import Path
from unittest.mock import patch

import numpy as np

from tenfold import cli
from tenfold.data import ImageDataset, load, load_splits
from tenfold.data.catalog import reading
from tenfold.data.catalog.entries import DATA_VARIABLE, CatalogEntry
from tenfold.listening import Listener
from tenfold.types import LabeledArrays

ARCHIVE = "cifar10-jpeg.tar.xz"


def copy_in_use() -> AbstractContextManager[object]:
    """Inside this, CIFAR-10 is read from its copy, if that is there."""
    return patch.object(load, "read_named", read_named)


def read_named(
    entry: CatalogEntry, *, data_root: Path | None, download: bool, listener: Listener
) -> dict[str, LabeledArrays]:
    """The splits of a known data set, in the place of the reader of its files."""
    archive = Path(os.environ.get(DATA_VARIABLE, ""), ARCHIVE)
    if entry.name != "cifar10" or not archive.is_file():
        return reading.read_named(
            entry, data_root=data_root, download=download, listener=listener
        )
    splits = load_splits(archive, look_at_pixels=False).splits
    return {part.split: _shuffled(part) for part in splits}


def _shuffled(part: ImageDataset) -> LabeledArrays:
    order = np.random.default_rng(0).permutation(len(part))
    return LabeledArrays(part.image_array[order], part.label_array[order], part.classes)


if __name__ == "__main__":
    with copy_in_use():
        cli.main()
