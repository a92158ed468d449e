"""Load the whole JPEG copy of CIFAR-10: `pytest tests/soak/real_archive.py`.

The test suite loads only every hundredth image.
"""

from __future__ import annotations

from pathlib import Path

from tenfold.data import load_splits
from tenfold.data.catalog.table import DATASETS


def test_all_images_of_the_real_archive(real_data: Path) -> None:
    loaded = load_splits(real_data / "cifar10-jpeg.tar.xz")
    train, test = loaded.splits.train, loaded.splits.test
    assert test is not None
    assert train.images.shape == (50_000, 3, 32, 32)
    assert train.classes == DATASETS["cifar10"].classes
    assert train.class_counts().tolist() == [5_000] * 10
    assert test.class_counts().tolist() == [1_000] * 10
