"""Array shapes as types.

Shapes are checked while the tests run; a type checker sees plain arrays.
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int32, Int64, UInt8

from tenfold.errors import UsageError
from tenfold.resizing import DEFAULT_RESIZE, Resize, Size

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
    """The target size and channels of images, and how they are brought to that size.

    None leaves the choice to the reader of class folders, and other images as they are.
    """

    size: Size | None = None
    """Height and width."""
    channels: int | None = None
    """1 for gray, 3 for color."""
    resize: Resize = DEFAULT_RESIZE
    depth: int | None = None
    """Of 16-bit gray, the number of bits that count, 8..16."""


class Originals(NamedTuple):
    """What the files of images were like, before they were decoded."""

    sizes: Int32[np.ndarray, "n 2"]
    """Height and width, as shown."""
    formats: tuple[str, ...]
    """Such as `JPEG` or `PNG, gray`."""

    def chosen(self, places: Int64[np.ndarray, " chosen"]) -> Originals:
        """Those of the images at these places."""
        return Originals(self.sizes[places], tuple(self.formats[i] for i in places.tolist()))


class LabeledArrays(NamedTuple):
    """One split as a file reader returns it, not yet a data set."""

    images: PixelArray
    labels: LabelArray
    classes: tuple[str, ...]
    names: tuple[str, ...] | None = None
    """Where each image came from, one name per image; None for formats without names."""
    groups: tuple[str, ...] | None = None
    """What each image belongs to, one group per image; None if every image stands for itself."""
    originals: Originals | None = None
    """What the files were like; None without files."""

    def chosen(self, places: Int64[np.ndarray, " chosen"]) -> LabeledArrays:
        """The images at these places, with all that belongs to them."""
        names, groups = (
            None if texts is None else tuple(texts[place] for place in places.tolist())
            for texts in (self.names, self.groups)
        )
        return LabeledArrays(
            self.images[places],
            self.labels[places],
            self.classes,
            names,
            groups,
            None if self.originals is None else self.originals.chosen(places),
        )


def is_tensor(value: object) -> bool:
    """Whether this is a `torch.Tensor`, checked without importing PyTorch."""
    # The class is missing while another thread is importing PyTorch.
    return isinstance(value, getattr(sys.modules.get("torch"), "Tensor", ()))


def as_array(values: Any) -> np.ndarray:  # noqa: ANN401 (anything NumPy takes, and tensors)
    """The values as a NumPy array, sharing memory where possible.

    A tensor on another device is copied.

    Raises:
        UsageError: a tensor's dtype does not exist in NumPy.
    """
    if not is_tensor(values):
        return np.asarray(values)
    try:
        array: np.ndarray = values.detach().cpu().numpy()
    except TypeError as error:
        raise UsageError(f"found a {values.dtype} tensor, a dtype NumPy does not have") from error
    return array


def in_memory_order(array: np.ndarray) -> np.ndarray:
    """The array as one contiguous, writable block that a tensor can share.

    Copies only if necessary. An axis of length 1 gets the stride that PyTorch would give it: with
    other strides PyTorch may treat the images as channels-last and pick another convolution
    algorithm, whose results differ in the last bits.
    """
    block = np.require(array, requirements=["C", "W"])
    return block.reshape(-1).reshape(block.shape)
