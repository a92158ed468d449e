"""Images of one color, small, long, dark, bright and flat ones; and none in ordinary data."""

from __future__ import annotations

import numpy as np
import pytest

from small_images import digits
from tenfold.data.checks.findings import Finding
from tenfold.data.checks.oddities import find_oddities, is_flat
from tenfold.data.dataset import ImageDataset
from tenfold.types import Originals


def ordinary(n: int = 200, channels: int = 1) -> np.ndarray:
    """Noise of a brightness and a contrast that vary a little."""
    generator = np.random.default_rng(0)
    noise = generator.normal(0, 1, (n, channels, 12, 12))
    light, contrast = generator.uniform(90, 150, n), generator.uniform(30, 50, n)
    pixels = light[:, None, None, None] + contrast[:, None, None, None] * noise
    return pixels.clip(0, 255).astype(np.uint8)


def found_in(images: np.ndarray, originals: Originals | None = None) -> list[Finding]:
    labels = np.arange(len(images)) % 2
    return list(find_oddities([ImageDataset(images, labels, "ab", originals=originals)]))


@pytest.mark.parametrize("images", [ordinary(), ordinary(channels=3), digits(500).image_array])
def test_nothing_is_odd_about_ordinary_images(images: np.ndarray) -> None:
    assert found_in(images) == []


@pytest.mark.parametrize(
    ("color", "text"),
    [
        ((0, 0, 0), "all of it is black"),
        ((3, 2, 5), "all of it is black"),
        ((255, 255, 255), "all of it is white"),
        ((90, 90, 90), "all of it is gray 90"),
        ((200, 30, 90), "all of it is of the color [200, 30, 90]"),
    ],
)
def test_images_of_one_color(color: tuple[int, int, int], text: str) -> None:
    images = ordinary(channels=3)
    images[7] = np.array(color, np.uint8)[:, None, None]
    (finding,) = found_in(images)
    assert (finding.kind, finding.text, finding.images[0].index) == ("blank", text, 7)
    assert finding.delete == (True,)


def test_one_bright_pixel_is_enough() -> None:
    """Wherever it is, although not every pixel is looked at first."""
    images = np.zeros((400, 1, 20, 20), np.uint8)
    images.reshape(400, -1)[np.arange(400), np.arange(400)] = 100
    assert not is_flat(images).any()
    images[5] = 0
    assert np.flatnonzero(is_flat(images)).tolist() == [5]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda image: image // 20, "unusually dark"),
        (lambda image: 240 + image // 16, "unusually bright"),
        (lambda image: 118 + image // 20, "unusually flat"),
    ],
)
def test_images_unlike_the_others(change, word) -> None:
    images = ordinary()
    images[11] = change(images[11])
    (finding,) = found_in(images)
    assert finding.kind == "extreme"
    assert word in finding.text
    assert finding.images[0].index == 11


@pytest.mark.parametrize(
    ("size", "kind"),
    [
        ((5, 6), "tiny"),
        ((12, 100), "extreme"),
        ((100, 12), "extreme"),
        ((12, 30), None),
        ((8, 8), None),
    ],
)
def test_sizes_that_are_odd(size: tuple[int, int], kind: str | None) -> None:
    images = ordinary()
    sizes = np.full((len(images), 2), 40, np.int32)
    sizes[3] = size
    found = found_in(images, Originals(sizes, ("PNG",) * len(images)))
    assert [finding.kind for finding in found] == ([kind] if kind else [])


def test_data_of_long_images_is_not_odd() -> None:
    images = ordinary()
    sizes = np.full((len(images), 2), (20, 200), np.int32)
    assert found_in(images, Originals(sizes, ("PNG",) * len(images))) == []
