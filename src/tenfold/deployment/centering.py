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

_STRONGEST = 0.999
"""Quantile of these differences that is the subject's; specks of noise are above it."""


class _Span(NamedTuple):
    """Where the subject is along an axis, in pixels."""

    first: float
    end: float
    center_of_mass: float

    @property
    def length(self) -> float:
        return self.end - self.first


class _Subject(NamedTuple):
    """What stands out from a picture's background.

    Attributes:
        rows: where it is from top to bottom.
        columns: where it is from left to right.
        slopes: of the background's gray value: it is `slopes @ (1, x, y)` at a pixel, since light
            falls on paper from one side.
        strength: how much of the subject differs most from that.
    """

    rows: _Span
    columns: _Span
    slopes: np.ndarray
    strength: float


def centered(
    image: Image.Image, shade: Shade, extent: float, size: Size, most_side: int = 0
) -> Image.Image:
    """The picture's subject with as much background around it as the training images have.

    The subject is what differs from the background by at least half as much as what differs most;
    the background is what the picture's rim shows. The subject is scaled so that its longer side
    takes `extent`, and its center of mass is in the middle, or as near to it as the picture's sides
    allow. In gray, the background becomes black or white, and the contrast that of the whole range.
    A picture in which nothing stands out is returned as it is.

    Args:
        image: of mode L or RGB.
        shade: what is behind its subject, dark or light.
        extent: the longer side of the subject as a share of the result's side, above 0, up to 1.
        size: height and width of the result.
        most_side: if it is larger than both, the result is a multiple of that size up to this, but
            no larger than what it is cut from.
    """
    subject = _subject_of(image, shade)
    if subject is None:
        return image
    height, width = size
    scale = max(subject.rows.length / height, subject.columns.length / width) / extent
    factor = max(1, min(int(scale), most_side // max(size)))
    # More than twice the wanted resolution is of no use.
    shrink = max(1, int(scale / factor / 2))
    small = image.reduce(shrink) if shrink > 1 else image
    sides = scale * height / shrink, scale * width / shrink
    starts = [
        _start(_Span(*(value / shrink for value in span)), side)
        for span, side in zip((subject.rows, subject.columns), sides, strict=True)
    ]
    (top, left), (tall, wide) = map(math.floor, starts), map(math.ceil, sides)
    canvas = Image.new(small.mode, (wide + 1, tall + 1), _paper(small))
    canvas.paste(small, (-left, -top))
    if canvas.mode == "L":
        canvas = _cleared(canvas, (left, top), small.size, shrink, subject, shade)
    y, x = starts[0] - top, starts[1] - left
    found = canvas.resize(
        (width * factor, height * factor),
        Image.Resampling.BILINEAR,
        box=(x, y, min(x + sides[1], wide + 1), min(y + sides[0], tall + 1)),
    )
    return _strengthened(found, shade) if found.mode == "L" else found


def _strengthened(image: Image.Image, shade: Shade) -> Image.Image:
    """A gray image on black or white with the contrast that thin lines lose when scaled down."""
    values = np.asarray(image, np.float32)
    difference = values if shade == "dark" else 255 - values
    stretched = (difference * (255 / max(1.0, float(difference.max())))).round().astype(np.uint8)
    return Image.fromarray(stretched if shade == "dark" else 255 - stretched)


def _start(span: _Span, side: float) -> float:
    """Where a part of a length begins that has a subject's center of mass in its middle.

    All of the subject is inside.
    """
    middle = (span.first + span.end) / 2
    slack = (side - span.length) / 2
    return middle + min(max(span.center_of_mass - middle, -slack), slack) - side / 2


def _subject_of(image: Image.Image, shade: Shade) -> _Subject | None:
    """What stands out from a picture's background; None if nothing does."""
    shrink = max(1, math.isqrt(image.width * image.height // _LOOKED_AT))
    shrink = min(shrink, *image.size)
    gray = np.asarray(image.reduce(shrink).convert("L"), np.float32)
    places = _places((0, 0), gray.shape, shrink)
    slopes = _fitted(_rim(places), _rim(gray))
    difference = _difference(gray, places, slopes, shade)
    strength = float(np.quantile(difference, _STRONGEST))
    if strength < _STANDS_OUT:
        return None
    mass = np.where(difference >= strength / 2, np.minimum(difference, strength), 0)
    return _Subject(
        _span(mass.sum(axis=1), shrink, image.height),
        _span(mass.sum(axis=0), shrink, image.width),
        slopes,
        strength,
    )


def _cleared(
    canvas: Image.Image,
    start: tuple[int, int],
    size: tuple[int, int],
    shrink: int,
    subject: _Subject,
    shade: Shade,
) -> Image.Image:
    """A gray part of a picture on black or white, in the contrast of the whole range.

    Args:
        canvas: the part.
        start: its left and upper end in the picture, which may be outside.
        size: of the picture, width and height.
        shrink: how many of the original picture's pixels one of these is along a side.
        subject: of the original picture.
        shade: of its background.
    """
    (left, top), (width, height) = start, size
    places = _places(start, (canvas.height, canvas.width), shrink)
    difference = _difference(np.asarray(canvas, np.float32), places, subject.slopes, shade)
    inside = np.zeros(difference.shape, bool)
    inside[max(0, -top) : max(0, height - top), max(0, -left) : max(0, width - left)] = True
    cleared = np.where(inside, np.minimum(difference * (255 / subject.strength), 255), 0)
    values = cleared.round().astype(np.uint8)
    return Image.fromarray(values if shade == "dark" else 255 - values)


def _places(start: tuple[int, int], shape: tuple[int, ...], scale: int) -> np.ndarray:
    """`(1, x, y)` of each pixel of a part of a picture, in the original picture's pixels.

    Args:
        start: the part's left and upper end.
        shape: its height and width.
        scale: how many of the original picture's pixels one of these is along a side.
    """
    y, x = np.indices(shape, np.float32) + 0.5
    return np.stack([np.ones_like(x), (x + start[0]) * scale, (y + start[1]) * scale], axis=-1)


def _fitted(places: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The slopes of a background that fit most of the rim, though the subject may touch it."""
    near = np.abs(values - np.median(values)) <= _STANDS_OUT
    fitted: np.ndarray = np.linalg.lstsq(places[near], values[near], rcond=None)[0]
    return fitted


def _difference(
    gray: np.ndarray, places: np.ndarray, slopes: np.ndarray, shade: Shade
) -> np.ndarray:
    """How much lighter than a dark background pixels are, or how much darker than a light one."""
    difference = gray - places @ slopes.astype(np.float32)
    found: np.ndarray = np.maximum(difference if shade == "dark" else -difference, 0)
    return found


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
