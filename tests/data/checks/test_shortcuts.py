"""Formats, sizes and brightness that give classes away are found; ordinary differences are not."""

from __future__ import annotations

import numpy as np
import pytest

from small_images import digits
from tenfold.data.checks.shortcuts import find_shortcuts
from tenfold.data.dataset import ImageDataset
from tenfold.types import Originals

N = 400


def texts(
    formats: list[str] | None = None,
    sizes: np.ndarray | None = None,
    images: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    classes: str = "ab",
) -> list[str]:
    generator = np.random.default_rng(0)
    if images is None:
        images = generator.integers(0, 256, (N, 1, 6, 6), np.uint8)
    labels = np.arange(N) % len(classes) if labels is None else labels
    originals = Originals(
        np.full((N, 2), 30, np.int32) if sizes is None else sizes.astype(np.int32),
        tuple(formats or ["JPEG"] * N),
    )
    train = ImageDataset(images, labels, classes, originals=originals)
    return [finding.text for finding in find_shortcuts(train)]


def test_nothing_gives_noise_away() -> None:
    assert texts() == []


@pytest.mark.parametrize("seed", range(20))
def test_chance_is_not_a_shortcut(seed: int) -> None:
    generator = np.random.default_rng(seed)
    found = texts(
        [("JPEG", "PNG", "BMP")[kind] for kind in generator.integers(0, 3, N)],
        generator.integers(20, 400, (N, 2)),
        generator.integers(0, generator.integers(2, 256, (N, 1, 1, 1)), (N, 1, 6, 6), np.uint8),
        generator.permutation(np.arange(N) % 5),
        "abcde",
    )
    assert found == []


def test_the_brightness_of_digits_is_not_a_shortcut() -> None:
    assert list(find_shortcuts(digits())) == []


def test_a_format_for_each_class() -> None:
    (text,) = texts(["JPEG", "PNG"] * (N // 2))
    assert text == (
        "the file's format alone gives away the class of 100 % of the images (chance: 50 %, "
        "classes counted equally): 'a' (JPEG), 'b' (PNG)"
    )


def test_a_format_for_most_images_of_each_class() -> None:
    formats = np.array(["JPEG", "PNG"] * (N // 2))
    formats[:40] = "JPEG"  # 5 % of the images have that of the other class
    (text,) = texts(formats.tolist())
    assert "the class of 95 % of the images" in text
    assert text.endswith(": 'a' (JPEG), 'b' (90 % PNG)")


def test_a_size_for_one_class_of_five() -> None:
    generator, labels = np.random.default_rng(0), np.arange(N) % 5
    sizes = generator.integers(20, 400, (N, 2))
    sizes[labels == 3] = 64
    found = texts(sizes=sizes, labels=labels, classes="abcde")
    assert found == ["the image's size alone gives away 'd' (64 x 64)"]


def test_larger_pictures_of_one_class() -> None:
    generator, labels = np.random.default_rng(0), np.arange(N) % 2
    sizes = generator.integers(20, 110, (N, 2)) + 60 * labels[:, None]
    (text,) = texts(sizes=sizes, labels=labels)
    assert text.startswith("the image's area alone gives away the class of ")


def test_brighter_pictures_of_one_class() -> None:
    generator, labels = np.random.default_rng(0), np.arange(N) % 2
    images = generator.integers(0, 120, (N, 1, 6, 6)) + 100 * labels[:, None, None, None]
    found = texts(images=images.astype(np.uint8), labels=labels)
    assert [text.partition(" alone")[0] for text in found] == ["the mean brightness"]
    assert "'a' (about 60), 'b' (about 160)" in found[0]


def test_a_class_of_a_few_images_is_left_out() -> None:
    labels = np.array([0] * (N - 9) + [1] * 9)
    formats = ["JPEG"] * (N - 9) + ["PNG"] * 9
    assert texts(formats, labels=labels) == []
