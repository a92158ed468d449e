"""IDX files, whole and damaged in every way."""

from __future__ import annotations

import gzip
import hashlib
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenfold.data.files.idx import count_idx_classes, read_idx, read_idx_images, read_idx_labels
from tenfold.errors import DataError
from written_files import FUZZ, TEN, idx, mutated, placed, rng

# md5 of the decompressed files, as published with the data sets
DIGESTS = {
    ("MNIST", "train"): ("6bbc9ace898e44ae57da46a324031adb", "a25bea736e30d166cdddb491f175f624"),
    ("MNIST", "t10k"): ("2646ac647ad5339dbf082846283269ea", "27ae3e4e09519cfbb04c329615203637"),
    ("FashionMNIST", "train"): (
        "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "9018921c3c673c538a1fc5bad174d6f9",
    ),
    ("FashionMNIST", "t10k"): (
        "8181f5470baa50b63fa0f6fddb340f0a",
        "15d484375f8d13e6eb1aabb0c3f46965",
    ),
}


@pytest.mark.parametrize(("name", "part"), DIGESTS)
def test_real_idx_files_have_their_published_digests(real_data, name, part):
    folder = real_data / name / "raw"
    kinds = ("images-idx3", "labels-idx1")
    arrays = read_idx([folder / f"{part}-{kind}-ubyte.gz" for kind in kinds], TEN)
    n = 60_000 if part == "train" else 10_000
    assert arrays.images.shape == (n, 1, 28, 28)
    assert arrays.labels.shape == (n,)
    assert arrays.names is None
    images, labels = arrays.images[:, 0], arrays.labels.astype(np.uint8)
    digests = tuple(hashlib.md5(idx(array)).hexdigest() for array in (images, labels))
    assert digests == DIGESTS[name, part]


def test_gzip_is_detected_by_content_not_by_name(tmp_path):
    images = rng().integers(0, 256, (3, 5, 4), np.uint8)
    plain = placed(tmp_path, idx(images), "plain.gz")
    zipped = placed(tmp_path, gzip.compress(idx(images)), "zipped")
    for path in (plain, zipped):
        assert np.array_equal(read_idx_images(path), images[:, None])


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "it begins with nothing"),
        (b"\0\0\x08\x03\0\0", "ends after 6 bytes, inside its header"),
        (b"<!DOCTYPE html><html>", "begins with 3c 21 44 4f, wanted 00 00 08 03"),
        (idx(np.zeros(4, np.uint8)), "an IDX file of labels, wanted an IDX file of images; swap"),
        (idx(np.zeros((2, 3, 3), np.uint8))[:-1], "truncated"),
        (idx(np.zeros((2, 3, 3), np.uint8)) + b"\0", "but it has more"),
        (idx(np.zeros((0, 3, 3), np.uint8)), "so it is empty"),
        (idx(np.zeros((2, 0, 3), np.uint8)), "so it is empty"),
        (struct.pack(">4I", 0x803, 2**31, 28, 28), "over the limit of 17,179,869,184"),
        (struct.pack(">4I", 0x803, 2**32 - 1, 2**32 - 1, 2**32 - 1), "over the limit"),
        (struct.pack(">4I", 0x803, 10_000_000, 28, 28), "truncated"),
    ],
)
def test_damaged_idx_files_are_refused(tmp_path, pack, data, message):
    path = placed(tmp_path, pack(data), "images")
    tracemalloc.start()
    with pytest.raises(DataError) as caught:
        read_idx_images(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert peak < 20_000_000


def test_images_given_as_labels_are_refused(tmp_path):
    path = placed(tmp_path, idx(np.zeros((2, 3, 3), np.uint8)))
    with pytest.raises(DataError, match="IDX file of images, wanted an IDX file of labels; swap"):
        read_idx_labels(path)


@pytest.mark.parametrize("damage", ["cut", "flip", "tail"])
def test_damaged_gzip_is_refused(tmp_path, damage):
    data = bytearray(gzip.compress(idx(rng().integers(0, 256, (9, 9, 9), np.uint8))))
    if damage == "cut":
        del data[-9:]
    elif damage == "flip":
        data[-7] ^= 1  # in the checksum
    else:
        data += b"junk"
    with pytest.raises(DataError, match="the gzip data is damaged or truncated"):
        read_idx_images(placed(tmp_path, bytes(data)))


@given(st.data(), st.booleans())
@FUZZ
def test_any_idx_bytes_raise_only_our_errors(tmp_path, data, is_gzipped):
    seed = idx(rng().integers(0, 256, (3, 4, 4), np.uint8))
    sample = mutated(data, gzip.compress(seed) if is_gzipped else seed, 20)
    path = placed(tmp_path, sample)
    for read in (read_idx_images, read_idx_labels):
        try:
            read(path)
        except DataError:
            pass


@pytest.mark.parametrize(("highest", "classes"), [(3, 10), (9, 10), (10, 11), (255, 256)])
def test_classes_are_counted_by_the_highest_label(tmp_path, highest, classes):
    labels = placed(tmp_path, idx(np.array([0, highest, 1], np.uint8)), "labels")
    assert count_idx_classes([tmp_path / "images", labels]) == classes
