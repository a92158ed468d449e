"""Augmentation of whole batches, keyed by (seed, epoch, image).

How an image changes is a pure function of the run's seed, the epoch and the image's index in the
data set. It does not depend on the batch, the device, or any earlier random numbers. The changes
are drawn on the CPU, as whole numbers, and pixels are computed in integer arithmetic, so that every
engine and every device gives the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from tenfold.errors import UsageError
from tenfold.randomness import derive_seed
from tenfold.tensors import Images

ONE = 2**16
"""The number 1 in fixed point, in the numbers of `Changes`."""

ANGLES = 1024
"""Rotations to either side that an image may have, evenly spaced, besides none."""

_HALF_A_UNIT = 2**23
_GOLDEN = -7046029254386353131  # 2**64 divided by the golden ratio, odd, as a signed number
_MIX_1 = -4658895280553007687
_MIX_2 = -7723592293110705685


class Changes(NamedTuple):
    """How each image of a batch changes: one number per image, the same for all channels.

    The pixel in row r and column c of a warped image of n x m pixels is where the original has
    ((along * R - across * C + row) / 2, (across * R + along * C + column) / 2) / ONE, with
    R = 2 r - n + 1 and C = 2 c - m + 1, which are twice the distances from the center.
    """

    along: Int64[Tensor, " n"]
    """Cosine of the rotation times the size of a step, in units of 1 / ONE."""
    across: Int64[Tensor, " n"]
    """Sine of the rotation times the size of a step, likewise."""
    row: Int64[Tensor, " n"]
    """Twice the row of the original that comes to the center, likewise."""
    column: Int64[Tensor, " n"]
    """Twice the column of the original that comes to the center, likewise."""
    gain: Int64[Tensor, " n"]
    """What a pixel is multiplied by, likewise."""
    offset: Int64[Tensor, " n"]
    """What is then added, likewise."""
    crop_row: Int64[Tensor, " n"]
    """First row of the crop within the padded image."""
    crop_column: Int64[Tensor, " n"]
    """First column of the crop within the padded image."""
    mirrored: Int64[Tensor, " n"]
    """1 for left to right, 0 for not."""
    hole_row: Int64[Tensor, " n"]
    """First row of the black square; may be negative."""
    hole_column: Int64[Tensor, " n"]
    """First column of the black square; may be negative."""


@dataclass(frozen=True)
class Augmentation:
    """Random changes of raw images, in this order.

    Attributes:
        seed: the run's seed.
        rotate: largest angle in degrees, to either side, 0..180.
        scale: how far the step from pixel to pixel in the picture differs from 1 at most, 0..0.9:
            with 0.2, the picture is scaled by 1/1.2 to 1/0.8.
        shift: how far the picture moves at most, as a share of height and width, 0..1.
        brightness: how much a pixel is multiplied by 1 plus or minus at most, 0..1.
        contrast: how much a pixel's distance from mid-gray is multiplied by 1 plus or minus at
            most, 0..1.
        crop_padding: pad with this many black pixels on every side, and crop at random.
        flip: flip half the images left to right.
        cutout: blacken a square of this side around a random pixel, clipped at the border
            (DeVries and Taylor, arXiv:1708.04552).

    Rotation, scale and shift interpolate between four pixels; beyond its border, a picture goes on
    with its outermost pixels.

    Raises:
        UsageError: a number is out of range.
    """

    seed: int
    flip: bool = False
    crop_padding: int = 0
    cutout: int = 0
    rotate: float = 0.0
    scale: float = 0.0
    shift: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0

    def __post_init__(self) -> None:
        for name, most in LARGEST.items():
            value = getattr(self, name)
            if not 0 <= value <= most:
                raise UsageError(f"augmentation: {name} is {value}, wanted 0..{most}")

    @property
    def changes_nothing(self) -> bool:
        """Whether all augmentation is off."""
        return not (self.flip or self.crop_padding or self.cutout or self.warps or self.recolors)

    @property
    def warps(self) -> bool:
        """Whether pictures are rotated, scaled or shifted."""
        return bool(self.rotate or self.scale or self.shift)

    @property
    def recolors(self) -> bool:
        """Whether brightness or contrast change."""
        return bool(self.brightness or self.contrast)

    def changes(self, indices: Int64[Tensor, " n"], epoch: int, height: int, width: int) -> Changes:
        """How images change in an epoch.

        Args:
            indices: the images' indices in the data set.
            epoch: counted from 0.
            height: of the images.
            width: of the images.
        """

        def choice(purpose: str, choices: int) -> Int64[Tensor, " n"]:
            key = derive_seed(self.seed, "augment", purpose, epoch)
            return keyed_choice(key, indices, choices)

        def about_one(purpose: str, most: float) -> Float64[Tensor, " n"]:
            """1 plus or minus at most this much."""
            return 1 + most * _unit(choice(purpose, 2 * _HALF_A_UNIT)) if most else ones

        def center(purpose: str, side: int) -> Int64[Tensor, " n"]:
            middle = torch.full_like(indices, (side - 1) * ONE)
            if not self.shift:
                return middle
            return middle + _fixed(2 * side * (about_one(purpose, self.shift) - 1))

        zeros = torch.zeros_like(indices)
        ones = torch.ones_like(indices, dtype=torch.float64)
        along, across = ones, zeros.double()
        if self.rotate:
            angle = choice("rotation", 2 * ANGLES + 1)
            along, across = _cosines_and_sines(self.rotate)[:, angle]
        step = about_one("scale", self.scale)
        contrast = about_one("contrast", self.contrast)
        places = 2 * self.crop_padding + 1
        return Changes(
            along=_fixed(along * step),
            across=_fixed(across * step),
            row=center("shifted rows", height),
            column=center("shifted columns", width),
            gain=_fixed(contrast * about_one("brightness", self.brightness)),
            offset=_fixed(128 * (1 - contrast)),
            crop_row=choice("crop rows", places) if self.crop_padding else zeros,
            crop_column=choice("crop columns", places) if self.crop_padding else zeros,
            mirrored=1 - choice("flip", 2) if self.flip else zeros,
            hole_row=choice("cutout rows", height) - self.cutout // 2 if self.cutout else zeros,
            hole_column=choice("cutout columns", width) - self.cutout // 2
            if self.cutout
            else zeros,
        )

    def __call__(self, images: Images, indices: Int64[Tensor, " n"], epoch: int) -> Images:
        """An augmented copy of a batch.

        Args:
            images: raw pixels.
            indices: the images' indices in the data set.
            epoch: counted from 0.
        """
        drawn = self.changes(indices.cpu(), epoch, *images.shape[2:])
        changes = Changes(*(each.to(images.device) for each in drawn))
        if self.warps:
            images = _warped(images, changes)
        if self.recolors:
            images = _recolored(images, changes)
        if self.crop_padding:
            images = _crop(images, self.crop_padding, changes)
        if self.flip:
            mirrored = changes.mirrored.bool()[:, None, None, None]
            images = torch.where(mirrored, images.flip(3), images)
        if self.cutout:
            images = _cutout(images, self.cutout, changes)
        return images


LARGEST = {
    "rotate": 180.0,
    "scale": 0.9,
    "shift": 1.0,
    "brightness": 1.0,
    "contrast": 1.0,
    "crop_padding": 2**14,
    "cutout": 2**14,
}
"""The largest value of each number in an augmentation."""


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


def _unit(choices: Int64[Tensor, " n"]) -> Float64[Tensor, " n"]:
    """Numbers from -1 to below 1, from choices among 2**24."""
    return (choices - _HALF_A_UNIT).double() / _HALF_A_UNIT


def _fixed(values: Float64[Tensor, " n"]) -> Int64[Tensor, " n"]:
    """In units of 1 / ONE."""
    return (values * ONE).round().long()


@cache
def _cosines_and_sines(degrees: float) -> Float64[Tensor, "2 angles"]:
    """Of angles evenly spaced up to this one, to either side.

    From Python's own functions: PyTorch's may differ between devices, and within one tensor.
    """
    angles = [math.radians(degrees) * place / ANGLES for place in range(-ANGLES, ANGLES + 1)]
    rows = [[math.cos(angle) for angle in angles], [math.sin(angle) for angle in angles]]
    return torch.tensor(rows, dtype=torch.float64)


def _warped(images: Images, changes: Changes) -> Images:
    height, width = images.shape[2:]
    device = images.device
    rows = (2 * torch.arange(height, device=device) - height + 1)[:, None]
    columns = 2 * torch.arange(width, device=device) - width + 1
    along, across, row, column = (each[:, None, None] for each in changes[:4])
    # In units of 1 / (2 * ONE).
    y = row + along * rows - across * columns
    x = column + across * rows + along * columns
    top, left = y >> 17, x >> 17
    down, right = (y >> 9) & 255, (x >> 9) & 255
    flat = images.flatten(2)

    def pixels(row: Tensor, column: Tensor) -> Tensor:
        place = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
        places = place.flatten(1)[:, None].expand(-1, images.shape[1], -1)
        return flat.gather(2, places).reshape(images.shape)

    def weight(vertical: Tensor, horizontal: Tensor) -> Tensor:
        return (vertical * horizontal)[:, None]

    total = (
        weight(256 - down, 256 - right) * pixels(top, left)
        + weight(256 - down, right) * pixels(top, left + 1)
        + weight(down, 256 - right) * pixels(top + 1, left)
        + weight(down, right) * pixels(top + 1, left + 1)
    )
    return ((total + ONE // 2) >> 16).to(torch.uint8)


def _recolored(images: Images, changes: Changes) -> Images:
    gain, offset = (each[:, None, None, None] for each in (changes.gain, changes.offset))
    return ((images * gain + offset + ONE // 2) >> 16).clamp(0, 255).to(torch.uint8)


def _crop(images: Images, padding: int, changes: Changes) -> Images:
    height, width = images.shape[2:]
    padded = torch.nn.functional.pad(images, (padding,) * 4)
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    which = torch.arange(len(images), device=images.device)
    return windows[which, :, changes.crop_row, changes.crop_column]


def _cutout(images: Images, side: int, changes: Changes) -> Images:
    height, width = images.shape[2:]
    above = _inside(changes.hole_row, side, height)[:, None, :, None]
    across = _inside(changes.hole_column, side, width)[:, None, None, :]
    return images.masked_fill(above & across, 0)


def _inside(start: Tensor, side: int, length: int) -> Tensor:
    """For every image, which of the positions 0..length-1 are within the square."""
    places = torch.arange(length, device=start.device)
    return (places >= start[:, None]) & (places < start[:, None] + side)
