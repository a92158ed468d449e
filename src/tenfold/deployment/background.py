"""Where the subject of an image is, and what is behind it: known where a data set's are alike."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from tenfold.deployment.measures import (
    DARK,
    LIGHT,
    extents,
    gray_of,
    offsets,
    pixel,
    reduced,
    rims,
    shares,
    strengths,
    strokes,
)
from tenfold.deployment.measures import thickness as thickness_of
from tenfold.storage import Facts
from tenfold.types import PixelArray

Shade = Literal["dark", "light"]

IN_WORDS: dict[Shade, str] = {"dark": "light on dark", "light": "dark on light"}
"""How images with a background of this shade look."""

_SHADES: tuple[Shade, ...] = ("dark", "light")

_ENOUGH = 0.95
"""Share of images with the same background, for it to be that of the data set; likewise strokes."""

_MOST_LOOKED_AT, _LEAST_LOOKED_AT, _PIXELS_LOOKED_AT = 2000, 200, 2**24
"""Images that are looked at: as many as have so many values, but at most and at least so many."""

_AT_ONCE = 20

_SMALL = 48
"""Pixels of the shorter side by which thickness and strokes are judged, about."""

_USUAL = 0.999
"""Share of training images whose subject is as large, thin and near to the middle as is usual."""

_Share = Annotated[float, Field(ge=0, le=1)]


class Background(Facts):
    """The background that all images of a data set have, and where their subjects are.

    Attributes:
        shade: of the background.
        extent: the longer side of the subject as a share of the image's side, the median, 0..1.
        least_extent: the smallest usual one; None if it is not known.
        most_offset: the largest usual distance of the subject's center of mass from the middle, as
            a share of the image's side, 0..1; None if it is not known.
        strength: the mean of the strongest sixteenth of an image, as a difference from the
            background in gray values, the median; None if it is not known.
        fullest: the largest usual share of an image that its subject takes, 0..1; None if it is not
            known.
        thickest: the longest usual side of a square that is all subject, as a share of the image's
            longer side, 0..1; None if it is not known.
        has_strokes: whether what is thin in an image is subject, as in writing.
    """

    shade: Shade
    extent: Annotated[float, Field(gt=0, le=1)]
    least_extent: _Share | None = None
    most_offset: _Share | None = None
    strength: Annotated[float, Field(ge=0, le=255)] | None = None
    fullest: _Share | None = None
    thickest: _Share | None = None
    has_strokes: bool = False


def background_of(images: PixelArray) -> Background | None:
    """The background of a data set's images; None if they have no common one.

    Args:
        images: at least one; of many, and of large ones, some are looked at.
    """
    wanted = min(_MOST_LOOKED_AT, max(_LEAST_LOOKED_AT, _PIXELS_LOOKED_AT // images[0].size))
    places = np.linspace(0, len(images) - 1, min(len(images), wanted)).astype(np.int64)
    parts = [places[start : start + _AT_ONCE] for start in range(0, len(places), _AT_ONCE)]
    around = np.concatenate([rims(gray_of(images[part])) for part in parts])
    for shade in _SHADES:
        if is_of(shade, around).mean() >= _ENOUGH:
            found = [_measured(on_dark(gray_of(images[part]), shade)) for part in parts]
            return _summed_up(shade, *map(np.concatenate, zip(*found, strict=True)))
    return None


def opposite(shade: Shade) -> Shade:
    """Light for dark, and dark for light."""
    return "light" if shade == "dark" else "dark"


def is_of(shade: Shade, values: np.ndarray) -> np.ndarray:
    """Which gray values are clearly of a shade."""
    found: np.ndarray = values <= DARK if shade == "dark" else values >= LIGHT
    return found


def on_dark(gray: np.ndarray, shade: Shade) -> np.ndarray:
    """Gray values of images with a background of this shade as on a dark one."""
    return gray if shade == "dark" else 255 - gray


def _measured(gray: np.ndarray) -> tuple[np.ndarray, ...]:
    """The extents and so on of images' subjects, as `_summed_up` takes them.

    Args:
        gray: images that are light on dark now.
    """
    small = reduced(gray, _SMALL)
    light, dark = strokes(small)
    measures = (measure(gray) for measure in (extents, offsets, strengths, shares))
    # Lines may vanish in the smaller images, but are not without thickness.
    return *measures, np.maximum(thickness_of(small), pixel(small)), light > dark


def _summed_up(
    shade: Shade,
    extent: np.ndarray,
    offset: np.ndarray,
    strength: np.ndarray,
    share: np.ndarray,
    thickness: np.ndarray,
    light: np.ndarray,
) -> Background:
    """The background by what `_measured` gives."""
    seen = extent > 0
    if not seen.any():
        return Background(shade=shade, extent=1)
    return Background(
        shade=shade,
        extent=float(np.median(extent[seen])),
        least_extent=float(np.quantile(extent[seen], 1 - _USUAL)),
        most_offset=float(np.quantile(offset[seen], _USUAL)),
        strength=float(np.median(strength[seen])),
        fullest=float(np.quantile(share[seen], _USUAL)),
        thickest=float(np.quantile(thickness[seen], _USUAL)),
        has_strokes=bool(light[seen].mean() >= _ENOUGH),
    )
