"""Every format of the table: a small real file is read back, and a wrong one is refused."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from tenfold.data.files.formats import FORMATS
from tenfold.data.files.npz import read_npz
from tenfold.errors import DataError
from written_files import idx, placed, rng


class Example(NamedTuple):
    """How the tests write a format: by its published description, independent of our reader.

    `write(folder, images, labels)` takes uint8 of (n, channels, height, width), and one label
    too few to test a wrong count.
    """

    write: Callable[[Path, np.ndarray, list[int]], list[Path]]
    channels: int
    classes: int


def write_idx(folder: Path, images: np.ndarray, labels: list[int]) -> list[Path]:
    return [
        placed(folder, idx(images[:, 0]), "images"),
        placed(folder, idx(np.array(labels, np.uint8)), "labels"),
    ]


def write_python(folder: Path, images: np.ndarray, labels: list[int], key: bytes) -> list[Path]:
    """Two batches: the first image alone, then the others."""
    parts = [(images[:1], labels[:1]), (images[1:], labels[1:])]
    return [
        placed(folder, pickle.dumps({b"data": part.reshape(len(part), -1), key: own}, 2), str(i))
        for i, (part, own) in enumerate(parts)
    ]


def write_binary(folder: Path, images: np.ndarray, labels: list[int], coarse: bytes) -> list[Path]:
    """Two batches: the first image alone, then the others; `coarse` comes before each label."""
    bytes_of_labels = [coarse + bytes([label]) for label in labels]
    bytes_of_labels += [b""] * (len(images) - len(labels))
    records = [
        label + image.tobytes() for label, image in zip(bytes_of_labels, images, strict=True)
    ]
    return [placed(folder, records[0], "0"), placed(folder, b"".join(records[1:]), "1")]


EXAMPLES = {
    "idx": Example(write_idx, 1, 10),
    "cifar10-python": Example(lambda *of: write_python(*of, b"labels"), 3, 10),
    "cifar10-binary": Example(lambda *of: write_binary(*of, b""), 3, 10),
    "cifar100-python": Example(lambda *of: write_python(*of, b"fine_labels"), 3, 100),
    "cifar100-binary": Example(lambda *of: write_binary(*of, b"\x13"), 3, 100),
}

every_format = pytest.mark.parametrize("name", FORMATS)


def sample(name: str) -> tuple[np.ndarray, list[int]]:
    example = EXAMPLES[name]
    images = rng().integers(0, 256, (4, example.channels, 32, 32), np.uint8)
    return images, [0, example.classes - 1, 1, 5]


def test_every_format_has_its_example():
    assert EXAMPLES.keys() == FORMATS.keys()


@every_format
def test_files_are_read_back(tmp_path, name):
    images, labels = sample(name)
    paths = EXAMPLES[name].write(tmp_path, images, labels)
    count = FORMATS[name].count_classes(paths)
    assert count == EXAMPLES[name].classes
    classes = tuple(f"class {i}" for i in range(count))
    arrays = FORMATS[name].read(paths, classes)
    assert np.array_equal(arrays.images, images)
    assert arrays.labels.tolist() == labels
    assert arrays.classes == classes
    assert arrays.names is None


@every_format
def test_a_label_out_of_range_is_refused(tmp_path, name):
    images, labels = sample(name)
    paths = EXAMPLES[name].write(tmp_path, images, labels)
    with pytest.raises(
        DataError, match=rf"label {labels[1]} at index \d is out of range, wanted 0"
    ):
        FORMATS[name].read(paths, "abcdef")


@every_format
def test_a_truncated_file_is_refused(tmp_path, name):
    paths = EXAMPLES[name].write(tmp_path, *sample(name))
    for path in paths:
        data = path.read_bytes()
        path.write_bytes(data[:-1])
        with pytest.raises(DataError, match=r"truncated|not whole records") as caught:
            FORMATS[name].read(paths, "abcdef")
        assert str(path) in str(caught.value)
        path.write_bytes(data)


@every_format
def test_more_images_than_labels_are_refused(tmp_path, name):
    images, labels = sample(name)
    paths = EXAMPLES[name].write(tmp_path, images, labels[:-1])
    with pytest.raises(DataError, match=r"images but .* labels|not whole records"):
        FORMATS[name].read(paths, [str(i) for i in range(100)])


@every_format
def test_a_missing_file_is_refused(tmp_path, name):
    paths = EXAMPLES[name].write(tmp_path, *sample(name))
    paths[-1].unlink()
    with pytest.raises(DataError, match="no such file"):
        FORMATS[name].read(paths, [str(i) for i in range(100)])


@pytest.mark.parametrize(
    "read",
    [*(file_format.read for file_format in FORMATS.values()), lambda paths, _: read_npz(paths[0])],
)
def test_a_folder_instead_of_a_file_is_refused(tmp_path, read):
    with pytest.raises(DataError, match="cannot be read"):
        read([tmp_path, tmp_path], "ab")
