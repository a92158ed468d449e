"""IDX, CIFAR and npz files, whole and damaged in every way."""

from __future__ import annotations

import gzip
import hashlib
import io
import pickle
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenfold.data.files.cifar import read_cifar_binary, read_cifar_python
from tenfold.data.files.idx import read_idx_images, read_idx_labels, read_idx_pair
from tenfold.data.files.npz import read_npz
from tenfold.errors import DataError

TEN = [str(digit) for digit in range(10)]
FUZZ = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

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


def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">I{array.ndim}I", 0x800 + array.ndim, *array.shape) + array.tobytes()


def placed(folder: Path, data: bytes, name: str = "file") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def mutated(data: st.DataObject, seed: bytes, header: int) -> bytes:
    """The seed with some bytes changed, mostly in its header, and perhaps cut off or longer."""
    sample = bytearray(seed)
    places = st.one_of(st.integers(0, min(header, len(seed)) - 1), st.integers(0, len(seed) - 1))
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=6)):
        sample[place] = value
    cut = data.draw(st.one_of(st.just(len(seed)), st.integers(0, len(seed))))
    return bytes(sample[:cut]) + data.draw(st.binary(max_size=4))


# IDX


@pytest.mark.parametrize(("name", "part"), DIGESTS)
def test_real_idx_files_have_their_published_digests(real_data, name, part):
    folder = real_data / name / "raw"
    arrays = read_idx_pair(
        folder / f"{part}-images-idx3-ubyte.gz", folder / f"{part}-labels-idx1-ubyte.gz", TEN
    )
    n = 60_000 if part == "train" else 10_000
    assert arrays.images.shape == (n, 1, 28, 28)
    assert arrays.labels.shape == (n,)
    assert arrays.names is None
    images, labels = arrays.images[:, 0], arrays.labels.astype(np.uint8)
    digests = tuple(hashlib.md5(idx(array)).hexdigest() for array in (images, labels))
    assert digests == DIGESTS[name, part]


