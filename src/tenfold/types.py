"""Array shapes as types: what is in a tensor, in which order.

The names are checked while the tests run; a type checker reads them as plain tensors and arrays.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

Images = UInt8[Tensor, "n channels height width"]
"""Raw pixels, 0..255, as they lie in an `ImageDataset`."""

Labels = Int64[Tensor, " n"]
"""Class indices, 0..classes-1."""

Logits = Float[Tensor, "n classes"]
"""Unnormalised scores; softmax over the last axis gives probabilities."""

PixelArray = UInt8[np.ndarray, "n channels height width"]
"""The same as `Images`, before it becomes a tensor."""

LabelArray = Int64[np.ndarray, " n"]
"""The same as `Labels`, before it becomes a tensor."""


class ImageShape(NamedTuple):
    """The shape of one image, without the batch."""

    channels: int
    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.channels}x{self.height}x{self.width}"


class LabelledArrays(NamedTuple):
    """What a reader of files returns for one split, not yet a data set."""

    images: PixelArray
    labels: LabelArray
    classes: tuple[str, ...]
    names: tuple[str, ...] | None = None
    """Where each image came from, one name an image; None for formats without names."""
