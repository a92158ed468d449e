"""Array shapes as types: what is in an array, in which order.

The names are checked while the tests run; a type checker reads them as plain arrays.
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int64, UInt8

from tenfold.errors import UsageError

PixelArray = UInt8[np.ndarray, "n channels height width"]
"""Raw pixels, 0..255."""

LabelArray = Int64[np.ndarray, " n"]
"""Class indices, 0..classes-1."""


class ImageShape(NamedTuple):
    """The shape of one image, without the batch."""

    channels: int
    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.channels}x{self.height}x{self.width}"


class WantedShape(NamedTuple):
    """What images are brought to; None leaves them as they are, or to the reader of folders."""

    size: tuple[int, int] | None = None
    """Height and width."""
    channels: int | None = None
    """1 for gray, 3 for color."""


class LabeledArrays(NamedTuple):
    """What a reader of files returns for one split, not yet a data set."""

    images: PixelArray
    labels: LabelArray
    classes: tuple[str, ...]
    names: tuple[str, ...] | None = None
    """Where each image came from, one name an image; None for formats without names."""


def is_tensor(value: object) -> bool:
    """Whether this is a tensor of PyTorch's, or of a subclass, without importing it."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def as_array(values: Any) -> np.ndarray:  # noqa: ANN401 (whatever NumPy takes, and tensors)
    """A NumPy array of these values, over the same memory where that can be.

    A tensor on another device is copied.

    Raises:
        UsageError: a tensor is of a type that NumPy does not have.
    """
    if not is_tensor(values):
        return np.asarray(values)
    try:
        array: np.ndarray = values.detach().cpu().numpy()
    except TypeError as error:
        raise UsageError(f"found a tensor of {values.dtype}, which NumPy does not have") from error
    return array


def in_memory_order(array: np.ndarray) -> np.ndarray:
    """The array as one writable block of memory that a tensor can be made over.

    It is not copied where that can be avoided. An axis of length 1 gets the stride that PyTorch
    would give it: by other strides PyTorch may take the images for channels-last, and convolve
    them by another algorithm, with other last bits.
    """
    block = np.require(array, requirements=["C", "W"])
    return block.reshape(-1).reshape(block.shape)