def test_content_and_not_the_name_says_whether_idx_is_gzipped(tmp_path):
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
        (idx(np.zeros((2, 3, 3), np.uint8))[:-1], "cut off"),
        (idx(np.zeros((2, 3, 3), np.uint8)) + b"\0", "more follow"),
        (idx(np.zeros((0, 3, 3), np.uint8)), "nothing in it"),
        (idx(np.zeros((2, 0, 3), np.uint8)), "nothing in it"),
        (struct.pack(">4I", 0x803, 2**31, 28, 28), "over the limit of 17,179,869,184"),
        (struct.pack(">4I", 0x803, 2**32 - 1, 2**32 - 1, 2**32 - 1), "over the limit"),
        (struct.pack(">4I", 0x803, 10_000_000, 28, 28), "cut off"),
    ],
)
def test_damaged_idx_files_are_told(tmp_path, pack, data, message):
    path = placed(tmp_path, pack(data), "images")
    tracemalloc.start()
    with pytest.raises(DataError) as caught:
        read_idx_images(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert peak < 20_000_000


def test_images_given_as_labels_are_told(tmp_path):
    path = placed(tmp_path, idx(np.zeros((2, 3, 3), np.uint8)))
    with pytest.raises(DataError, match="IDX file of images, wanted an IDX file of labels; swap"):
        read_idx_labels(path)


def test_missing_files_and_folders_are_told(tmp_path):
    with pytest.raises(DataError, match="there is no such file"):
        read_idx_images(tmp_path / "absent")
    for read in (read_idx_images, read_npz, lambda path: read_cifar_python([path], TEN)):
        with pytest.raises(DataError, match="cannot be read"):
            read(tmp_path)


@pytest.mark.parametrize("damage", ["cut", "flip", "tail"])
def test_damaged_gzip_is_told(tmp_path, damage):
    data = bytearray(gzip.compress(idx(rng().integers(0, 256, (9, 9, 9), np.uint8))))
    if damage == "cut":
        del data[-9:]
    elif damage == "flip":
        data[-7] ^= 1  # in the checksum
    else:
        data += b"junk"
    with pytest.raises(DataError, match="the gzip data is damaged or cut off"):
        read_idx_images(placed(tmp_path, bytes(data)))


def test_pairs_that_do_not_fit_are_told(tmp_path):
    images = placed(tmp_path, idx(np.zeros((3, 2, 2), np.uint8)), "images")
    two = placed(tmp_path, idx(np.array([0, 1], np.uint8)), "two")
    with pytest.raises(DataError, match=r"images has 3 images but .*two has 2 labels"):
        read_idx_pair(images, two, TEN)
    wrong = placed(tmp_path, idx(np.array([0, 9, 10], np.uint8)), "wrong")
    with pytest.raises(DataError, match=r"label 10 at index 2 is out of range, wanted 0\.\.9"):
        read_idx_pair(images, wrong, TEN)


@given(st.data(), st.booleans())
@FUZZ
def test_no_idx_bytes_raise_anything_but_our_errors(tmp_path, data, is_gzipped):
    seed = idx(rng().integers(0, 256, (3, 4, 4), np.uint8))
    sample = mutated(data, gzip.compress(seed) if is_gzipped else seed, 20)
    path = placed(tmp_path, sample)
    for read in (read_idx_images, read_idx_labels):
        try:
            read(path)
        except DataError:
            pass


# CIFAR, binary version


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
def test_binary_cifar_of_broken_records_is_told(tmp_path, size):
    with pytest.raises(DataError, match="not whole records of 3,073 bytes"):
        read_cifar_binary([placed(tmp_path, bytes(size))], TEN)


def test_binary_cifar_labels_out_of_range_are_told(tmp_path):
    records = cifar_records(3, 1)
    records[1, 0] = 77
    with pytest.raises(DataError, match="label 77 at index 1 is out of range"):
        read_cifar_binary([placed(tmp_path, records.tobytes())], TEN)
    with pytest.raises(DataError, match="no batches"):
        read_cifar_binary([], TEN)


# CIFAR, python version


def python2_string(value: bytes) -> bytes:
    if len(value) < 256:
        return b"U" + bytes([len(value)]) + value  # SHORT_BINSTRING
    return b"T" + struct.pack("<i", len(value)) + value  # BINSTRING


def python2_batch(images: np.ndarray, labels: list[int]) -> bytes:
    """A batch as Python 2's cPickle wrote it, instruction by instruction, in protocol 2."""
    n, pixels = images.shape
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\nq\x05cnumpy\nndarray\nq\x06K\x00\x85q\x07U\x01bq\x08"
        b"\x87q\tRq\n(K\x01" + b"J" + struct.pack("<i", n) + b"M" + struct.pack("<H", pixels)
        + b"\x86q\x0bcnumpy\ndtype\nq\x0cU\x02u1q\rK\x00K\x01\x87q\x0eRq\x0f(K\x03U\x01|q\x10NNN"
        b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x11b\x89" + python2_string(images.tobytes())
        + b"q\x12tq\x13b"
    )  # fmt: skip
    return (
        b"\x80\x02}q\x01("
        + python2_string(b"batch_label") + b"q\x02" + python2_string(b"testing batch 1 of 1")
        + b"q\x03" + python2_string(b"labels") + b"q\x14]q\x15("
        + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
        + python2_string(b"data") + b"q\x04" + array
        + python2_string(b"filenames") + b"q\x16]q\x17("
        + b"".join(python2_string(b"%d.png" % i) for i in range(n)) + b"eu."
    )  # fmt: skip


def cifar_batch(n: int = 3) -> tuple[np.ndarray, list[int]]:
    return rng().integers(0, 256, (n, 3072), np.uint8), [i % 10 for i in range(n)]


def test_a_batch_of_python_2_is_read(tmp_path):
    images, labels = cifar_batch()
    data = python2_batch(images, labels)
    # what numpy and pickle themselves make of it
    assert np.array_equal(pickle.loads(data, encoding="bytes")[b"data"], images)
    arrays = read_cifar_python([placed(tmp_path, data)], TEN)
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


class Attack:
    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (Attack(__import__("os").system, "true"), r"(posix|nt)\.system"),
        (Attack(eval, "1"), r"builtins\.eval|__builtin__\.eval"),
        (Attack(getattr, "", "join"), "getattr"),
        (Attack(np.load, "x"), r"numpy\.load"),
        (np.float64(1), "scalar"),
        (np.array(["x"], dtype=object), "type 'O8'"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 5])
def test_whatever_a_pickle_names_beyond_arrays_is_refused(tmp_path, value, named, protocol):
    data = pickle.dumps({"data": value, "labels": []}, protocol)
    with pytest.raises(DataError, match=named):
        read_cifar_python([placed(tmp_path, data)], TEN)


