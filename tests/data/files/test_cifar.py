"""CIFAR's batches, both versions, valid and invalid."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenfold.data.files.cifar import read_cifar_binary, read_cifar_python
from tenfold.errors import DataError
from tenfold.types import LabeledArrays
from written_files import FUZZ, TEN, cifar_batch, placed, python2_batch, rng


def read_cifar10(path: Path) -> LabeledArrays:
    return read_cifar_python([path], TEN, label_key="labels")


def cifar_records(n: int, label_bytes: int) -> np.ndarray:
    records = rng().integers(0, 256, (n, label_bytes + 3072), np.uint8)
    records[:, :label_bytes] %= 10
    return records


@pytest.mark.parametrize("label_bytes", [1, 2])
def test_binary_cifar_batches_follow_each_other(tmp_path, label_bytes):
    records = cifar_records(5, label_bytes)
    paths = [
        placed(tmp_path, records[:3].tobytes(), "one"),
        placed(tmp_path, records[3:].tobytes(), "two"),
    ]
    arrays = read_cifar_binary(paths, TEN, label_bytes=label_bytes)
    assert arrays.images.shape == (5, 3, 32, 32)
    # the format: labels, then the red, green and blue plane of 1,024 bytes, rows first
    assert arrays.images[4, 1, 2, 3] == records[4, label_bytes + 1024 + 2 * 32 + 3]
    assert arrays.labels.tolist() == records[:, label_bytes - 1].tolist()


@pytest.mark.parametrize("size", [0, 1, 3072, 3074])
def test_partial_records_of_binary_cifar_are_refused(tmp_path, size):
    with pytest.raises(DataError, match="not whole records of 3,073 bytes"):
        read_cifar_binary([placed(tmp_path, bytes(size))], TEN, label_bytes=1)


def test_a_batch_of_python_2_is_read(tmp_path):
    images, labels = cifar_batch()
    data = python2_batch(images, labels)
    # the result of NumPy and pickle themselves
    assert np.array_equal(pickle.loads(data, encoding="bytes")[b"data"], images)
    arrays = read_cifar10(placed(tmp_path, data))
    assert np.array_equal(arrays.images, images.reshape(-1, 3, 32, 32))
    assert arrays.labels.tolist() == labels
    assert arrays.classes == tuple(TEN)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("keys", [str, str.encode])
@pytest.mark.parametrize("order", ["C", "F"])
def test_batches_of_every_protocol_are_read(tmp_path, protocol, keys, order):
    images, labels = cifar_batch()
    batch = {keys("data"): np.asarray(images, order=order), keys("fine_labels"): labels}
    path = placed(tmp_path, pickle.dumps(batch, protocol))
    arrays = read_cifar_python([path, path], TEN, label_key="fine_labels")
    assert np.array_equal(arrays.images[3:], images.reshape(-1, 3, 32, 32))
    assert arrays.labels.tolist() == labels * 2


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"labels": [0, 1]}, "'data' is missing"),
        ({"data": np.zeros((2, 3072))}, "type 'f8'"),
        ({"data": np.zeros((2, 3072), np.int16), "labels": [0, 1]}, "'data' is int16 of shape"),
        ({"data": np.zeros((2, 3071), np.uint8), "labels": [0, 1]}, "shape (2, 3071)"),
        ({"data": np.zeros((0, 3072), np.uint8), "labels": []}, "shape (0, 3072)"),
        ({"data": np.zeros((2, 3072), np.uint8), "label": [0, 1]}, "no 'labels', only data, label"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [0, -1]}, "label -1 at index 1"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 2**80]}, "far out of range"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 1.5]}, "not a list of whole"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [0, True]}, "not a list of whole"),
        ([1, 2], "wanted a dict"),
        ({}, "'data' is missing"),
    ],
)
def test_other_batches_are_refused(tmp_path, batch, message):
    with pytest.raises(DataError) as caught:
        read_cifar10(placed(tmp_path, pickle.dumps(batch, 4)))
    assert message in str(caught.value)


@given(st.data())
@FUZZ
def test_any_pickle_raises_only_our_errors(tmp_path, data):
    images, labels = cifar_batch(2)
    head, _, tail = python2_batch(images, labels).partition(images.tobytes())
    seed = head + images.tobytes() + tail
    sample = bytearray(seed)
    places = [*range(len(head)), *range(len(seed) - len(tail), len(seed))]
    changes = st.lists(st.tuples(st.sampled_from(places), st.integers(0, 255)), max_size=5)
    for place, value in data.draw(changes):
        sample[place] = value
    try:
        read_cifar10(placed(tmp_path, bytes(sample)))
    except DataError:
        pass


@given(st.binary(max_size=40))
@FUZZ
def test_any_short_pickle_raises_only_our_errors(tmp_path, data):
    with pytest.raises(DataError):
        read_cifar10(placed(tmp_path, b"\x80\x02" + data + b"."))
