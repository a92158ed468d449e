"""npz files, whole and damaged in every way."""

from __future__ import annotations

import io
import re
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenfold.data.files.npz import read_npz
from tenfold.errors import DataError
from written_files import FUZZ, mutated, placed, rng


def npz(folder: Path, name: str = "data.npz", **arrays: np.ndarray) -> Path:
    path = folder / name
    np.savez_compressed(path, **arrays)
    return path


GRAY = rng().integers(0, 256, (4, 6, 5), np.uint8)
LABELS = np.array([0, 1, 2, 1])


@pytest.mark.parametrize(
    ("images", "wanted"),
    [
        (GRAY, GRAY[:, None]),
        (GRAY[..., None], GRAY[:, None]),
        (GRAY[:, None], GRAY[:, None]),
        (np.stack([GRAY] * 3, 3), np.stack([GRAY] * 3, 1)),
        (np.stack([GRAY] * 3, 1), np.stack([GRAY] * 3, 1)),
        # both readings are possible: channels-last wins
        (GRAY[:, :3, :, None], GRAY[:, None, :3]),
        (np.asfortranarray(GRAY), GRAY[:, None]),
        (GRAY.astype(np.int64), GRAY[:, None]),
        (GRAY.astype(">u2"), GRAY[:, None]),
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
    path = npz(tmp_path, images=GRAY, labels=LABELS.astype(dtype).reshape(shape))
    assert read_npz(path)["all"].labels.tolist() == LABELS.tolist()


def test_npz_of_keras_and_with_splits_are_read(tmp_path):
    keras = npz(tmp_path, x_train=GRAY, y_train=LABELS, x_test=GRAY[:2], y_test=LABELS[:2])
    splits = read_npz(keras)
    assert {name: len(arrays.images) for name, arrays in splits.items()} == {"train": 4, "test": 2}
    assert splits["test"].classes == ("0", "1", "2")  # all splits have the same classes
    parts = {}
    for split in ("train", "val", "test"):
        parts |= {f"{split}_images": GRAY, f"{split}_labels": LABELS}
    names = np.array(["cat", "dog", "frog"])
    splits = read_npz(npz(tmp_path, classes=names, **parts))
    assert list(splits) == ["train", "val", "test"]
    assert splits["val"].classes == ("cat", "dog", "frog")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "it has no arrays"),
        ({"images": GRAY}, "there is no 'labels'"),
        ({"classes": np.array(["a"])}, "it has no images"),
        (
            {"images": GRAY, "labels": LABELS, "ids": LABELS},
            "unknown array: 'ids'; save images and labels",
        ),
        (
            {"images": GRAY / 255, "labels": LABELS},
            "float64 from 0 to 1, wanted whole numbers 0..255; save",
        ),
        ({"images": GRAY > 9, "labels": LABELS}, "bool, wanted whole numbers"),
        ({"images": GRAY.astype(int) + 1, "labels": LABELS}, "256, wanted whole numbers 0..255"),
        ({"images": GRAY.astype(int) - 9, "labels": LABELS}, "wanted whole numbers 0..255"),
        ({"images": GRAY.astype("U3"), "labels": LABELS}, "the pixels are text, wanted whole"),
        ({"images": GRAY * np.nan, "labels": LABELS}, "without infinite and undefined values"),
        (
            {"images": np.full(GRAY.shape, -np.inf), "labels": LABELS},
            "without infinite and undefined values",
        ),
        ({"images": GRAY[0], "labels": LABELS}, "shape is (6, 5)"),
        ({"images": GRAY[..., None, None], "labels": LABELS}, "shape is (4, 6, 5, 1, 1)"),
        ({"images": np.zeros((4, 2, 6, 5), np.uint8), "labels": LABELS}, "shape is (4, 2, 6, 5)"),
        ({"images": GRAY[:0], "labels": LABELS[:0]}, "no pixels"),
        ({"images": GRAY, "labels": LABELS[:3]}, "4 images but 3 labels"),
        ({"images": GRAY, "labels": LABELS[:0]}, "4 images but 0 labels"),
        ({"images": GRAY, "labels": LABELS / 2}, "labels are float64"),
        ({"images": GRAY, "labels": LABELS[:, None] * np.ones(3, int)}, "of shape (4, 3)"),
        ({"images": GRAY, "labels": np.array(3)}, "wanted whole numbers of shape (n,)"),
        ({"images": GRAY, "labels": LABELS - 1}, "label -1 at index 0"),
        ({"images": GRAY, "labels": LABELS + 2**40}, "largest label is 1,099,511,627,778"),
        ({"images": GRAY, "labels": np.array([2**64 - 1] * 4, np.uint64)}, "out of range"),
        ({"images": GRAY, "labels": LABELS, "classes": np.array(["a", "b"])}, "label 2 at index 2"),
        ({"images": GRAY, "labels": LABELS, "classes": np.arange(3)}, "wanted text"),
        (
            {"images": GRAY, "labels": LABELS, "classes": np.full(3, -1, np.int32).view("<U1")},
            "'classes' are not text",
        ),
        (
            {"images": GRAY, "labels": LABELS, "x_test": GRAY, "y_test": LABELS},
            "'x_test' is not possible together with all",
        ),
    ],
)
def test_npz_files_with_wrong_contents_are_refused(tmp_path, arrays, message):
    with pytest.raises(DataError) as caught:
        read_npz(npz(tmp_path, **arrays))
    assert message in str(caught.value)
    assert "data.npz" in str(caught.value)