def array_state(shape: bytes) -> bytes:
    """A pickle of {"data": array} whose array has these instructions as its shape, and 4 bytes."""
    return (
        b"\x80\x02}U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b"
        b"\x87R(K\x01" + shape + b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R\x89U\x04abcdtbs."
    )


def nested_tuples(depth: int) -> bytes:
    again = b"".join(b"h%ch%c\x86q%c" % (i, i, i + 1) for i in range(depth))
    return b"\x80\x02}K\x00\x85q\x000" + again + b"K\x01s."


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "damaged or cut off"),
        (b"garbage", "damaged or cut off"),
        (b"\x80\x04K\x01.", "it holds a int, wanted a dict"),
        (b"\x80\x04}.", "its 'data' is missing"),
        (b"\x80\x04}.more", "4 bytes follow the pickle's end"),
        (array_state(b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86"), "but 4 bytes of it"),
        (array_state(b"J\xff\xff\xff\xffK\xfc\x86"), "but 4 bytes of it"),
        (array_state(b"\x8a\x09\0\0\0\0\0\0\0\0\x01K\x00\x86"), "but 4 bytes of it"),
        (array_state(b"K\x02K\x02\x86"), "has shape (2, 2), wanted (n, 3072)"),
        (b"\x80\x02}r\xff\xff\xff\x7f.", "numbers an object 2,147,483,647"),
        (b"\x80\x04\x96" + b"\xff" * 7 + b"\x7f.", "damaged or cut off|BYTEARRAY8"),
        (b"\x80\x04\x8d" + b"\xff" * 7 + b"\x0f.", "damaged or cut off"),
        (b"\x80\x02\x8b\xff\xff\xff\x7f.", "damaged or cut off"),
        (b"\x80\x04\x8e" + b"\x00" * 6 + b"\x01\x00.", "damaged or cut off"),
        (b"I" + b"9" * 10_000 + b"\n.", "damaged or cut off"),
        (nested_tuples(60), "the instruction POP|one tuple twice"),
        (b"\x80\x02}K\x00\x85q\x00\x95\x00\0\0\0\0\0\0\0q\x01h\x01h\x01\x86K\x01s.", "twice"),
        (b"(i__main__\nX\n.", "the instruction INST"),
        (b"\x80\x02P1\n.", "the instruction PERSID|damaged"),
        (b"\x80\x02cnumpy\ndtype\n}b.", "changes what it may only call"),
        (b"(" * 100_000 + b"l" * 100_000 + b".", "wanted a dict|damaged"),
    ],
)  # fmt: skip
def test_hostile_pickles_are_refused_without_taking_memory(tmp_path, data, message):
    path = placed(tmp_path, data)
    tracemalloc.start()
    with pytest.raises(DataError) as caught:
        read_cifar_python([path], TEN)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert any(part in str(caught.value) for part in message.split("|"))
    assert peak < 50_000_000


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"labels": [0, 1]}, "'data' is missing"),
        ({"data": np.zeros((2, 3072))}, "type 'f8'"),
        ({"data": np.zeros((2, 3072), np.int16), "labels": [0, 1]}, "'data' is int16 of shape"),
        ({"data": np.zeros((2, 3071), np.uint8), "labels": [0, 1]}, "shape (2, 3071)"),
        ({"data": np.zeros((2, 3072), np.uint8), "label": [0, 1]}, "no 'labels', only data, label"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 1, 2]}, "2 images but 3 labels"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 10]}, "label 10 at index 1"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [0, -1]}, "label -1 at index 1"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 2**80]}, "far out of range"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 1.5]}, "not a list of whole"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [0, True]}, "not a list of whole"),
        ([1, 2], "wanted a dict"),
    ],
)
def test_batches_of_another_make_are_told(tmp_path, batch, message):
    with pytest.raises(DataError) as caught:
        read_cifar_python([placed(tmp_path, pickle.dumps(batch, 4))], TEN)
    assert message in str(caught.value)


def test_the_size_of_a_pickle_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("tenfold.data.files.pickles.LARGEST_PICKLE", 1000)
    with pytest.raises(DataError, match="more than 1,000 bytes"):
        read_cifar_python([placed(tmp_path, bytes(1001))], TEN)


