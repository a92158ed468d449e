"""Names that look like several images of one thing, and the expression that keeps them together."""

from __future__ import annotations

import re
import shlex

import pytest

from tenfold.data.folders.bursts import OF_FOLDERS, OF_NAMES, burst_hint
from tenfold.data.folders.layout import UNSPLIT, Places

CLASSES = ("cat", "dog")


def hint(names: list[str], split: str = UNSPLIT) -> str:
    """What is said about images in class folders with these names."""
    images = [(label, *name.split("/")) for label in CLASSES for name in names]
    return burst_hint(images, Places(CLASSES, [(split, parts[0]) for parts in images]))


PERSONS = [f"person_{person}_{i}.jpg" for person in range(4) for i in range(5)]


def groups_of(said: str, names: list[str]) -> set[str]:
    """The groups that the named expression finds in names of both classes."""
    option, expression = shlex.split(said.partition("keep them together with ")[2])
    assert option == "--group-by"
    found = [re.search(expression, f"{label}/{name}") for label in CLASSES for name in names]
    assert all(found)
    return {match[1] for match in found if match}


def test_one_thing_in_several_classes_is_one_group() -> None:
    said = hint(PERSONS)
    assert "cat/person_0_0.jpg and cat/person_0_1.jpg look like several images" in said
    assert groups_of(said, PERSONS) == {f"person_{person}_" for person in range(4)}


def test_folders_of_frames() -> None:
    names = [f"video {video}/{i:04}.jpg" for video in range(3) for i in range(4)]
    assert groups_of(hint(names), names) == {
        f"{label}/video {video}" for label in CLASSES for video in range(3)
    }


@pytest.mark.parametrize(
    "names",
    [
        [f"IMG_{number}.JPG" for number in range(1000, 1030)],
        [f"P{number}.JPG" for number in range(1000100, 1000130)],
        [f"{number}.png" for number in range(30)],
        [f"thing {letter}.png" for letter in "abcdefghijkl"],
        [f"person_{person}_0.jpg" for person in range(12)],
        PERSONS[:10],
        [],
    ],
    ids=["phone", "camera", "numbers", "no numbers", "one of each", "two bursts", "none"],
)
def test_names_that_say_nothing(names: list[str]) -> None:
    assert hint(names) == ""


def test_images_in_deeper_folders_of_camera_names() -> None:
    """The folders may be anything; with few of them, nothing is said."""
    names = [f"{side}/IMG_{number}.JPG" for side in ("front", "back") for number in range(9)]
    assert hint(names) == ""


def test_no_hint_where_test_images_are_given() -> None:
    images = [(split, "cat", name) for split in ("train", "test") for name in PERSONS]
    places = Places(("cat",), [(parts[0], "cat") for parts in images])
    assert burst_hint(images, places) == ""
    assert hint(PERSONS, "train") != ""


def test_the_expressions() -> None:
    """Where the first finds something, the second finds the same; elsewhere, something."""
    for expressions, name, found in (
        (OF_NAMES, "a/b12_34.tar.png", ["b12_", "b12_"]),
        (OF_NAMES, "a/b/7.png", [None, "7"]),
        (OF_NAMES, "a/cover.png", [None, "c"]),
        (OF_FOLDERS, "a/b/7.png", ["a/b", "a/b"]),
        (OF_FOLDERS, "a/7.png", [None, "a"]),
    ):
        matches = [re.search(expression, name) for expression in expressions]
        assert [match and match[1] for match in matches] == found


def test_many_other_names_matter() -> None:
    assert hint([*PERSONS, *(f"cover {letter}.png" for letter in "abc")]) == ""


def test_a_few_other_names_do_not_matter() -> None:
    names = [*PERSONS, "cover.png"]
    assert len(groups_of(hint(names), names)) == 5


@pytest.mark.parametrize(
    "name",
    ["a" * 200_000 + ".png", "1" * 200_000 + "/x.png", "a/" * 30_000 + "\n/b/x.png"],
    ids=["letters", "digits", "folders"],
)
def test_long_names_take_little_time(name: str) -> None:
    """They would take minutes if the time grew with the square of the length."""
    assert hint([name]) == ""