RANGES = {
    "0..1": GRAY / np.float32(255),
    "0..255 as floats": GRAY * 1.0,
    "0..299": GRAY * (299 / 255),
    "0..299 as whole numbers": (GRAY * (299 / 255)).astype(int),
    "65,535 in 16 bits": GRAY.astype("u2") * 257,
    "far below and above 0": (GRAY.astype("i2") - 127) * 255,
    "normalized": (GRAY / 255 - 0.1307) / 0.3081,
    "bool": GRAY > 9,
    "halves": (GRAY / 255).astype("f2"),
}


@pytest.mark.parametrize("images", RANGES.values(), ids=RANGES)
@pytest.mark.filterwarnings("error")
def test_pixels_of_another_range_can_be_read_once_saved_as_advised(tmp_path, images):
    with pytest.raises(DataError) as caught:
        read_npz(npz(tmp_path, images=images, labels=LABELS))
    *_, code = re.split("save |these: ", caught.value.remedy)
    advised = eval(code, {"images": images, "numpy": np})
    found = read_npz(npz(tmp_path, images=advised, labels=LABELS))["all"].images[:, 0]
    scaled = (
        np.interp(images, (images.min(), images.max()), (0, 255)) if images.max() != 1 else GRAY
    )
    wanted = 255 * images if images.dtype == bool else scaled
    assert np.abs(found - wanted).max() <= 1


@pytest.mark.parametrize("kind", ["U3", "S3", object])
def test_labels_that_are_text_can_be_read_once_saved_as_advised(tmp_path, kind):
    names = np.array(["cat", "dog", "owl", "dog"]).astype(kind)
    with pytest.raises(DataError) as caught:
        read_npz(npz(tmp_path, images=GRAY, labels=names))
    if kind == "U3":
        assert "labels: the labels are text of shape (4,), wanted whole" in caught.value.message
    advice = "number the classes from 0, and save their names as 'classes'"
    assert caught.value.remedy == advice
    classes, labels = np.unique(names.astype("U3"), return_inverse=True)
    found = read_npz(npz(tmp_path, images=GRAY, labels=labels, classes=classes))["all"]
    assert [found.classes[label] for label in found.labels] == ["cat", "dog", "owl", "dog"]


def test_class_names_that_are_objects_can_be_read_once_saved_as_advised(tmp_path):
    names = np.array(["cat", "dog", "owl"], object)
    with pytest.raises(DataError) as caught:
        read_npz(npz(tmp_path, images=GRAY, labels=LABELS, classes=names))
    advised = eval(caught.value.remedy.partition(": ")[2], {"names": names, "numpy": np})
    found = read_npz(npz(tmp_path, images=GRAY, labels=LABELS, classes=advised))["all"]
    assert found.classes == ("cat", "dog", "owl")


def test_labels_by_column_are_read_once_saved_as_advised(tmp_path):
    one_hot = np.eye(3)[LABELS]
    with pytest.raises(DataError, match=r"save labels\.argmax\(axis=1\) if each row has a 1"):
        read_npz(npz(tmp_path, images=GRAY, labels=one_hot))
    path = npz(tmp_path, images=GRAY, labels=one_hot.argmax(axis=1))
    assert read_npz(path)["all"].labels.tolist() == LABELS.tolist()


@pytest.mark.parametrize(
    ("keys", "advice"),
    [
        (("images", "targets"), "did you mean 'labels'?"),
        (("data", "target"), "did you mean 'images' and 'labels'?"),
        (("Images", "Labels"), "did you mean 'images' and 'labels'?"),
        (("image", "label"), "did you mean 'images' and 'labels'?"),
        (("X", "y"), "did you mean 'images' and 'labels'?"),
        (("X_train", "y_train"), "did you mean 'x_train'?"),
        (("train_x", "train_y"), "did you mean 'train_images' and 'train_labels'?"),
        (("training_data", "train_targets"), "did you mean 'train_images' and 'train_labels'?"),
        (("images", "labels", "class_names"), "did you mean 'classes'?"),
        (("images", "labels", "targets"), "save images and labels, or per split: "),
        (("data", "pixels", "labels"), "save images and labels, or per split: "),
        (("images", "labels", "ids"), "save images and labels, or per split: "),
    ],
)
def test_keys_that_resemble_ours(tmp_path, keys, advice):
    with pytest.raises(DataError, match="unknown array") as caught:
        read_npz(npz(tmp_path, **dict.fromkeys(keys, LABELS)))
    assert caught.value.remedy.startswith(advice)
    unknown = [repr(key) for key in keys if key not in ("images", "labels", "y_train")]
    assert caught.value.message.endswith(f": {', '.join(unknown)}")


