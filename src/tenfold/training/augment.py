"""Augmentation of whole batches, keyed by (seed, epoch, image).

How an image changes is a pure function of the run's seed, the epoch and the image's index in the
data set. It does not depend on the batch, the device, or any earlier random numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int64
from torch import Tensor

from tenfold.randomness import derive_seed
from tenfold.tensors import Images

_GOLDEN = -7046029254386353131  # 2**64 divided by the golden ratio, odd, as a signed number
_MIX_1 = -4658895280553007687
_MIX_2 = -7723592293110705685


@dataclass(frozen=True)
class Augmentation:
    """Random crop, flip and cutout of raw images.

    Attributes:
        seed: the run's seed.
        flip: flip half the images left to right.
        crop_padding: pad with this many black pixels on every side, and crop at random.
        cutout: blacken a square of this side around a random pixel, clipped at the border
            (DeVries and Taylor, arXiv:1708.04552).
    """

    seed: int
    flip: bool = False
    crop_padding: int = 0
    cutout: int = 0

    @property
    def changes_nothing(self) -> bool:
        """Whether all augmentation is off."""
        return not (self.flip or self.crop_padding or self.cutout)

    def key(self, purpose: str, epoch: int) -> int:
        """The key for one kind of choice in an epoch; see `keyed_choice`."""
        return derive_seed(self.seed, "augment", purpose, epoch)

    def __call__(self, images: Images, indices: Int64[Tensor, " n"], epoch: int) -> Images:
        """An augmented copy of a batch.

        Args:
            images: raw pixels.
            indices: the images' indices in the data set, on the same device.
            epoch: counted from 0.
        """

        def choice(purpose: str, choices: int) -> Int64[Tensor, " n"]:
            return keyed_choice(self.key(purpose, epoch), indices, choices)

        if self.crop_padding:
            places = 2 * self.crop_padding + 1
            rows, columns = choice("crop rows", places), choice("crop columns", places)
            images = _crop(images, self.crop_padding, rows, columns)
        if self.flip:
            mirrored = choice("flip", 2) == 0
            images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
        if self.cutout:
            height, width = images.shape[2:]
            rows, columns = choice("cutout rows", height), choice("cutout columns", width)
            images = _cutout(images, self.cutout, rows, columns)
        return images


def keyed_choice(key: int, indices: Int64[Tensor, " n"], choices: int) -> Int64[Tensor, " n"]:
    """A choice from 0..choices-1 for every index, which depends only on key and index.

    This is SplitMix64's mixing of a counter (Steele, Lea and Flood, "Fast splittable pseudorandom
    number generators", 2014), in integer arithmetic that is the same on every device. The top 24
    bits decide, so all choices are equally likely to within choices / 2**24.

    Args:
        key: 0 <= key < 2**63.
        indices: any.
        choices: at least 1, at most 2**39.
    """
    mixed = indices * _GOLDEN + key
    mixed = (mixed ^ _shifted(mixed, 30)) * _MIX_1
    mixed = (mixed ^ _shifted(mixed, 27)) * _MIX_2
    mixed = mixed ^ _shifted(mixed, 31)
    return (_shifted(mixed, 40) * choices) >> 24


def _shifted(values: Int64[Tensor, " n"], bits: int) -> Int64[Tensor, " n"]:
    """Logical right shift: fills with zeros from the top."""
    return (values >> bits) & ((1 << (64 - bits)) - 1)


def _crop(
    images: Images, padding: int, rows: Int64[Tensor, " n"], columns: Int64[Tensor, " n"]
) -> Images:
    height, width = images.shape[2:]
    padded = torch.nn.functional.pad(images, (padding,) * 4)
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    return windows[torch.arange(len(images), device=images.device), :, rows, columns]


def _cutout(
    images: Images, side: int, rows: Int64[Tensor, " n"], columns: Int64[Tensor, " n"]
) -> Images:
    height, width = images.shape[2:]
    above = _inside(rows, side, height)[:, None, :, None]
    across = _inside(columns, side, width)[:, None, None, :]
    return images.masked_fill(above & across, 0)


def _inside(middles: Tensor, side: int, length: int) -> Tensor:
    """For every image, which of the positions 0..length-1 are within the square."""
    places = torch.arange(length, device=middles.device)
    start = middles[:, None] - side // 2
    return (places >= start) & (places < start + side)
