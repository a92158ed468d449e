"""Known data sets as arrays, by name and from any folder with their files."""

from __future__ import annotations

import gzip
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from mirrors import Told, put
from tenfold.data.catalog.reading import read_known_folder, read_named
from tenfold.data.catalog.table import DATASETS
from tenfold.errors import DataError, UsageError
from tenfold.listening import Listener
from tenfold.types import LabeledArrays
from written_files import idx, rng

IMAGES = rng().integers(0, 256, (3, 1, 4, 5), np.uint8)
LABELS = np.array([0, 12, 3], np.uint8)
TRAIN = {
    "train-images-idx3-ubyte": idx(IMAGES[:, 0]),
    "train-labels-idx1-ubyte.gz": gzip.compress(idx(LABELS)),
}
TEST = {
    "t10k-images-idx3-ubyte": idx(IMAGES[:2, 0]),
    "t10k-labels-idx1-ubyte": idx(LABELS[:2]),
}


def read_digits() -> dict[str, LabeledArrays]:
    return read_named(DATASETS["digits"], data_root=None, download=False, listener=Listener())


def test_digits_are_scikit_learns() -> None:
    digits = load_digits()
    (arrays,) = read_digits().values()
    # Sixteenths to bytes: https://archive.ics.uci.edu has whole numbers 0..16.
    assert np.array_equal(arrays.images[:, 0], np.rint(digits.images * 255 / 16))
    assert np.array_equal(arrays.labels, digits.target)
    assert arrays.classes == DATASETS["digits"].classes
    assert len(arrays.images) == DATASETS["digits"].n_train
    assert arrays.images.shape[1:] == DATASETS["digits"].image_shape


PLAIN_PROCESS = """
import random, sys
import numpy as np
from tenfold.data.catalog.reading import read_named
from tenfold.data.catalog.table import DATASETS
from tenfold.listening import Listener

sys.modules["sklearn"] = None  # as if it were not installed
before = random.getstate(), str(np.random.get_state())
arrays = read_named(DATASETS["digits"], data_root=None, download=False, listener=Listener())
assert list(arrays) == ["all"]
assert (random.getstate(), str(np.random.get_state())) == before
"""


def test_digits_need_no_scikit_learn_and_no_random_numbers() -> None:
    # In a separate process, because the type checks here draw from Python's generator.
    subprocess.run([sys.executable, "-c", PLAIN_PROCESS], check=True)


def test_files_of_another_data_set_are_refused(real_data: Path) -> None:
    mnist = DATASETS["mnist"]
    arrays = read_named(mnist, data_root=real_data, download=False, listener=Listener())
    assert {split: part.images.shape for split, part in arrays.items()} == {
        "train": (60_000, 1, 28, 28),
        "test": (10_000, 1, 28, 28),
    }
    with pytest.raises(DataError, match=r"train images have shape .*, wanted \[5, 1, 28, 28\]"):
        read_named(
            replace(mnist, n_train=5), data_root=real_data, download=False, listener=Listener()
        )


@pytest.mark.parametrize("below", ["", "raw", "FashionMNIST/raw"])
def test_classes_of_unknown_files_are_numbered(tmp_path: Path, below: str) -> None:
    put(tmp_path / below, {**TRAIN, **TEST})
    told = Told()
    arrays = read_known_folder(tmp_path, listener=told)
    assert arrays is not None
    assert np.array_equal(arrays["train"].images, IMAGES)
    assert arrays["test"].labels.tolist() == [0, 12]
    assert arrays["test"].classes == tuple(str(i) for i in range(13))
    (note,) = told.notes
    assert note.startswith(f"{tmp_path / below}: not the files of a known data set")


def test_test_images_may_be_absent_but_not_in_part(tmp_path: Path) -> None:
    put(tmp_path, TRAIN)
    arrays = read_known_folder(tmp_path, listener=Listener())
    assert arrays is not None
    assert list(arrays) == ["train"]
    put(tmp_path, {"t10k-images-idx3-ubyte": TEST["t10k-images-idx3-ubyte"]})
    with pytest.raises(DataError, match="no t10k-labels-idx1-ubyte next to t10k-images-idx3-ubyte"):
        read_known_folder(tmp_path, listener=Listener())


def test_a_folder_without_known_files_gives_none(tmp_path: Path) -> None:
    put(tmp_path / "cats", {"1.png": b"", "train-images": b""})
    assert read_known_folder(tmp_path, listener=Listener()) is None
    assert read_known_folder(tmp_path / "absent", listener=Listener()) is None


@pytest.mark.parametrize(
    ("files", "missing"),
    [
        (dict(list(TRAIN.items())[:1]), "train-labels-idx1-ubyte"),
        (TEST, "train-images-idx3-ubyte, train-labels-idx1-ubyte"),
        ({"data_batch_2.bin": b""}, "data_batch_1.bin, data_batch_3.bin"),
    ],
    ids=["labels", "training", "batches"],
)
def test_files_that_lack_others_are_refused(
    tmp_path: Path, files: dict[str, bytes], missing: str
) -> None:
    put(tmp_path, files)
    with pytest.raises(DataError, match=f"there is no {missing}.* next to .*gzipped or not"):
        read_known_folder(tmp_path, listener=Listener())


def test_several_data_sets_in_one_folder_are_not_guessed_at(tmp_path: Path) -> None:
    put(tmp_path / "MNIST/raw", TRAIN)
    put(tmp_path / "KMNIST/raw", TRAIN)
    with pytest.raises(UsageError, match="several data sets: MNIST/raw, KMNIST/raw; name one"):
        read_known_folder(tmp_path, listener=Listener())
