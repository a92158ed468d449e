"""The split and class of an image; errors are tested with `folder`."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenfold.data.folders.layout import Places, find_places, says_nothing


def places(*names: str, folders: tuple[str, ...] = ()) -> Places:
    images = [tuple(name.split("/")) for name in names]
    return find_places(Path("data"), images, {tuple(name.split("/")) for name in folders})


def test_classes_are_numbered_by_their_sorted_names():
    found = places("b/1", "a/1", "10/1", "9/1")
    assert found.classes == ("10", "9", "a", "b")
    assert found.of_image == [("all", "b"), ("all", "a"), ("all", "10"), ("all", "9")]


@given(
    st.permutations(["x/train/a/1", "x/train/b/1", "x/test/a/1", "x/test/b/deep/1", "x/test/b/2"])
)
def test_the_order_of_the_images_changes_nothing(names):
    found = places(*names)
    assert found.classes == ("a", "b")
    for name, (split, label) in zip(names, found.of_image, strict=True):
        assert name.split("/")[1:3] == [split, label]


def test_wrappers_and_classes_are_not_confused():
    assert places("only/a/1", "only/b/1").classes == ("a", "b")
    assert places("only/a/1", "only/a/2").classes == ("a",)
    assert places("only/a/1", "only/b/1", folders=("only/c",)).classes == ("a", "b", "c")


@pytest.mark.parametrize(
    ("folder", "nothing"),
    [
        *((name, True) for name in ("images", "Img", "my photos", "all_images", "raw", "JPGs")),
        *((name, True) for name in ("frames", "png", "files", "samples", "images_001", "Data")),
        *((name, True) for name in ("train", "Test Images")),
        *((name, True) for name in ("HAM10000_images_part_1", "images part 2", "DataPart3")),
        *((name, False) for name in ("engine_part_1", "images_part", "cat_images_1")),
        *((name, False) for name in ("cat", "image of a cat", "jpeg artifacts", "my cat", "1")),
    ],
)
def test_names_of_folders_that_say_nothing_about_classes(folder: str, nothing: bool) -> None:
    assert says_nothing(folder) == nothing
