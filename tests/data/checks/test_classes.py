"""Classes without images, of similar names, and of very different sizes."""

from __future__ import annotations

import numpy as np
import pytest

from tenfold.data.checks.classes import find_in_classes, similar_pairs
from tenfold.data.dataset import ImageDataset


@pytest.mark.parametrize(
    ("one", "other", "similar"),
    [
        ("Cat", "cat", True),
        ("great_dane", "great dane", True),
        ("dog", "dogs", True),
        ("boxes", "box", True),
        ("dalmatian", "dalmation", True),
        ("labrador", "labardor", True),
        ("retriever", "retreiver", True),
        ("poodle", "podle", True),
        ("cat", "car", False),
        ("mouse", "house", False),
        ("class_1", "class_2", False),
        ("n01440764", "n01440765", False),
        ("1", "l", False),
        ("a", "as", True),
        ("左", "右", False),
        ("beagle", "eagles", False),
    ],
)
def test_names_that_are_nearly_the_same(one: str, other: str, similar: bool) -> None:
    assert similar_pairs([one, "else", other]) == ([(one, other)] if similar else [])
    assert similar_pairs([other, one]) == ([(other, one)] if similar else [])


def test_names_are_found_among_many() -> None:
    names = [f"class {number}" for number in range(5000)]
    assert similar_pairs([*names, "Class 7"]) == [("class 7", "Class 7")]


def data(counts: list[int], classes: str) -> ImageDataset:
    labels = np.repeat(np.arange(len(counts)), counts)
    images = np.random.default_rng(0).integers(0, 256, (len(labels), 1, 4, 4), np.uint8)
    return ImageDataset(images, labels, classes)


def test_classes_of_one_size_are_fine() -> None:
    assert list(find_in_classes([data([9, 9, 1], "abc")])) == []


def test_empty_and_rare_classes() -> None:
    found = list(find_in_classes([data([30, 0, 3, 4], "abcd")]))
    assert [(finding.kind, finding.text) for finding in found] == [
        ("empty-class", "'b' has no images"),
        ("imbalance", "'a' has 30 training images, at least 10 times as many as 'c' (3)"),
    ]
