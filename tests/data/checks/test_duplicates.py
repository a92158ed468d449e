"""Images that are equal in every pixel are found, and no others."""

from __future__ import annotations

import tracemalloc

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.data.checks.duplicates import equal_images, find_duplicates
from tenfold.data.dataset import ImageDataset


def noise(n: int, shape: tuple[int, int, int] = (1, 6, 5), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), np.uint8)


@settings(deadline=None, max_examples=100)
@given(
    originals=st.lists(st.integers(0, 5), min_size=1, max_size=30),
    cut=st.integers(0, 30),
    shape=st.sampled_from([(1, 1, 2), (1, 6, 5), (3, 4, 4), (1, 28, 28), (3, 40, 33)]),
)
def test_the_groups_are_those_of_a_plain_comparison(
    originals: list[int], cut: int, shape: tuple[int, int, int]
) -> None:
    pixels = noise(6, shape)
    images = pixels[originals]
    images[0].flat[-1] ^= 1  # differs from its copies in one bit
    found = equal_images([images[:cut], images[cut:]])
    expected: dict[bytes, list[int]] = {}
    for place, image in enumerate(images):
        if len(set(image.flat)) > 1:
            expected.setdefault(image.tobytes(), []).append(place)
    assert [group.tolist() for group in found] == [
        group for group in expected.values() if len(group) > 1
    ]


def test_images_of_one_value_are_not_copies_of_each_other() -> None:
    assert equal_images([np.zeros((5, 1, 6, 6), np.uint8)]) == []


def test_images_of_different_sizes_are_not_equal() -> None:
    wide = noise(3, (1, 4, 6))
    assert equal_images([wide, wide.reshape(3, 1, 6, 4)]) == []


def test_images_with_the_same_border_are_told_apart_by_few_pixels() -> None:
    """Comparing all of them in full would take as much memory as they do."""
    images = np.full((500, 3, 64, 64), 255, np.uint8)
    images[:, :, 8:-8, 8:-8] = np.random.default_rng(0).integers(0, 256, (500, 3, 48, 48))
    tracemalloc.start()
    try:
        assert equal_images([images]) == []
        assert tracemalloc.get_traced_memory()[1] < images.nbytes / 10
    finally:
        tracemalloc.stop()


def test_images_that_differ_in_any_one_pixel_are_not_equal() -> None:
    images = np.arange(150, dtype=np.uint8).reshape(1, 1, 10, 15).repeat(151, axis=0)
    images[1:].reshape(150, 150)[np.diag_indices(150)] ^= 1
    assert equal_images([images]) == []
    assert [group.tolist() for group in equal_images([images, images[7:8]])] == [[7, 151]]


def test_what_is_said_of_copies() -> None:
    pixels = noise(6)
    train = ImageDataset(
        pixels[[0, 1, 0, 2, 3, 3]], np.array([0, 0, 0, 1, 0, 1]), ("cat", "dog"), names="abcdef"
    )
    test = ImageDataset(pixels[[1, 4]], np.array([0, 1]), ("cat", "dog"), split="test")
    found = find_duplicates([train, test])
    assert [(f.kind, [i.name for i in f.images], f.delete, f.text) for f in found] == [
        ("duplicates", ["a", "c"], (False, True), "the same image 2 times"),
        ("across-splits", ["b", "test/0"], (True, False), "the same image is in train, test"),
        ("two-labels", ["e", "f"], (False, False), "the same image is labeled 'cat', 'dog'"),
    ]
