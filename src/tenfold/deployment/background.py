"""What lies behind the subject of an image: known where all images of a data set are alike."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from tenfold.storage import Facts
from tenfold.types import PixelArray

Shade = Literal["dark", "light"]

_DARK, _LIGHT = 64, 191
"""The darkest quarter of gray values, and the lightest."""

_ENOUGH = 0.95
"""Share of images with the same background, for it to be that of the data set."""

_MOST_LOOKED_AT, _AT_ONCE = 2000, 100


class Background(Facts):
    """The background that all images of a data set have, and how much of it they have.

    Attributes:
        shade: of the background.
        extent: the longer side of the subject as a share of the image's side, the median, 0..1.
    """

    shade: Shade
    extent: Annotated[float, Field(gt=0, le=1)]


def background_of(images: PixelArray) -> Background | None:
    """The background of a data set's images; None if they have no common one.

    Args:
        images: at least one; of many, some are looked at.
    """
    places = np.linspace(0, len(images) - 1, min(len(images), _MOST_LOOKED_AT)).astype(np.int64)
    some = images[places]
    rims = _rims(some)
    for shade in _SHADES:
        if _is(shade, rims).mean() >= _ENOUGH:
            return Background(shade=shade, extent=_extent(some, shade))
    return None


def look_inverted(images: PixelArray, background: Background | None) -> np.ndarray:
    """Which images are light where those of the data set are dark, or the other way round."""
    if background is None:
        return np.zeros(len(images), bool)
    return _is("light" if background.shade == "dark" else "dark", _rims(images))


_SHADES: tuple[Shade, ...] = ("dark", "light")


def _is(shade: Shade, rims: np.ndarray) -> np.ndarray:
    found: np.ndarray = rims <= _DARK if shade == "dark" else rims >= _LIGHT
    return found


def _rims(images: PixelArray) -> np.ndarray:
    """The median of the outermost pixels of each image, as gray values."""
    sides = [images[..., 0, :], images[..., -1, :], images[..., 1:-1, 0], images[..., 1:-1, -1]]
    gray = np.concatenate(sides, axis=2).mean(axis=1, dtype=np.float32)
    found: np.ndarray = np.median(gray, axis=1)
    return found


def _extent(images: PixelArray, shade: Shade) -> float:
    """See `Background.extent`; 1 if nothing stands out."""
    longest = np.zeros(len(images))
    for start in range(0, len(images), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        longest[part] = _longest_sides(images[part], shade)
    found = longest[longest > 0]
    return float(np.median(found)) if len(found) else 1.0


def _longest_sides(images: PixelArray, shade: Shade) -> np.ndarray:
    """Of each image, the longer side of its subject as a share of the image's; 0 without one."""
    gray = images.mean(axis=1, dtype=np.float32)
    subject = gray >= 128 if shade == "dark" else gray < 128
    longest = np.zeros(len(images))
    for axis in (1, 2):
        there = subject.any(axis=3 - axis)
        first, last = there.argmax(axis=1), there.shape[1] - 1 - there[:, ::-1].argmax(axis=1)
        sides = np.where(there.any(axis=1), last - first + 1, 0) / there.shape[1]
        longest = np.maximum(longest, sides)
    return longest
