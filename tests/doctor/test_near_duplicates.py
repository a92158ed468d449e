"""Copies that were saved again, scaled, moved or brightened are found, and little else."""

from __future__ import annotations

import io
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from tenfold.data import load_splits
from tenfold.data.dataset import ImageDataset
from tenfold.doctor import near_duplicates
from tenfold.doctor.near_duplicates import GrayOf, find_near_duplicates, near_pairs


def smooth(n: int, side: int = 32, channels: int = 1, seed: int = 0) -> np.ndarray:
    """Different pictures: sums of random waves, with some noise, as photographs have it."""
    generator = np.random.default_rng(seed)
    down, across = np.mgrid[:side, :side] / side
    images = np.zeros((n, channels, side, side))
    for _ in range(12):
        waves = generator.normal(0, 6, (4, n, channels, 1, 1))
        images += generator.normal(0, 18, (n, channels, 1, 1)) * np.cos(
            waves[0] * down + waves[1] * across + waves[2]
        )
    images += 110 + generator.normal(0, 3, images.shape)
    return images.clip(0, 210).astype(np.uint8)


def saved(pixels: np.ndarray, quality: int) -> np.ndarray:
    array = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
    encoded = io.BytesIO()
    Image.fromarray(array).save(encoded, "JPEG", quality=quality)
    decoded = np.asarray(Image.open(encoded))
    return decoded[None] if decoded.ndim == 2 else decoded.transpose(2, 0, 1)


def scaled(pixels: np.ndarray) -> np.ndarray:
    side = pixels.shape[-1]
    image = Image.fromarray(pixels[0]).resize((side * 3 // 4,) * 2, Image.Resampling.BILINEAR)
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR))[None]


def gray_of(images: np.ndarray) -> GrayOf:
    return lambda places: images[places, 0].astype(np.float32)


COPIES = {
    "saved as JPEG": lambda image: saved(image, 75),
    "scaled": scaled,
    "moved": lambda image: np.roll(image, (1, -1), (1, 2)),
    "brightened": lambda image: np.minimum(image * 1.2, 255).astype(np.uint8),
    "darkened": lambda image: (image * 0.7).astype(np.uint8),
}


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES.keys())
def test_copies_are_found_and_nothing_else(copied) -> None:
    images = smooth(300)
    sources = [3, 77, 150]
    everything = np.concatenate([images, [copied(images[source]) for source in sources]])
    pairs = near_pairs(len(everything), gray_of(everything))
    found = set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    assert found == {(source, 300 + place) for place, source in enumerate(sources)}


def test_digits_are_not_copies_of_each_other() -> None:
    """Real data, of 8 x 8 pixels, in which many images look alike."""
    train = load_splits("digits", test_fraction=0.0).splits.train
    assert len(find_near_duplicates([train])) <= len(train) / 1000


def test_what_is_said_of_them() -> None:
    images = smooth(40, channels=3)
    labels = np.arange(40) % 2
    train = ImageDataset(images, labels, ("cat", "dog"), names=[f"{i}.png" for i in range(40)])
    copies = np.stack([saved(images[number], 85) for number in (4, 8, 8)])
    copies[2] = np.roll(copies[2], 1, 2)
    test = ImageDataset(copies, np.array([1, 0, 0]), ("cat", "dog"), split="test")
    first, second = find_near_duplicates([train, test])
    assert first.text == "2 images are nearly the same, labeled 'cat', 'dog', in train, test"
    assert [image.name for image in first.images] == ["4.png", "test/0"]
    assert second.text == "3 images are nearly the same, in train, test"
    assert [image.name for image in second.images] == ["8.png", "test/1", "test/2"]


def test_exact_copies_and_images_of_one_color_are_left_out() -> None:
    images = smooth(20)
    images[5], images[6], images[7] = images[4], 200, 205
    assert find_near_duplicates([ImageDataset(images, np.arange(20) % 2, "ab")]) == []


@pytest.mark.parametrize("shape", [(2, 2), (1, 187), (5, 3), (6, 6), (130, 70), (8, 1024)])
@pytest.mark.parametrize("n", [1, 2, 3, 50])
def test_noise_of_any_size_and_number_is_not_alike(shape: tuple[int, int], n: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (n, 1, *shape), np.uint8)
    assert find_near_duplicates([ImageDataset(images, np.zeros(n, np.int64), "ab")]) == []


@pytest.mark.parametrize("shape", [(6, 6), (130, 70), (70, 130), (8, 1024), (64, 65)])
def test_brighter_copies_of_any_size(shape: tuple[int, int]) -> None:
    images = np.random.default_rng(0).integers(0, 200, (9, 3, *shape), np.uint8)
    images[7] = images[2] + np.uint8(20)
    (finding,) = find_near_duplicates([ImageDataset(images, np.zeros(9, np.int64), "ab")])
    assert [image.index for image in finding.images] == [2, 7]


def test_memory_does_not_grow_with_the_square(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "ROOM", 2**20)
    images = smooth(4000, 12)
    tracemalloc.start()
    try:
        near_pairs(4000, gray_of(images))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4000 * 4000 * 4 / 2


def test_progress_reaches_the_end() -> None:
    told: list[tuple[int, int]] = []
    near_pairs(300, gray_of(smooth(300)), lambda done, n: told.append((done, n)))
    assert told[-1] == (300, 300)