@given(st.data())
@FUZZ
def test_no_pickle_raises_anything_but_our_errors(tmp_path, data):
    images, labels = cifar_batch(2)
    head, _, tail = python2_batch(images, labels).partition(images.tobytes())
    seed = head + images.tobytes() + tail
    sample = bytearray(seed)
    places = [*range(len(head)), *range(len(seed) - len(tail), len(seed))]
    changes = st.lists(st.tuples(st.sampled_from(places), st.integers(0, 255)), max_size=5)
    for place, value in data.draw(changes):
        sample[place] = value
    try:
        read_cifar_python([placed(tmp_path, bytes(sample))], TEN)
    except DataError:
        pass


@given(st.binary(max_size=40))
@FUZZ
def test_no_short_pickle_raises_anything_but_our_errors(tmp_path, data):
    with pytest.raises(DataError):
        read_cifar_python([placed(tmp_path, b"\x80\x02" + data + b".")], TEN)


# npz


def npz(folder: Path, name: str = "data.npz", **arrays: np.ndarray) -> Path:
    path = folder / name
    np.savez_compressed(path, **arrays)
    return path


GREY = rng().integers(0, 256, (4, 6, 5), np.uint8)
LABELS = np.array([0, 1, 2, 1])


@pytest.mark.parametrize(
    ("images", "wanted"),
    [
        (GREY, GREY[:, None]),
        (GREY[..., None], GREY[:, None]),
        (GREY[:, None], GREY[:, None]),
        (np.stack([GREY] * 3, 3), np.stack([GREY] * 3, 1)),
        (np.stack([GREY] * 3, 1), np.stack([GREY] * 3, 1)),
        # both readings would do: the channels are last
        (GREY[:, :3, :, None], GREY[:, None, :3]),
        (np.asfortranarray(GREY), GREY[:, None]),
        (GREY.astype(np.int64), GREY[:, None]),
        (GREY.astype(">u2"), GREY[:, None]),
    ],
)
def test_npz_images_of_every_shape_are_read(tmp_path, images, wanted):
    arrays = read_npz(npz(tmp_path, images=images, labels=LABELS))["all"]
    assert np.array_equal(arrays.images, wanted)
    assert arrays.images.dtype == np.uint8
    assert arrays.labels.tolist() == LABELS.tolist()
    assert arrays.classes == ("0", "1", "2")


@pytest.mark.parametrize("dtype", ["u1", "i4", ">i8", "u8"])
@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_npz_labels_of_every_whole_type_are_read(tmp_path, dtype, shape):
    path = npz(tmp_path, images=GREY, labels=LABELS.astype(dtype).reshape(shape))
    assert read_npz(path)["all"].labels.tolist() == LABELS.tolist()


def test_npz_of_keras_and_with_splits_are_read(tmp_path):
    keras = npz(tmp_path, x_train=GREY, y_train=LABELS, x_test=GREY[:2], y_test=LABELS[:2])
    splits = read_npz(keras)
    assert {name: len(arrays.images) for name, arrays in splits.items()} == {"train": 4, "test": 2}
    assert splits["test"].classes == ("0", "1", "2")  # all splits have the same classes
    parts = {}
    for split in ("train", "val", "test"):
        parts |= {f"{split}_images": GREY, f"{split}_labels": LABELS}
    names = np.array(["cat", "dog", "frog"])
    splits = read_npz(npz(tmp_path, classes=names, **parts))
    assert list(splits) == ["train", "val", "test"]
    assert splits["val"].classes == ("cat", "dog", "frog")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "unknown arrays in it: nothing"),
        ({"images": GREY}, "there is no 'labels'"),
        ({"classes": np.array(["a"])}, "it has no images"),
        ({"images": GREY, "labels": LABELS, "ids": LABELS}, "unknown arrays in it: ids"),
        ({"images": GREY / 255, "labels": LABELS}, "float64, wanted whole numbers 0..255; save"),
        ({"images": GREY > 9, "labels": LABELS}, "bool, wanted whole numbers"),
        ({"images": GREY.astype(int) + 1, "labels": LABELS}, "wanted 0..255"),
        ({"images": GREY.astype(int) - 9, "labels": LABELS}, "wanted 0..255"),
        ({"images": GREY[0], "labels": LABELS}, "shape is (6, 5)"),
        ({"images": GREY[..., None, None], "labels": LABELS}, "shape is (4, 6, 5, 1, 1)"),
        ({"images": np.zeros((4, 2, 6, 5), np.uint8), "labels": LABELS}, "shape is (4, 2, 6, 5)"),
        ({"images": GREY[:0], "labels": LABELS[:0]}, "no pixels"),
        ({"images": GREY, "labels": LABELS[:3]}, "4 images but 3 labels"),
        ({"images": GREY, "labels": LABELS[:0]}, "4 images but 0 labels"),
        ({"images": GREY, "labels": LABELS / 2}, "labels are float64"),
        ({"images": GREY, "labels": LABELS[:, None] * np.ones(3, int)}, "of shape (4, 3)"),
        ({"images": GREY, "labels": np.array(3)}, "wanted whole numbers of shape (n,)"),
        ({"images": GREY, "labels": LABELS - 1}, "label -1 at index 0"),
        ({"images": GREY, "labels": LABELS + 2**40}, "largest label is 1,099,511,627,778"),
        ({"images": GREY, "labels": np.array([2**64 - 1] * 4, np.uint64)}, "out of range"),
        ({"images": GREY, "labels": LABELS, "classes": np.array(["a", "b"])}, "label 2 at index 2"),
        ({"images": GREY, "labels": LABELS, "classes": np.array(["a"] * 3)}, "same name twice"),
        ({"images": GREY, "labels": LABELS, "classes": np.arange(3)}, "wanted text"),
        (
            {"images": GREY, "labels": LABELS, "x_test": GREY, "y_test": LABELS},
            "'x_test' comes on top of all",
        ),
    ],
)
def test_npz_files_that_do_not_fit_are_told(tmp_path, arrays, message):
    with pytest.raises(DataError) as caught:
        read_npz(npz(tmp_path, **arrays))
    assert message in str(caught.value)
    assert "data.npz" in str(caught.value)


