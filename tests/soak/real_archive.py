"""Load the whole JPEG copy of CIFAR-10: `pytest tests/soak/real_archive.py`.

The test suite loads only every hundredth image.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tenfold.data import load_splits
from tenfold.data.catalog.table import DATASETS


@pytest.fixture
def archive() -> Path:
    """Unlike the test suite, which skips tests without their data, this is asked for by name."""
    folder = os.environ.get("TENFOLD_DATA", "")
    path = Path(folder, "cifar10-jpeg.tar.xz")
    if not folder or not path.is_file():
        pytest.fail(f"set TENFOLD_DATA to the folder that contains {path.name}", pytrace=False)
    return path


def test_all_images_of_the_real_archive(archive: Path) -> None:
    loaded = load_splits(archive)
    train, test = loaded.splits.train, loaded.splits.test
    assert test is not None
    assert train.images.shape == (50_000, 3, 32, 32)
    assert train.classes == DATASETS["cifar10"].classes
    assert train.class_counts().tolist() == [5_000] * 10
    assert test.class_counts().tolist() == [1_000] * 10
    for split in (train, test):
        assert split.names is not None
        found = [(split.split, split.classes[label]) for label in split.labels.tolist()]
        assert found == [tuple(name.split("/")[-3:-1]) for name in split.names]
