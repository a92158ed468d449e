"""The size that class folders' images get, and what it does to them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import mean, median

from tenfold.errors import counted
from tenfold.resizing import Resize, Size, size_inside

LARGEST_DEFAULT_SIDE = 64
"""Sides of images that keep their size; of larger ones, the geometric mean of the new sides."""

LIKE_THE_OTHERS = 1.25
"""Pictures whose proportions differ by at most this factor have about the same."""

LARGEST_RATIO = 8.0
"""Of one side to the other, in a default size."""

_MOSTLY = 0.8
_MULTIPLE = 8


def default_size(sizes: Sequence[Size]) -> Size:
    """A size for pictures of these sizes; small pictures of one size keep it.

    Otherwise, a picture of the median size keeps about its area, but at most that of a square of
    `LARGEST_DEFAULT_SIDE`. The size has the proportions of most pictures if most have about the
    same; else it is a square. Sides that change are multiples of 8, which halve well.

    Args:
        sizes: of the pictures, one or more.
    """
    if len(set(sizes)) == 1 and max(sizes[0]) <= LARGEST_DEFAULT_SIDE:
        return sizes[0]
    side = min(median(math.sqrt(height * width) for height, width in sizes), LARGEST_DEFAULT_SIDE)
    usual = median(math.log(height / width) for height, width in sizes)
    near = [
        abs(math.log(height / width) - usual) <= math.log(LIKE_THE_OTHERS)
        for height, width in sizes
    ]
    if mean(near) < _MOSTLY:
        usual = 0.0
    usual = min(max(usual, -math.log(LARGEST_RATIO)), math.log(LARGEST_RATIO))
    return _even(side * math.exp(usual / 2)), _even(side * math.exp(-usual / 2))


def _even(side: float) -> int:
    """The nearest multiple of 8, at least 8."""
    return max(1, round(side / _MULTIPLE)) * _MULTIPLE


def fitting_note(sizes: Sequence[Size], size: Size, resize: Resize) -> str:
    """What was done to pictures of these sizes to bring them to one; empty if nothing."""
    ordered = sorted(set(sizes))
    if ordered == [size]:
        return ""
    if len(sizes) == 1:
        known = f"the image is {by(ordered[0])}"
    elif len(ordered) == 1:
        known = f"images are {by(ordered[0])}"
    else:
        known = f"images have {len(ordered):,} sizes from {by(ordered[0])} to {by(ordered[-1])}"
    return f"{known}, scaled to {by(size)} (height x width){_cost(sizes, size, resize)}"


def _cost(sizes: Sequence[Size], size: Size, resize: Resize) -> str:
    """What is cut, padded or distorted; empty if the proportions fit."""
    shares = [share for each in sizes if (share := _share(each, size, resize)) > 0]
    if not shares:
        return ""
    which = f"{len(shares):,} of {counted(len(sizes), 'image')}"
    average, most = mean(shares), max(shares)
    if resize == "pad":
        return (
            f" without cropping; {which} padded: on average {average:.0%}, at most {most:.0%}, of "
            "what the model sees is margin"
        )
    if resize == "crop":
        return (
            f" and cropped: of {which}, on average {average:.0%}, at most {most:.0%}, of the area "
            "is cut off"
        )
    return (
        f" without cropping; {which} distorted: one side is squashed by {average:.0%} on average, "
        f"{most:.0%} at most"
    )


def _share(own: Size, size: Size, resize: Resize) -> float:
    """The share of the result that is margin, of the picture that is cut off, or of a side.

    The last is what squashing takes from one side in comparison with the other.
    """
    height, width = size
    if resize == "pad":
        inside = size_inside(own, size)
        return 1 - inside[0] * inside[1] / (height * width)
    ratio = (own[0] * width) / (own[1] * height)
    return 1 - min(ratio, 1 / ratio)


def by(size: Size) -> str:
    """A size in words."""
    return f"{size[0]}x{size[1]}"
