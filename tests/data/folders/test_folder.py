"""Class folders as a whole: layouts, sizes and channels, the cache."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from class_folders import (
    SPLIT,
    TWO_CLASSES,
    directory,
    every_source,
    load,
    main_sources,
    picture,
    read,
    source,
    tar,
    zipped,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenfold.data.folders.folder import read_image_folder
from tenfold.errors import DataError, UsageError


@every_source
def test_classes_without_splits(tmp_path, kind):
    splits, notes = read(source(kind, tmp_path, TWO_CLASSES))
    assert list(splits) == ["all"]
    arrays = splits["all"]
    assert arrays.classes == ("cat", "dog")
    assert arrays.labels.tolist() == [0, 0, 1]
    assert arrays.names == ("cat/1.png", "cat/2.png", "dog/1.png")
    assert arrays.images[:, 0, 3, 3].tolist() == [10, 20, 30]
    assert arrays.images.flags.c_contiguous
    assert arrays.images.shape == (3, 3, 8, 8)
    assert notes == []


@every_source
@pytest.mark.parametrize("wrapper", ["", "pictures/", "a/b/", "./"])
def test_splits_and_wrapping_folders(tmp_path, kind, wrapper):
    files = {wrapper + name: data for name, data in SPLIT.items()}
    splits, _ = read(source(kind, tmp_path, files))
    assert list(splits) == ["train", "val", "test"]
    for split, arrays in splits.items():
        assert arrays.labels.tolist() == [0, 0, 1]
        assert arrays.names[2].endswith(f"{split}/dog/1.png")


@pytest.mark.parametrize("name", ["valid", "validation", "Val", "VALIDATION"])
def test_other_names_of_validation(tmp_path, name):
    files = {key.replace("val/", f"{name}/"): data for key, data in SPLIT.items()}
    assert list(read(directory(tmp_path, files))[0]) == ["train", "val", "test"]


def test_one_wrapped_split_is_that_split(tmp_path):
    files = {f"set/train/{name}": data for name, data in TWO_CLASSES.items()}
    assert list(read(directory(tmp_path, files))[0]) == ["train"]


def test_a_class_may_be_called_train(tmp_path):
    files = {"train/1.png": picture(1), "tram/1.png": picture(2)}
    arrays = read(directory(tmp_path, files))[0]["all"]
    assert arrays.classes == ("train", "tram")


def test_the_order_does_not_depend_on_the_archive(tmp_path):
    backwards = dict(reversed(SPLIT.items()))
    one, _ = read(zipped(tmp_path / "one.zip", SPLIT))
    two, _ = read(tar(tmp_path / "two.tar", backwards))
    for split in one:
        assert one[split].names == two[split].names
        assert np.array_equal(one[split].images, two[split].images)


@every_source
def test_the_order_is_that_of_the_classes(tmp_path, kind):
    """As text, `cat-1/1.png` comes before `cat/1.png`."""
    files = {"cat-1/1.png": picture(10), "cat/2.png": picture(20), "cat/1.png": picture(30)}
    arrays = read(source(kind, tmp_path, files))[0]["all"]
    assert arrays.classes == ("cat", "cat-1")
    assert arrays.labels.tolist() == [0, 0, 1]
    assert arrays.names == ("cat/1.png", "cat/2.png", "cat-1/1.png")
    assert arrays.images[:, 0, 3, 3].tolist() == [30, 20, 10]


def test_images_may_lie_deeper_in_their_class(tmp_path):
    files = {**TWO_CLASSES, "dog/more/still/2.png": picture(40)}
    splits, _ = read(directory(tmp_path, files))
    assert splits["all"].labels.tolist() == [0, 0, 1, 1]


ACCEPTED = {
    "one class": ({"cat/1.png": picture()}, {"all": {"cat": 1}}),
    "only a test split": ({"test/cat/1.png": picture()}, {"test": {"cat": 1}}),
    "an empty class": ({**TWO_CLASSES, "emu/": b""}, {"all": {"cat": 2, "dog": 1, "emu": 0}}),
    "a class of text": ({**TWO_CLASSES, "emu/a": b"x"}, {"all": {"cat": 2, "dog": 1, "emu": 0}}),
    "different classes": (
        {"train/cat/1.png": picture(), "test/dog/1.png": picture(), "test/emu/": b""},
        {"train": {"cat": 1, "dog": 0, "emu": 0}, "test": {"cat": 0, "dog": 1, "emu": 0}},
    ),
}
"""Readable folders, not all of which can be trained on: images by split and class."""


@main_sources
@pytest.mark.parametrize("case", ACCEPTED)
def test_data_that_cannot_be_trained_on_is_still_read(tmp_path, kind, case):
    files, wanted = ACCEPTED[case]
    splits, _ = read(source(kind, tmp_path, files))
    found = {
        split: {name: int((part.labels == label).sum()) for label, name in enumerate(part.classes)}
        for split, part in splits.items()
    }
    assert found == wanted


REFUSED = {
    "nothing at all": ({}, "no images in it; wanted"),
    "other files": ({"a/b.csv": b"1"}, r"no images in it, only a/b\.csv"),
    "images outside": (
        {**TWO_CLASSES, "a.png": picture(), "b.png": picture()},
        r"2 images outside class folders: a\.png, b\.png; move them into class folders",
    ),
    "images only": (
        {"a.png": picture(), "b.png": picture()},
        "2 images outside .*; wanted CLASS/IMAGE.*; or say where .*--label-from .*--labels",
    ),
    "images in a split": (
        {**SPLIT, "train/a.png": picture()}, r"1 image outside .*: train/a\.png"
    ),
    "splits of images": (
        {"train/1.png": picture(), "test/1.png": picture()}, "2 images outside"
    ),
    "splits beside others": (
        {**SPLIT, "extra/cat/1.png": picture()},
        "1 other folder next to the split folders 'test', 'train', 'val': 'extra'; move each",
    ),
    "a split beside others": (
        {f"{name}/cat/1.png": picture() for name in ("train", "more", "most")},
        "2 other folders next to the split folder 'train': 'more', 'most'; move each",
    ),
    "one split twice": (
        {**SPLIT, "valid/cat/1.png": picture()},
        "several folders are the same split: 'train', 'val', 'valid', 'test'; keep",
    ),
    "unprintable classes": (
        {**TWO_CLASSES, "\x1b[31m/1.png": picture()}, r"unprintable characters: '\\x1b\[31m'"
    ),
}  # fmt: skip


@main_sources
@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_a_layout_is_refused(tmp_path, kind, case):
    files, message = REFUSED[case]
    path = source(kind, tmp_path, files)
    path.mkdir(exist_ok=True) if kind == "directory" else None
    with pytest.raises(DataError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("wanted", [{"channels": 2}, {"size": (0, 8)}, {"size": (8, 5000)}])
def test_a_shape_out_of_range_is_refused(tmp_path, wanted):
    with pytest.raises(UsageError):
        read(directory(tmp_path, TWO_CLASSES), **wanted)


def test_small_images_of_one_size_keep_it(tmp_path):
    files = {"a/1.png": picture(1, (28, 40)), "b/1.png": picture(2, (28, 40))}
    assert read(directory(tmp_path, files))[0]["all"].images.shape == (2, 3, 28, 40)


@pytest.mark.parametrize(
    ("sizes", "wanted", "note"),
    [
        (
            [(20, 30), (40, 24), (90, 50)],
            (32, 32),
            "images have 3 sizes from 20x30 to 90x50, scaled to 32x32 (height x width)",
        ),
        (
            [(200, 100)] * 3,
            (88, 48),
            "images are 200x100, scaled to 88x48 (height x width) without cropping",
        ),
        ([(128, 128)] * 3, (64, 64), "images are 128x128, scaled to 64x64 (height x width)"),
    ],
)
def test_other_images_are_scaled_to_one_size(tmp_path, sizes, wanted, note):
    files = {f"{'ab'[i % 2]}/{i}.png": picture(i, size) for i, size in enumerate(sizes)}
    splits, notes = read(directory(tmp_path, files))
    assert splits["all"].images.shape[2:] == wanted
    assert notes[0].startswith(note)


def test_a_chosen_size_wins(tmp_path):
    splits, notes = read(directory(tmp_path, TWO_CLASSES), size=(12, 10), channels=1)
    assert splits["all"].images.shape == (3, 1, 12, 10)
    assert notes[1] == "3 of 3 images are in color, read as gray"


def test_channels_follow_the_images(tmp_path):
    gray = {"a/1.png": picture(1, mode="L"), "b/1.png": picture(2, mode="L")}
    splits, _ = read(directory(tmp_path / "gray", gray))
    assert splits["all"].images.shape[1] == 1
    splits, notes = read(directory(tmp_path / "mixed", {**gray, "b/2.png": picture(3)}))
    assert splits["all"].images.shape[1] == 3
    assert notes == ["2 of 3 images are gray, read as color"]
    (tmp_path / "mixed/b/2.png").write_bytes(picture(3, mode="L"))
    (tmp_path / "mixed/a/1.png").write_bytes(picture(3))
    (tmp_path / "mixed/b/3.png").write_bytes(picture(4))
    assert read(tmp_path / "mixed", channels=1)[1] == ["2 of 4 images are in color, read as gray"]
    (tmp_path / "mixed/b/3.png").unlink()
    (tmp_path / "mixed/b/2.png").unlink()
    assert read(tmp_path / "mixed")[1] == ["1 of 2 images is gray, read as color"]


@pytest.mark.parametrize("pack", [zipped, tar])
def test_duplicate_names_are_refused(tmp_path, pack, recwarn):
    path = pack(tmp_path / "x", {**TWO_CLASSES, "./cat/1.png": picture()})
    if pack is tar:
        path = path.rename(tmp_path / "x.tar")
    with pytest.raises(DataError, match=r"duplicate names in the archive: cat/1\.png"):
        read(path)


@given(
    st.lists(
        st.lists(
            st.sampled_from(["train", "test", "cat", "dog", ".x", "..", "1.png", "a.txt", "é"]),
            min_size=1, max_size=4,
        ),
        max_size=8,
    )
)  # fmt: skip
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_layout_raises_only_our_errors(tmp_path, names):
    path = tar(tmp_path / "x.tar", {"/".join(parts): picture() for parts in names})
    try:
        splits, _ = read(path)
    except DataError:
        return
    for arrays in splits.values():
        assert len(arrays.images) == len(arrays.labels) == len(arrays.names)
        for label, name in zip(arrays.labels, arrays.names, strict=True):
            assert arrays.classes[label] in name.split("/")


@main_sources
def test_the_second_load_comes_from_the_cache(tmp_path, monkeypatch, kind):
    path = source(kind, tmp_path, {**SPLIT, "train/cat/x.txt": b""})
    first, notes = load(path)
    monkeypatch.setattr("tenfold.data.folders.folder.read_image_folder", None)
    second, notes_again = load(path)
    assert notes_again == notes != []
    for split, arrays in first.items():
        again = second[split]
        assert np.array_equal(again.images, arrays.images)
        assert np.array_equal(again.labels, arrays.labels)
        assert (again.classes, again.names) == (arrays.classes, arrays.names)


def test_options_equal_to_the_chosen_defaults_are_not_decoded_again(tmp_path, monkeypatch):
    root = directory(tmp_path / "data", TWO_CLASSES)
    first, _ = load(root)
    monkeypatch.setattr("tenfold.data.folders.folder.read_image_folder", None)
    again, _ = load(root, size=(8, 8), channels=3)
    assert np.array_equal(again["all"].images, first["all"].images)


def test_other_options_and_changed_files_are_decoded_again(tmp_path):
    root = directory(tmp_path / "data", TWO_CLASSES)
    assert load(root)[0]["all"].images.shape == (3, 3, 8, 8)
    assert load(root, size=(5, 5))[0]["all"].images.shape == (3, 3, 5, 5)
    assert load(root, channels=1)[0]["all"].images.shape == (3, 1, 8, 8)
    (root / "cat/1.png").write_bytes(picture(77))
    assert load(root)[0]["all"].images[0, 0, 0, 0] == 77


@pytest.mark.parametrize(
    ("changed", "version"),
    [("PIL.__version__", "0.0.1"), ("tenfold.data.folders.folder.DECODING_VERSION", 0)],
)
def test_another_version_of_the_decoder_decodes_again(tmp_path, monkeypatch, changed, version):
    root, calls = directory(tmp_path / "data", TWO_CLASSES), []

    def recorded(*arguments):
        calls.append(arguments)
        return read_image_folder(*arguments)

    monkeypatch.setattr("tenfold.data.folders.folder.read_image_folder", recorded)
    load(root)
    load(root)
    assert len(calls) == 1
    monkeypatch.setattr(changed, version)
    load(root)
    assert len(calls) == 2


def test_an_unusable_cache_only_gives_a_note(tmp_path, monkeypatch):
    root = directory(tmp_path / "data", TWO_CLASSES)
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path / "file"))
    splits, notes = load(root)
    assert len(splits["all"].images) == 3
    assert "not cached: " in notes[0]


def test_files_that_change_during_reading_are_not_cached(tmp_path, monkeypatch):
    root = directory(tmp_path / "data", TWO_CLASSES)

    def read_and_change(*arguments):
        decoded = read_image_folder(*arguments)
        (root / "dog/2.png").write_bytes(picture(1))
        return decoded

    monkeypatch.setattr("tenfold.data.folders.folder.read_image_folder", read_and_change)
    assert "changed during reading" in load(root)[1][-1]
    assert not list(Path(os.environ["TENFOLD_CACHE"]).rglob("*.safetensors"))
