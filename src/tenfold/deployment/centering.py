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

_LOOKED_AT = 640 * 640
"""About how many pixels of a picture are looked at to find the subject, at most."""

_THIN = 32
"""Pixels of the shorter side that are looked at if there are as many."""

_STANDS_OUT = 32
"""Least difference from the background, in gray values, of a subject."""

_CELLS = 64
"""Parts of a picture are told apart in a grid of as many cells a side, at most."""

_LEAST_PART = 0.05
"""Parts with a smaller share of the mass of the largest are dust."""


_Pair = tuple[float | int, float | int]


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
        strength: how much it differs from that, at least, where it differs much.
    """

    rows: _Span
    columns: _Span
    slopes: np.ndarray
    strength: float


def centered(image: Image.Image, shade: Shade, extent: float, size: Size) -> Image.Image:
    """The picture's subject with as much background around it as the training images have.

    The subject is what differs from the background by at least half as much as what differs most,
    without dust; the background is what the picture's rim shows. The subject is scaled so that its
    longer side takes `extent`, and its center of mass is in the middle, or as near to it as the
    picture's sides allow. In gray, the background becomes black or white, and the contrast that of
    the whole range. A picture in which nothing stands out is returned as it is.

    Args:
        image: of mode L or RGB.
        shade: what is behind its subject, dark or light.
        extent: the longer side of the subject as a share of the result's side, above 0, up to 1.
        size: height and width of the result.
    """
    subject = _subject_of(image, shade)
    if subject is None:
        return image
    height, width = size
    scale = max(subject.rows.length / height, subject.columns.length / width) / extent
    shrink = max(1, int(scale / 2))  # more than twice the wanted resolution is of no use
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
        canvas = _cleared(canvas, (left * shrink, top * shrink), shrink, image.size, subject, shade)
    y, x = starts[0] - top, starts[1] - left
    found = canvas.resize(
        (width, height),
        Image.Resampling.BILINEAR,
        box=(x, y, min(x + sides[1], wide + 1), min(y + sides[0], tall + 1)),
    )
    return _strengthened(found, shade) if found.mode == "L" else found


def _start(span: _Span, side: float) -> float:
    """Where a part of a length begins that has a subject's center of mass in its middle.

    All of the subject is inside.
    """
    middle = (span.first + span.end) / 2
    slack = (side - span.length) / 2
    return middle + min(max(span.center_of_mass - middle, -slack), slack) - side / 2


def _subject_of(image: Image.Image, shade: Shade) -> _Subject | None:
    """What stands out from a picture's background; None if nothing does."""
    scales = _scales(image.size)
    gray = np.asarray(image.reduce(scales).convert("L"), np.float32)
    places = _places((0, 0), gray.shape, scales)
    slopes = _fitted(_rim(places), _rim(gray))
    difference = _difference(gray, places, slopes, shade)
    standing_out = difference[difference >= _STANDS_OUT]
    if not len(standing_out):
        return None
    # The mean weighted by the difference itself: a faint shadow counts little, and so does a speck.
    strength = float((standing_out**2).sum() / standing_out.sum())
    mass = np.where(
        difference >= max(_STANDS_OUT, strength / 2), np.minimum(difference, strength), 0
    )
    mass = _without_dust(mass)
    return _Subject(
        _span(mass.sum(axis=1), scales[1], image.height),
        _span(mass.sum(axis=0), scales[0], image.width),
        slopes,
        strength,
    )


def _scales(size: tuple[int, int]) -> tuple[int, int]:
    """By what a picture is divided so that it has few pixels, however long and thin it is.

    Args:
        size: of the picture, width and height.
    """
    too_many = size[0] * size[1] / _LOOKED_AT
    short = max(1, min(math.ceil(math.sqrt(too_many)), min(size) // _THIN))
    long = math.ceil(too_many / short)
    return (long, short) if size[0] >= size[1] else (short, long)


def _without_dust(mass: np.ndarray) -> np.ndarray:
    """The mass without parts that are small beside the largest."""
    steps = [max(1, math.ceil(side / _CELLS)) for side in mass.shape]
    padded = np.pad(mass, [(0, -side % step) for side, step in zip(mass.shape, steps, strict=True)])
    rows, columns = padded.shape[0] // steps[0], padded.shape[1] // steps[1]
    cells = padded.reshape(rows, steps[0], columns, steps[1]).sum(axis=(1, 3))
    part_of = _parts(cells > 0)
    of_part = np.bincount(part_of.ravel(), cells.ravel())
    of_part[0] = 0  # what belongs to none
    kept = of_part >= _LEAST_PART * of_part.max()
    kept[0] = False
    of_pixel = kept[part_of].repeat(steps[0], axis=0).repeat(steps[1], axis=1)
    return np.where(of_pixel[: mass.shape[0], : mass.shape[1]], mass, 0)


def _parts(filled: np.ndarray) -> np.ndarray:
    """The number of the part that each filled cell belongs to, from 1; 0 for the others.

    Cells that touch, even by a corner, belong to one part.
    """
    found = np.zeros(filled.shape, np.int64)
    count = 0
    for start in zip(*np.nonzero(filled), strict=True):
        if found[start]:
            continue
        count += 1
        found[start] = count
        waiting = [start]
        while waiting:
            row, column = waiting.pop()
            rows = slice(max(0, row - 1), row + 2)
            columns = slice(max(0, column - 1), column + 2)
            for y, x in zip(
                *np.nonzero(filled[rows, columns] & (found[rows, columns] == 0)), strict=True
            ):
                place = rows.start + y, columns.start + x
                found[place] = count
                waiting.append(place)
    return found


def _cleared(
    image: Image.Image,
    start: _Pair,
    scale: float | int,
    size: tuple[int, int],
    subject: _Subject,
    shade: Shade,
) -> Image.Image:
    """A gray part of a picture on black or white, in the contrast of the whole range.

    Args:
        image: the part.
        start: its left and upper end in the picture, which may be outside.
        scale: how many of the picture's pixels one of these is along a side.
        size: of the picture, width and height.
        subject: of the picture.
        shade: of its background.
    """
    places = _places(start, (image.height, image.width), (scale, scale))
    difference = _difference(np.asarray(image, np.float32), places, subject.slopes, shade)
    _, x, y = np.moveaxis(places, -1, 0)
    inside = (x >= 0) & (x <= size[0]) & (y >= 0) & (y <= size[1])
    cleared = np.where(inside, np.minimum(difference * (255 / subject.strength), 255), 0)
    values = cleared.round().astype(np.uint8)
    return Image.fromarray(values if shade == "dark" else 255 - values)


def _strengthened(image: Image.Image, shade: Shade) -> Image.Image:
    """A gray image on black or white with the contrast that thin lines lose when scaled down."""
    values = np.asarray(image, np.float32)
    difference = values if shade == "dark" else 255 - values
    stretched = (difference * (255 / max(1.0, float(difference.max())))).round().astype(np.uint8)
    return Image.fromarray(stretched if shade == "dark" else 255 - stretched)


def _places(start: _Pair, shape: tuple[int, ...], scales: _Pair) -> np.ndarray:
    """`(1, x, y)` of each pixel of a part of a picture, in the original picture's pixels.

    Args:
        start: the part's left and upper end, in these pixels.
        shape: its height and width.
        scales: how many of the original picture's pixels one of these is wide and high.
    """
    y, x = np.indices(shape, np.float32) + 0.5
    return np.stack([np.ones_like(x), x * scales[0] + start[0], y * scales[1] + start[1]], axis=-1)


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
