"""Crop a picture to its subject, as the images that a model was trained on were cropped.

As for MNIST, whose digits were scaled to fit a box of 20 x 20 pixels, and placed in 28 x 28 by
their center of mass (Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from tenfold.deployment.background import Background, Shade, on_dark, opposite
from tenfold.deployment.looks import is_negative
from tenfold.deployment.measures import strengths
from tenfold.deployment.subjects import Span, Subject, difference, subjects_of
from tenfold.resizing import Size

_MOST_GAIN = 4
"""How much further contrast is raised than to the full range, at most."""

_NEAR = 16
"""Gray values from the background that are still background."""


def centered(image: Image.Image, background: Background, size: Size) -> Image.Image:
    """The picture's subject as those of the training images are.

    It is light on dark, or dark on light, as they are, and scaled so that its longer side takes as
    much of the result as theirs; its center of mass is in the middle, or as near to it as the
    picture's sides allow. The background becomes black or white, and in gray the contrast
    that of the whole range. A picture in which nothing stands out is returned as it is.

    Args:
        image: of mode L or RGB.
        background: of the training images.
        size: height and width of the result.
    """
    negative = is_negative(image, background)
    shade = opposite(background.shade) if negative else background.shade
    found = _found(image, shade, background, size)
    if found is None:
        return image
    cropped = _cropped(image, found.subject, shade, found.scale, size)
    if cropped.mode == "L":
        cropped = _strengthened(cropped, shade, background.strength)
    return ImageOps.invert(cropped) if negative else cropped


class _Found(NamedTuple):
    """A subject, and how many of the picture's pixels one of the result is along a side."""

    subject: Subject
    scale: float


def _found(image: Image.Image, shade: Shade, background: Background, size: Size) -> _Found | None:
    """The likeliest subject that is not thicker than those of training images, or the likeliest.

    Args:
        image: the picture.
        shade: of its background.
        background: of the training images.
        size: height and width of the result.
    """
    height, width = size
    likeliest = None
    for subject in subjects_of(image, shade, has_strokes=background.has_strokes):
        longer = max(subject.rows.length / height, subject.columns.length / width)
        found = _Found(subject, longer / background.extent)
        thickest = (
            (1 if background.thickest is None else background.thickest) * found.scale * max(size)
        )
        if subject.is_clear and subject.thickness <= thickest:
            return found
        likeliest = likeliest or found
    return likeliest


def _cropped(
    image: Image.Image, subject: Subject, shade: Shade, scale: float, size: Size
) -> Image.Image:
    """A part of a picture with a subject in its middle; see `centered`.

    Args:
        image: the picture.
        subject: of the picture.
        shade: of its background.
        scale: how many of the picture's pixels one of the result is along a side.
        size: height and width of the result.
    """
    height, width = size
    shrink = max(1, int(scale / 2))  # more than twice the wanted resolution is of no use
    small = image.reduce(shrink) if shrink > 1 else image
    sides = scale * height / shrink, scale * width / shrink
    starts = [
        _start(Span(*(value / shrink for value in span)), side)
        for span, side in zip((subject.rows, subject.columns), sides, strict=True)
    ]
    (top, left), (tall, wide) = map(math.floor, starts), map(math.ceil, sides)
    inside = max(left, 0), max(top, 0)
    end = min(left + wide + 1, small.width), min(top + tall + 1, small.height)
    part = small.crop((*inside, *end))
    ground = _ground(subject, (*inside, *end), small.size)
    box = [
        slice(max(0, int(span.first / shrink) - start), math.ceil(span.end / shrink) - start)
        for span, start in ((subject.rows, inside[1]), (subject.columns, inside[0]))
    ]
    clear = (
        _cleared(part, ground, subject, shade)
        if part.mode == "L"
        else _bleached(part, ground, shade, box)
    )
    canvas = Image.new(part.mode, (wide + 1, tall + 1), "black" if shade == "dark" else "white")
    canvas.paste(clear, (inside[0] - left, inside[1] - top))
    y, x = starts[0] - top, starts[1] - left
    return canvas.resize(
        (width, height),
        Image.Resampling.BILINEAR,
        box=(x, y, min(x + sides[1], wide + 1), min(y + sides[0], tall + 1)),
    )


def _start(span: Span, side: float) -> float:
    """Where a part of a length begins that has a subject's center of mass in its middle.

    All of the subject is inside.
    """
    middle = (span.first + span.end) / 2
    slack = (side - span.length) / 2
    return middle + min(max(span.center_of_mass - middle, -slack), slack) - side / 2


def _ground(subject: Subject, box: tuple[int, int, int, int], size: tuple[int, int]) -> np.ndarray:
    """The background's gray value at each pixel of a part of a picture.

    Args:
        subject: of the picture.
        box: left, upper, right and lower end of the part.
        size: of the picture, width and height.
    """
    whole = Image.fromarray(subject.ground.astype(np.float32))
    across, down = whole.width / size[0], whole.height / size[1]
    left, top, right, bottom = box
    found = whole.resize(
        (right - left, bottom - top),
        Image.Resampling.BILINEAR,
        box=(
            left * across,
            top * down,
            min(right * across, whole.width),
            min(bottom * down, whole.height),
        ),
    )
    return np.asarray(found)


def _cleared(image: Image.Image, ground: np.ndarray, subject: Subject, shade: Shade) -> Image.Image:
    """A gray image on black or white, in the contrast of the whole range."""
    differences = difference(np.asarray(image, np.float32), ground, shade)
    values = np.minimum(differences * (255 / subject.strength), 255).round().astype(np.uint8)
    return Image.fromarray(values if shade == "dark" else 255 - values)


def _bleached(
    image: Image.Image, ground: np.ndarray, shade: Shade, box: Sequence[slice]
) -> Image.Image:
    """An image in color on white: every color is lightened as much as the background. Or on black.

    The background's color is the median of those beside the subject whose gray value is its own.

    Args:
        image: the image.
        ground: the background's gray values.
        shade: of the background.
        box: the rows and the columns where the subject is.
    """
    colors = np.asarray(image, np.float32)
    near = np.abs(np.asarray(image.convert("L"), np.float32) - ground) <= _NEAR
    near[tuple(box)] = False
    tint = np.median(colors[near] - ground[near][:, None], axis=0) if near.any() else 0
    background = ground[..., None] + tint
    if shade == "dark":
        colors, background = 255 - colors, 255 - background
    lighter = np.clip(colors * (255 / np.maximum(background, 1)), 0, 255)
    values = lighter.round().astype(np.uint8)
    return Image.fromarray(255 - values if shade == "dark" else values)


def _strengthened(image: Image.Image, shade: Shade, wanted: float | None) -> Image.Image:
    """A gray image on black or white with the contrast that thin lines lose when scaled down.

    Args:
        image: the image.
        shade: of its background.
        wanted: see `Background.strength`; at least the whole range is used.
    """
    differences = on_dark(np.asarray(image, np.float32), shade)
    gain = 255 / max(1.0, float(differences.max()))
    if wanted is not None:
        by_strength = wanted / max(1.0, float(strengths(differences[None])[0]))
        gain = max(gain, min(by_strength, _MOST_GAIN * gain))
    values = np.minimum(differences * gain, 255).round()
    return Image.fromarray(on_dark(values, shade).astype(np.uint8))
