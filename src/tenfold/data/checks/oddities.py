"""Single images that look wrong: of one color, very small, or unlike the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float64

from tenfold.data.checks.findings import Finding, located
from tenfold.data.dataset import ImageDataset
from tenfold.types import PixelArray

FLAT = 8
"""An image is of one color if no channel's values differ by more."""

SMALLEST = 8
"""An image with a shorter side is very small, in pixels."""

LONGEST = 4.0
"""An image whose longer side is more times the shorter one, and the usual proportion, is long."""

FAR = 6.0
"""Standard deviations, estimated from the middle of the distribution, that make an image odd."""

LEAST_DEVIATION = 0.1
"""Where images hardly differ, the deviation of the logarithms of light and contrast counts so."""

ROOM = 16 * 2**20
"""Bytes of pixels that are converted at a time."""


def find_oddities(parts: Sequence[ImageDataset]) -> Iterator[Finding]:
    """Images of one color, very small ones, and those unlike the others."""
    flat_ones = [is_flat(part.image_array) for part in parts]
    for part, flat in zip(parts, flat_ones, strict=True):
        for index in np.flatnonzero(flat).tolist():
            color = part.image_array[index].reshape(part.image_shape.channels, -1).mean(1)
            yield Finding(
                "blank", f"all of it is {_named(color)}", (located(part, index),), (True,)
            )
        yield from _odd_sizes(part)
    if parts:
        yield from _odd_light(parts, ~np.concatenate(flat_ones))


def is_flat(images: PixelArray) -> Bool[np.ndarray, " n"]:
    """Whether all pixels of an image have nearly the same value."""
    pixels = images.reshape(*images.shape[:2], -1)
    stride = max(1, pixels.shape[2] // 64)
    some = np.ascontiguousarray(pixels[:, :, ::stride])
    may_be = (some.max(2) - some.min(2)).max(1) <= FLAT
    flat: Bool[np.ndarray, " n"] = may_be
    for index in np.flatnonzero(may_be).tolist():
        flat[index] = np.ptp(images[index], axis=(1, 2)).max() <= FLAT
    return flat


def _named(color: np.ndarray) -> str:
    """Black, white, or the values of the channels."""
    if color.max() <= FLAT:
        return "black"
    if color.min() >= 255 - FLAT:
        return "white"
    values = [round(float(value)) for value in color]
    return f"gray {values[0]}" if len(set(values)) == 1 else f"of the color {values}"


def _odd_sizes(part: ImageDataset) -> Iterator[Finding]:
    if part.originals is None:
        return
    sizes = part.originals.sizes
    proportions = sizes[:, 1] / sizes[:, 0]
    usual = np.exp(np.median(np.log(proportions)))
    away = np.maximum(proportions / usual, usual / proportions)
    long = (np.maximum(proportions, 1 / proportions) > LONGEST) & (away > LONGEST)
    wanted = min(SMALLEST, *part.image_shape[1:])
    small = (sizes.min(1) < wanted) & ~long
    for index in np.flatnonzero(small).tolist():
        height, width = sizes[index].tolist()
        text = f"it has {height} x {width} pixels"
        yield Finding("tiny", text, (located(part, index),), (False,), float(height * width))
    for index in np.flatnonzero(long).tolist():
        height, width = sizes[index].tolist()
        text = f"it has {height} x {width} pixels, far from the usual proportions"
        yield Finding("extreme", text, (located(part, index),), (False,), -float(away[index]))


def _odd_light(
    parts: Sequence[ImageDataset], is_shown: Bool[np.ndarray, " all"]
) -> Iterator[Finding]:
    """Images that are far darker, brighter or flatter than the others.

    Args:
        parts: the splits.
        is_shown: for each of their images, whether it shows anything; others do not count.
    """
    measured = [light_and_contrast(part.image_array) for part in parts]
    light, contrast = (np.concatenate(values) for values in zip(*measured, strict=True))
    images = [(part, index) for part in parts for index in range(len(part))]
    shown = np.flatnonzero(is_shown)
    if not len(shown):
        return
    images = [images[place] for place in shown.tolist()]
    light, contrast = light[shown], contrast[shown]
    # Near black and white, equal steps of light matter more.
    of_light = _distances(np.log((light + 1) / (256 - light)))
    of_contrast = _distances(np.log(contrast + 1))
    for place in np.flatnonzero(np.abs(of_light) > FAR).tolist():
        word = "bright" if of_light[place] > 0 else "dark"
        text = (
            f"it is unusually {word}: its mean is {light[place]:.0f}, the median of all is "
            f"{np.median(light):.0f}"
        )
        part, index = images[place]
        yield Finding(
            "extreme",
            text,
            (located(part, index),),
            (False,),
            -abs(float(of_light[place])),
        )
    odd = (of_contrast < -FAR) & (np.abs(of_light) <= FAR)
    for place in np.flatnonzero(odd).tolist():
        part, index = images[place]
        yield Finding(
            "extreme",
            f"it is unusually flat: its pixels deviate by {contrast[place]:.0f}, in the median "
            f"image by {np.median(contrast):.0f}",
            (located(part, index),),
            (False,),
            float(of_contrast[place]),
        )


def light_and_contrast(
    images: PixelArray,
) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    """The mean and the standard deviation of each image's pixels."""
    pixels = images.reshape(len(images), -1)
    light, contrast = np.empty(len(pixels)), np.empty(len(pixels))
    rows = max(1, ROOM // (4 * pixels.shape[1]))
    for start in range(0, len(pixels), rows):
        some = slice(start, start + rows)
        block = pixels[some].astype(np.float32)
        light[some] = block.mean(1, dtype=np.float64)
        contrast[some] = block.std(1)
    return light, contrast


def _distances(values: np.ndarray) -> Float64[np.ndarray, " n"]:
    """How many standard deviations each value is from the median.

    The deviation of either side is estimated from the quarter of the values next to the median, as
    if they were normally distributed.
    """
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    side = np.where(values < middle, middle - low, high - middle) / 0.6745
    distances: Float64[np.ndarray, " n"] = (values - middle) / np.maximum(side, LEAST_DEVIATION)
    return distances
