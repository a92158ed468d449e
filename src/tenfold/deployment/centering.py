"""Crop a picture to its subject, as the images that a model was trained on were cropped.

As for MNIST, whose digits were scaled to fit a box of 20 x 20 pixels, and placed in 28 x 28 by
their center of mass (Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits").
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from PIL import Image

from tenfold.deployment.background import Shade
from tenfold.resizing import Size

_LOOKED_AT = 512 * 512
"""About how many pixels of a picture are looked at to find its subject."""

_STANDS_OUT = 32
"""Least difference from the background, in gray values, of a subject."""

_LIGHTEST = 0.999
"""Quantile of these differences that is that of the subject; specks of noise are above it."""


class _Span(NamedTuple):
    """Where the subject is along an axis, in pixels."""

    first: float
    end: float
    center_of_mass: float

    @property
    def length(self) -> float:
        return self.end - self.first


def centered(
    image: Image.Image, shade: Shade, extent: float, size: Size, most_side: int = 0
) -> Image.Image:
    """The picture's subject with as much background around it as the training images have.

    The subject is what differs from the picture's rim by at least half as much as what differs
    most. It is scaled so that its longer side takes `extent`, and its center of mass is in the
    middle, or as near to it as the picture's sides allow. A picture in which nothing stands out
    from the rim is returned as it is.

    Args:
        image: of mode L or RGB.
        shade: what is behind its subject, dark or light.
        extent: the longer side of the subject as a share of the result's side, above 0, up to 1.
        size: height and width of the result.
        most_side: if it is larger than both, the result is a multiple of that size up to this, but
            no larger than what it is cut from.
    """
    spans = _subject(image, shade)
    if spans is None:
        return image
    height, width = size
    scale = max(spans[0].length / height, spans[1].length / width) / extent
    factor = max(1, min(int(scale), most_side // max(size)))
    # More than twice the wanted resolution is of no use.
    shrink = max(1, int(scale / factor / 2))
    small = image.reduce(shrink) if shrink > 1 else image
    sides = (scale * height / shrink, scale * width / shrink)
    starts = [
        _start(_Span(*(value / shrink for value in span)), side)
        for span, side in zip(spans, sides, strict=True)
    ]
    (top, left), (tall, wide) = map(math.floor, starts), map(math.ceil, sides)
    canvas = Image.new(small.mode, (wide + 1, tall + 1), _paper(small))
    canvas.paste(small, (-left, -top))
    y, x = starts[0] - top, starts[1] - left
    return canvas.resize(
        (width * factor, height * factor),
        Image.Resampling.BILINEAR,
        box=(x, y, min(x + sides[1], wide + 1), min(y + sides[0], tall + 1)),
    )


def _start(span: _Span, side: float) -> float:
    """Where a part of a length begins that has a subject's center of mass in its middle.

    All of the subject is inside.
    """
    middle = (span.first + span.end) / 2
    slack = (side - span.length) / 2
    return middle + min(max(span.center_of_mass - middle, -slack), slack) - side / 2


def _subject(image: Image.Image, shade: Shade) -> tuple[_Span, _Span] | None:
    """Where the subject is, from top to bottom and from left to right; None if there is none."""
    shrink = max(1, math.isqrt(image.width * image.height // _LOOKED_AT))
    shrink = min(shrink, *image.size)
    gray = np.asarray(image.reduce(shrink).convert("L"), np.float32)
    difference = gray - np.median(_rim(gray))
    difference = np.maximum(difference if shade == "dark" else -difference, 0)
    most = float(np.quantile(difference, _LIGHTEST))
    if most < _STANDS_OUT:
        return None
    subject = np.where(difference >= most / 2, np.minimum(difference, most), 0)
    return (
        _span(subject.sum(axis=1), shrink, image.height),
        _span(subject.sum(axis=0), shrink, image.width),
    )


def _span(mass: np.ndarray, scale: int, most: int) -> _Span:
    """Where there is mass along an axis.

    Args:
        mass: of each row or column of the smaller picture.
        scale: how many of the picture's own are one of these.
        most: number of its own.
    """
    there = np.flatnonzero(mass)
    center = float(mass @ (np.arange(len(mass)) + 0.5) / mass.sum())
    return _Span(float(there[0] * scale), float(min((there[-1] + 1) * scale, most)), center * scale)


def _rim(pixels: np.ndarray) -> np.ndarray:
    """The outermost pixels of an image, height x width or height x width x channels."""
    return np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])


def _paper(image: Image.Image) -> int | tuple[int, ...]:
    """The median color of the outermost pixels."""
    color = np.median(_rim(np.asarray(image)), axis=0).round().astype(int)
    return int(color) if color.ndim == 0 else tuple(color.tolist())