@pytest.mark.parametrize(
    ("labels", "advice"),
    [
        (LABELS - 1, "number the classes from 0"),
        (LABELS + 1, "number the classes from 0"),
        (LABELS * 2, "correct the labels or name more classes"),
    ],
)
def test_labels_out_of_range(tmp_path, labels, advice):
    with pytest.raises(DataError, match=r"is out of range, wanted 0\.\.2 for 3 classes") as caught:
        read_npz(npz(tmp_path, images=GRAY, labels=labels, classes=np.array(["a", "b", "c"])))
    assert caught.value.remedy == advice


def test_npz_with_pickles_is_refused(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, images=np.array([{}], object), labels=LABELS)
    with pytest.raises(DataError, match="its dtype is object"):
        read_npz(path)


def npy(header: str, body: bytes) -> bytes:
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (1000000, 1000000)}", "but it has"),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (-1, -8)}", "declares the shape"),
        ("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", "its dtype is object"),
        ("{'descr': '<U0', 'fortran_order': False, 'shape': (1000000000,)}", "its dtype is <U0"),
        ("{'descr': [('a', '|u1')], 'fortran_order': False, 'shape': (8,)}", "its dtype is"),
        ("__import__('os').abort()", "damaged or truncated"),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (7,)}", "7 bytes, but it has 8"),
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


def test_a_file_that_is_not_an_npz_is_refused(tmp_path):
    np.save(tmp_path / "data.npy", GRAY)
    with pytest.raises(DataError, match=r"not an \.npz file"):
        read_npz(tmp_path / "data.npy")


def npz_seed(compressed: bool) -> bytes:
    file = io.BytesIO()
    save = np.savez_compressed if compressed else np.savez
    save(file, images=GRAY[:2, :2, :2], labels=LABELS[:2], classes=np.array(["a", "b"]))
    return file.getvalue()


@given(st.data(), st.booleans())
@FUZZ
def test_any_npz_raises_only_our_errors(tmp_path, data, compressed):
    seed = npz_seed(compressed)
    path = placed(tmp_path, mutated(data, seed, len(seed)))
    try:
        read_npz(path)
    except DataError:
        pass


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize(
    "images",
    [
        np.asfortranarray(np.arange(4 * 30).reshape(4, 6, 5).astype(np.uint8)),
        np.arange(4 * 30).reshape(4, 6, 5).astype(">i4"),
        np.arange(4 * 90).reshape(4, 3, 6, 5).astype(np.uint8)[:, ::-1],
    ],
    ids=["by columns", "big-endian", "reversed"],
)
def test_arrays_of_any_layout_are_read_as_numpy_reads_them(
    images: np.ndarray, save: Callable[..., None], tmp_path: Path
) -> None:
    save(tmp_path / "set.npz", images=images, labels=np.arange(4) % 2, classes=["é", "日本語"])
    found = read_npz(tmp_path / "set.npz")["all"]
    with np.load(tmp_path / "set.npz") as wanted:
        assert np.array_equal(found.images.squeeze(), wanted["images"].astype(np.uint8))
    assert found.classes == ("é", "日本語")


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    images = np.random.default_rng(0).integers(0, 256, (40, 20, 20), dtype=np.uint8)
    np.savez(path, images=images, labels=np.arange(40) % 2)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="damaged or truncated"):
        read_npz(path)


@pytest.mark.parametrize("kept", [0, 1, 4799])
def test_an_array_that_ends_early_is_refused_even_if_its_checksum_is_right(
    kept: int, tmp_path: Path
) -> None:
    """The rest of the array would be whatever was in memory."""
    whole = io.BytesIO()
    np.save(whole, np.zeros((12, 20, 20), np.uint8))
    path = tmp_path / "set.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", whole.getvalue()[: len(whole.getvalue()) - 4800 + kept])
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = struct.pack("<I", len(whole.getvalue()))
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"damaged or truncated|declares 4,800 bytes"):
        read_npz(path)


def test_a_zip_file_of_images_is_refused_at_once(tmp_path):
    """Comparing each of its names with ours would take long."""
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(50_000):
            archive.writestr(f"cat/{number}.png", b"")
    with pytest.raises(DataError, match=r"'cat/19.png' and 49980 more; save images") as caught:
        read_npz(path)
    assert "did you mean" not in str(caught.value)


def test_a_header_of_python_2_is_read_without_a_warning(tmp_path):
    path = npz(tmp_path, images=GRAY, labels=LABELS)
    header = b"{'descr': '<i8', 'fortran_order': False, 'shape': (4L,), }\n"
    array = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + LABELS.tobytes()
    with zipfile.ZipFile(path) as whole:
        images = whole.read("images.npy")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", images)
        archive.writestr("labels.npy", array)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert read_npz(path)["all"].labels.tolist() == LABELS.tolist()
    assert not said
