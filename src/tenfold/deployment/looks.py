"""How an image differs from those that a model was trained on, as far as that is known."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image

from tenfold.deployment.background import Background, is_of, on_dark, opposite
from tenfold.deployment.measures import (
    darker_than_rim,
    extents,
    gray_of,
    offsets,
    pixel,
    rims,
    shares,
    strokes,
)
from tenfold.types import PixelArray

_SMALLER, _FARTHER, _FULLER = 0.9, 0.02, 1.25
"""A subject is unlike the usual ones if smaller by this factor and a pixel, if farther by this, or
if it takes more of the image by this factor."""

_AT_ONCE = 100

_LEAST_STROKES = 1
"""With less, a picture has none; see `strokes`."""

_SIDES = (28, 56, 112)
"""Pixels a side of the pictures by which a photograph is judged: in one, its strokes are thin."""


class Look(NamedTuple):
    """How an image differs from the training images."""

    is_inverted: bool = False
    """Whether it is light where they are dark, or the other way round."""
    is_uncentered: bool = False
    """Whether its subject is smaller, larger or fainter than theirs, elsewhere, or on gray."""
    is_blank: bool = False
    """Whether nothing in it stands out."""
    is_full: bool = False
    """Whether its subject takes more of the image than theirs."""

    @property
    def cropped(self) -> Look:
        """How it differs if it was cropped to its subject: only if there was none like theirs."""
        return Look(
            self.is_inverted and not self.is_blank,
            self.is_blank or self.is_full,
            self.is_blank,
            self.is_full,
        )


SAME_LOOK = Look()
"""Of an image that does not differ."""


def looks_of(
    images: PixelArray, background: Background | None, *, cropped: bool = False
) -> list[Look]:
    """How images differ from those of a data set.

    Args:
        images: n x channels x height x width.
        background: of the data set; None if that is not known.
        cropped: whether the images were cropped to their subjects.
    """
    if background is None:
        return [SAME_LOOK] * len(images)
    looks: list[Look] = []
    for start in range(0, len(images), _AT_ONCE):
        looks += _looks(gray_of(images[start : start + _AT_ONCE]), background)
    return [look.cropped for look in looks] if cropped else looks


def is_negative(image: Image.Image, background: Background) -> bool:
    """Whether a picture is light where the training images are dark, or the other way round.

    By its rim; but by its strokes if the training images have some, and it is unlike them in other
    ways: its rim may be a table, or in the shade.

    Args:
        image: of mode L or RGB, of any size.
        background: of the training images.
    """
    (look,) = _looks(_small(image, _SIDES[0]), background)
    if not (background.has_strokes and look.is_uncentered):
        return look.is_inverted
    found = np.array([strokes(_small(image, side)) for side in _SIDES])[..., 0]
    light, dark = found[found.sum(axis=1).argmax()]
    if max(light, dark) < _LEAST_STROKES:
        return look.is_inverted
    return bool(dark > light if background.shade == "dark" else light > dark)


def _small(image: Image.Image, side: int) -> np.ndarray:
    """A picture as a gray one with so many pixels a side."""
    small = image.resize((side, side), Image.Resampling.BILINEAR, reducing_gap=2)
    return np.asarray(small.convert("L"), np.float32)[None]


def _looks(gray: np.ndarray, background: Background) -> list[Look]:
    """See `looks_of`; of not too many images."""
    around = rims(gray)
    differs = ~is_of(background.shade, around)
    gray = on_dark(gray, background.shade)
    if differs.any():
        on_gray = differs & ~is_of(opposite(background.shade), around)
        inverted = differs & (~on_gray | darker_than_rim(gray))
        gray = np.where(inverted[:, None, None], 255 - gray, gray)
    else:
        on_gray = inverted = differs
    if background.least_extent is None or background.most_offset is None:
        return [Look(each) for each in inverted.tolist()]
    extent = extents(gray)
    full = shares(gray) > min(1, _FULLER * (background.fullest or 1))
    uncentered = (
        on_gray
        | full
        | (extent < _SMALLER * background.least_extent - pixel(gray))
        | (offsets(gray) > background.most_offset + _FARTHER)
    )
    facts = inverted, uncentered, extent == 0, full
    return list(map(Look, *(fact.tolist() for fact in facts)))
