"""Small stand-ins for the known data sets, and for the one model that takes minutes.

The data sets have the shapes and classes of the real ones. They are made of the real digits that
come with scikit-learn, enlarged, so that a model can learn from them.
"""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from sklearn.datasets import load_digits

from tenfold.data import load
from tenfold.data.catalog.entries import CatalogEntry
from tenfold.models import MODELS
from tenfold.models.convpool import ConvPool
from tenfold.types import ImageShape, LabeledArrays

TRAIN_IMAGES = {"fashion-mnist": 6464, "mnist": 1280, "cifar10": 400}
"""Where the lessons print something every 100 batches, just enough for that."""

DIFFERENT_IMAGES = 1500
"""The others are repetitions; the rest of the digits is the test split."""


def small_data_sets(entry: CatalogEntry, **options: Any) -> dict[str, LabeledArrays]:
    """The splits of a known data set, in the place of the reader of its files."""
    if entry.name not in TRAIN_IMAGES:
        return _read_named(entry, **options)
    digits = load_digits()
    channels, height, width = entry.image_shape
    images = torch.nn.functional.interpolate(
        torch.from_numpy(digits.images / 16).float()[:, None], (height, width), mode="bilinear"
    )
    tint = torch.tensor([1.0, 0.8, 0.5])[:channels].view(1, -1, 1, 1)
    pixels = (images * tint * 255).round().to(torch.uint8).numpy()
    labels = digits.target.astype(np.int64)
    indices = {
        "train": np.arange(TRAIN_IMAGES[entry.name]) % DIFFERENT_IMAGES,
        "test": np.arange(DIFFERENT_IMAGES, len(labels)),
    }
    return {
        split: LabeledArrays(pixels[chosen], labels[chosen], entry.classes)
        for split, chosen in indices.items()
    }


_read_named = load.read_named


class NarrowConvPool(ConvPool):
    """ConvPool with 1/32 of the requested channels and 1/64 of the hidden units."""

    def __init__(
        self,
        input_shape: ImageShape,
        classes: int,
        *,
        channels: tuple[int, ...] = (64, 128),
        kernels: tuple[int, ...] = (11, 5),
        hidden: tuple[int, ...] = (2048, 1024),
        dropout: float = 0.3,
    ) -> None:
        super().__init__(
            input_shape,
            classes,
            channels=tuple(max(1, each // 32) for each in channels),
            kernels=kernels,
            hidden=tuple(max(1, each // 64) for each in hidden),
            dropout=dropout,
        )


SMALL_DATA = patch.object(load, "read_named", small_data_sets)
"""Reads the stand-ins wherever a known data set is named."""

SMALL_MODEL = patch.dict(MODELS, convpool=f"{__name__}:NarrowConvPool")
"""Builds the narrow model wherever the wide one is requested."""