def test_npz_with_pickles_is_refused(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, images=np.array([{}], object), labels=LABELS)
    with pytest.raises(DataError, match="it holds object"):
        read_npz(path)


def npy(header: str, body: bytes) -> bytes:
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (1000000, 1000000)}", "are there"),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (-1, -8)}", "declares the shape"),
        ("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", "it holds object"),
        ("{'descr': '<U0', 'fortran_order': False, 'shape': (1000000000,)}", "8 are there"),
        ("{'descr': [('a', '|u1')], 'fortran_order': False, 'shape': (8,)}", "it holds"),
        ("__import__('os').abort()", "damaged or cut off"),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (7,)}", "7 bytes, but 8 are there"),
    ],
)
def test_lying_npy_headers_are_refused(tmp_path, header, message):
    path = tmp_path / "data.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", npy(header, bytes(8)))
    with pytest.raises(DataError, match=message):
        read_npz(path)


def test_npz_bombs_are_refused_before_they_unpack(tmp_path, monkeypatch):
    monkeypatch.setattr("tenfold.data.files.npz.LARGEST_ARRAY", 2**20)
    zeros = np.zeros((4, 512, 513), np.uint8)
    path = npz(tmp_path, images=zeros, labels=LABELS)
    assert path.stat().st_size < 10_000
    with pytest.raises(DataError, match="over the limit of 1,048,576"):
        read_npz(path)


def test_a_zip_that_declares_more_than_it_can_hold_is_refused(tmp_path):
    path = tmp_path / "data.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", npy("{}", b""))
    data = path.read_bytes()
    entry = data.index(b"PK\x01\x02")
    lie = struct.pack("<I", 2**31)
    path.write_bytes(data[: entry + 24] + lie + data[entry + 28 :])
    with pytest.raises(DataError, match="cannot unpack to 2,147,483,648"):
        read_npz(path)


def test_what_is_no_npz_is_told(tmp_path):
    np.save(tmp_path / "data.npy", GREY)
    with pytest.raises(DataError, match=r"not an \.npz file"):
        read_npz(tmp_path / "data.npy")


def npz_seed(compressed: bool) -> bytes:
    file = io.BytesIO()
    save = np.savez_compressed if compressed else np.savez
    save(file, images=GREY[:2, :2, :2], labels=LABELS[:2], classes=np.array(["a", "b"]))
    return file.getvalue()


@given(st.data(), st.booleans())
@FUZZ
def test_no_npz_raises_anything_but_our_errors(tmp_path, data, compressed):
    seed = npz_seed(compressed)
    path = placed(tmp_path, mutated(data, seed, len(seed)))
    try:
        read_npz(path)
    except DataError:
        pass
