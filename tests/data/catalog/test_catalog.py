"""The table of known data sets, against what their authors published."""

from __future__ import annotations

import re

import pytest

from tenfold.data.catalog.entries import CatalogEntry, FileSet
from tenfold.data.catalog.table import DATASETS, find
from tenfold.data.files.formats import FORMATS

FILE_SETS = [file_set for entry in DATASETS.values() for file_set in entry.file_sets]
DIGEST_LENGTHS = {"md5": 32, "sha256": 64}


@pytest.mark.parametrize("entry", DATASETS.values(), ids=DATASETS)
def test_entry_is_consistent(entry: CatalogEntry) -> None:
    assert len(set(entry.classes)) == len(entry.classes)
    assert entry.n_train > 0
    assert entry.license
    assert "\n" not in entry.citation


@pytest.mark.parametrize("file_set", FILE_SETS, ids=lambda file_set: file_set.folder)
def test_a_file_set_can_be_checked_read_and_downloaded(file_set: FileSet) -> None:
    digests = [file.digest or file.gzip_digest for file in file_set.files]
    if file_set.archive:
        digests = [file_set.archive.digest, *(digest for digest in digests if digest)]
    for digest in digests:
        assert digest is not None, "a download of this file could not be checked"
        algorithm, value = digest.split(":")
        assert re.fullmatch(rf"[0-9a-f]{{{DIGEST_LENGTHS[algorithm]}}}", value)
    assert len(set(digests)) == len(digests)
    assert file_set.format in FORMATS
    assert len(file_set.mirrors) >= 2
    for mirror in file_set.mirrors:
        assert re.fullmatch(r"https?://[\w./~-]+/", mirror)
    assert {file.split for file in file_set.files} == {"train", "test"}
    assert len({file.name for file in file_set.files}) == len(file_set.files)


def test_folders_are_torchvisions() -> None:
    # torchvision.datasets: <class name>/raw for the MNIST family, base_folder for CIFAR.
    assert [file_set.folder for file_set in FILE_SETS] == [
        "MNIST/raw",
        "FashionMNIST/raw",
        "KMNIST/raw",
        "cifar-10-batches-py",
        "cifar-10-batches-bin",
        "cifar-100-python",
        "cifar-100-binary",
    ]


def test_class_names_are_the_published_ones() -> None:
    # CIFAR's batches.meta lists both sets of names in alphabetical order.
    for name, count in (("cifar10", 10), ("cifar100", 100)):
        classes = DATASETS[name].classes
        assert len(classes) == count
        assert list(classes) == sorted(classes)
    assert DATASETS["mnist"].classes == tuple("0123456789")
    assert DATASETS["fashion-mnist"].classes[9] == "Ankle boot"
    assert len(DATASETS["kmnist"].classes) == 10


def test_sizes_of_the_idx_files_follow_from_their_format() -> None:
    # The IDX format's description: magic number, one 32-bit integer per axis, one byte per value.
    sizes = {file.name: file.largest for file in DATASETS["mnist"].file_sets[0].files}
    assert sizes == {
        "train-images-idx3-ubyte": 47_040_016,
        "train-labels-idx1-ubyte": 60_008,
        "t10k-images-idx3-ubyte": 7_840_016,
        "t10k-labels-idx1-ubyte": 10_008,
    }
    batch = DATASETS["cifar10"].file_sets[1].files[0]
    assert batch.largest == 30_730_000  # as the data set's page states


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("mnist", "mnist"),
        ("MNIST", "mnist"),
        ("fashion_mnist", "fashion-mnist"),
        ("FashionMNIST", "fashion-mnist"),
        ("Fashion-MNIST", "fashion-mnist"),
        ("cifar-10", "cifar10"),
        ("CIFAR 100", "cifar100"),
    ],
)
def test_spellings_of_one_name(spelling: str, name: str) -> None:
    assert find(spelling) is DATASETS[name]


@pytest.mark.parametrize("name", ["", "-", "m", "cifar", "mnist2"])
def test_a_part_of_a_name_is_not_a_name(name: str) -> None:
    assert find(name) is None
