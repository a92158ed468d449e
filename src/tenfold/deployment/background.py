"""Where the subject of an image is, and what is behind it: known where a data set's are alike."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

import numpy as np
from pydantic import Field

from tenfold.storage import Facts
from tenfold.types import PixelArray

Shade = Literal["dark", "light"]

IN_WORDS: dict[Shade, str] = {"dark": "light on dark", "light": "dark on light"}
"""How images with a background of this shade look."""

_DARK, _LIGHT = 64, 191
"""The darkest quarter of gray values, and the lightest."""

_ENOUGH = 0.95
"""Share of images with the same background, for it to be that of the data set."""

_MOST_LOOKED_AT, _AT_ONCE = 2000, 100

_USUAL = 0.999
"""Share of training images whose subject is as large, and as near to the middle, as is usual."""

_SMALLER, _FARTHER = 0.9, 0.02
"""A subject is unlike the usual ones if smaller by this factor and a pixel, or farther by this."""

_Share = Annotated[float, Field(ge=0, le=1)]


class Background(Facts):
    """The background that all images of a data set have, and where their subjects are.

    Attributes:
        shade: of the background.
        extent: the longer side of the subject as a share of the image's side, the median, 0..1.
        least_extent: the smallest usual one; None if it is not known.
        most_offset: the largest usual distance of the subject's center of mass from the middle, as
            a share of the image's side, 0..1; None if it is not known.
    """

    shade: Shade
    extent: Annotated[float, Field(gt=0, le=1)]
    least_extent: _Share | None = None
    most_offset: _Share | None = None


class Look(NamedTuple):
    """How an image differs from the training images, as far as that is known."""

    is_inverted: bool = False
    """Whether it is light where they are dark, or the other way round."""
    is_uncentered: bool = False
    """Whether its subject is smaller or fainter than theirs, elsewhere, or on a gray background."""
    is_blank: bool = False
    """Whether nothing in it stands out."""

    @property
    def cropped(self) -> Look:
        """How it differs if it was cropped to its subject: only if there was none."""
        return Look(self.is_inverted and not self.is_blank, self.is_blank, self.is_blank)


SAME_LOOK = Look()
"""Of an image that does not differ, as far as that is known."""


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
            extents, offsets = _places(some, shade)
            if not extents.any():
                return Background(shade=shade, extent=1)
            seen = extents > 0
            return Background(
                shade=shade,
                extent=float(np.median(extents[seen])),
                least_extent=float(np.quantile(extents[seen], 1 - _USUAL)),
                most_offset=float(np.quantile(offsets[seen], _USUAL)),
            )
    return None


def opposite(shade: Shade) -> Shade:
    """Light for dark, and dark for light."""
    return "light" if shade == "dark" else "dark"


def looks_of(
    images: PixelArray, background: Background | None, *, cropped: bool = False
) -> list[Look]:
    """How images differ from those of a data set.

    Args:
        images: n x channels x height x width.
        background: of the data set.
        cropped: whether the images were cropped to their subjects.
    """
    if background is None:
        return [SAME_LOOK] * len(images)
    looks: list[Look] = []
    for start in range(0, len(images), _AT_ONCE):
        looks += _looks(images[start : start + _AT_ONCE], background)
    return [look.cropped for look in looks] if cropped else looks


def _looks(images: PixelArray, background: Background) -> list[Look]:
    """See `looks_of`; of not too many images."""
    rims = _rims(images)
    differs = ~_is(background.shade, rims)
    gray = _light_on_dark(images, background.shade)
    if not differs.any():
        inverted = is_gray = differs
    else:
        is_gray = differs & ~_is(opposite(background.shade), rims)
        inverted = differs & (~is_gray | _darker_than_rim(gray))
        gray = np.where(inverted[:, None, None], 255 - gray, gray)
    if background.least_extent is None or background.most_offset is None:
        return [Look(each) for each in inverted.tolist()]
    extents = _extents(gray)
    uncentered = (
        is_gray
        | (extents < _SMALLER * background.least_extent - 1 / max(gray.shape[1:]))
        | (_offsets(gray) > background.most_offset + _FARTHER)
    )
    blank = extents == 0
    return list(map(Look, inverted.tolist(), uncentered.tolist(), blank.tolist()))


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


def _places(images: PixelArray, shade: Shade) -> tuple[np.ndarray, np.ndarray]:
    """The extents and offsets of images."""
    extents, offsets = np.empty(len(images)), np.empty(len(images))
    for start in range(0, len(images), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        gray = _light_on_dark(images[part], shade)
        extents[part], offsets[part] = _extents(gray), _offsets(gray)
    return extents, offsets


def _light_on_dark(images: PixelArray, shade: Shade) -> np.ndarray:
    """Gray values, 0..255, on a dark background."""
    if images.shape[1] == 1:
        gray = images[:, 0].astype(np.float32)
    else:
        gray = images.mean(axis=1, dtype=np.float32)
    return gray if shade == "dark" else 255 - gray


def _darker_than_rim(gray: np.ndarray) -> np.ndarray:
    """Of which images the subject is darker than a background that changes from side to side."""
    n, height, width = gray.shape
    y, x = np.indices((height, width), np.float32)
    places = np.stack([np.ones_like(x), x, y], axis=-1).reshape(-1, 3)
    rim = np.zeros((height, width), bool)
    rim[[0, -1]] = rim[:, [0, -1]] = True
    values = gray.reshape(n, -1)
    slopes = values[:, rim.ravel()] @ np.linalg.pinv(places[rim.ravel()]).T
    difference = values - slopes @ places.T
    found: np.ndarray = -difference.min(axis=1) > difference.max(axis=1)
    return found


def _extents(gray: np.ndarray) -> np.ndarray:
    """Of each image, the longer side of its subject as a share of the image's; 0 without one."""
    subject = np.greater_equal(gray, 128)
    longest = np.zeros(len(gray))
    for axis in (1, 2):
        there = subject.any(axis=3 - axis)
        first, last = there.argmax(axis=1), there.shape[1] - 1 - there[:, ::-1].argmax(axis=1)
        sides = np.where(there.any(axis=1), last - first + 1, 0) / there.shape[1]
        longest = np.maximum(longest, sides)
    return longest


def _offsets(gray: np.ndarray) -> np.ndarray:
    """Of each image, how far its subject's center of mass is from the middle; 0 without one.

    The larger of the distances along the two axes, each as a share of the image's side.
    """
    mass = np.maximum(gray - _DARK, 0)
    whole = np.maximum(mass.sum(axis=(1, 2)), 1e-6)
    farthest = np.zeros(len(gray))
    for axis in (1, 2):
        along = mass.sum(axis=3 - axis)
        side = along.shape[1]
        from_middle = (np.arange(side, dtype=np.float32) - (side - 1) / 2) / side
        farthest = np.maximum(farthest, np.abs(along @ from_middle / whole))
    return farthest
