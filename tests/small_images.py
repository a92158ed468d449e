"""Small data sets made in memory: real digits, numbered images, random pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from tenfold.data.dataset import ImageDataset
from tenfold.data.load import LoadedData
from tenfold.listening import Listener

DIGITS = tuple("0123456789")

_GENERATOR = np.random.default_rng(5)
PIXELS = _GENERATOR.integers(0, 256, (40, 1, 6, 5), dtype=np.uint8)
COLOR = _GENERATOR.integers(0, 256, (40, 3, 6, 5), dtype=np.uint8)
LABELS = np.arange(40) % 4


class Readings(Listener):
    """Keeps the progress reports."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int, int | None]] = []

    def reading(self, what: str, done: int, total: int | None) -> None:
        self.calls.append((what, done, total))


def image_dataset(
    pixels: np.ndarray = PIXELS, labels: np.ndarray = LABELS, **options: Any
) -> ImageDataset:
    """Random pixels of four classes."""
    classes = options.pop("classes", "abcd")
    return ImageDataset(torch.tensor(pixels), torch.tensor(labels), classes, **options)


def whole(loaded: LoadedData) -> Tensor:
    """All images of a source that has no splits."""
    assert loaded.splits.test is None
    return loaded.splits.train.images


def digits(n: int = 1797, **named: Any) -> ImageDataset:
    """The first of scikit-learn's digits."""
    bunch = load_digits()
    images = torch.from_numpy((bunch.images[:n, None] * 15).astype(np.uint8))
    return ImageDataset(images, torch.from_numpy(bunch.target[:n]).long(), DIGITS, **named)


def numbered(labels: list[int], classes: int) -> ImageDataset:
    """A data set whose images encode their own index."""
    n = len(labels)
    pixels = np.arange(n, dtype="<u4").view(np.uint8).reshape(n, 1, 2, 2).copy()
    return ImageDataset(
        torch.from_numpy(pixels),
        torch.tensor(labels),
        [f"class {label}" for label in range(classes)],
        names=[f"image {i}" for i in range(n)],
    )


def numbers(dataset: ImageDataset) -> list[int]:
    """The indices of images in a numbered data set."""
    found: list[int] = dataset.image_array.reshape(-1).view("<u4").tolist()
    return found
