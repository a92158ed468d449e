"""Find what stands out from the background of a photograph, a scan or a drawing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image

from tenfold.deployment.background import Shade
from tenfold.deployment.windows import of_windows

_LOOKED_AT = 640 * 640
"""About how many pixels of a picture are looked at to find the subject, at most."""

_THIN = 32
"""Pixels of the shorter side that are looked at if there are as many."""

_STANDS_OUT = 32
"""Least difference from the background, in gray values, of a subject."""

_FAINT, _MOST_FAINT = 16, 2.0
"""Least difference of a shadow, and how much larger than a subject what differs so much may be."""

_CELLS = 64
"""Parts of a picture are told apart in a grid of as many cells a side, at most."""

_LEAST_PART = 0.05
"""Parts with a smaller share of the mass of the largest are dust."""

_LEAST_BESIDE = 0.01
"""The subject has at least as large a share of the mass of what is beside it."""

_NEAR = 0.03
"""What is near an edge of the background, as a share of the picture's shorter side."""

_STROKE = 0.25
"""Strokes are narrower than this share of the picture's shorter side."""

_MUCH_WIDER, _MOST = 3, 0.8
"""No stroke is more than 3 times as wide as the width that 80 % of the mass has at least."""

_WIDER, _WIDE = 2, 0.1
"""If a larger share is wider than strokes by this factor, some of what stands out is no stroke."""


class Span(NamedTuple):
    """Where a subject is along an axis, in pixels."""

    first: float
    end: float
    center_of_mass: float

    @property
    def length(self) -> float:
        """From the first pixel to the last."""
        return self.end - self.first


class Subject(NamedTuple):
    """What stands out from a picture's background.

    Attributes:
        rows: where it is from top to bottom.
        columns: where it is from left to right.
        thickness: the side of the largest square that is all subject, in pixels.
        is_clear: whether it is apart from what seems to be beside the paper, and from a plane
            nothing else differs, not even faintly.
        ground: the background's gray values, of a smaller picture.
        strength: how much it differs from that, at least, where it differs much.
    """

    rows: Span
    columns: Span
    thickness: float
    is_clear: bool
    ground: np.ndarray
    strength: float


def subjects_of(image: Image.Image, shade: Shade, *, has_strokes: bool) -> Iterator[Subject]:
    """What may be a picture's subject, the likelier first; nothing if nothing stands out.

    First what differs from a plane through the rim: paper that is lit from one side. Then strokes
    that differ from what is around them, on paper that is partly in the shade, or with a table
    around it: without what is much wider than most, if anything is, and with it. Of all, what
    differs by at least half as much as what differs most, without dust, and without what is beside
    the paper: what covers a corner of the picture, or, of strokes, touches a side of it or runs
    along an edge of the background.

    Args:
        image: of mode L or RGB.
        shade: what is behind the subject, dark or light.
        has_strokes: whether subjects consist of strokes.
    """
    scales = _scales(image.size)
    gray = np.asarray(image.reduce(scales).convert("L"), np.float32)
    corners, sides = np.zeros(gray.shape, bool), np.ones(gray.shape, bool)
    corners[np.ix_([0, -1], [0, -1])] = True
    sides[1:-1, 1:-1] = False

    def subject(part: _Part) -> Subject:
        return Subject(
            _span(part.mass.sum(axis=1), scales[1], image.height),
            _span(part.mass.sum(axis=0), scales[0], image.width),
            float(_largest_square(part.mass > 0) * min(scales)),
            part.is_clear,
            part.ground,
            part.strength,
        )

    before_plane = _standing_out(gray, _plane(gray), shade, corners, _MOST_FAINT)
    if before_plane is not None:
        yield subject(before_plane)
    if has_strokes:
        yield from map(subject, _strokes(gray, shade, sides))


def difference(gray: np.ndarray, ground: np.ndarray, shade: Shade) -> np.ndarray:
    """How much lighter than a dark background pixels are, or how much darker than a light one."""
    found: np.ndarray = np.maximum(gray - ground if shade == "dark" else ground - gray, 0)
    return found


def _rim(pixels: np.ndarray) -> np.ndarray:
    """The outermost pixels of an image, height x width or height x width x channels."""
    return np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])


def _scales(size: tuple[int, int]) -> tuple[int, int]:
    """By what a picture is divided so that it has few pixels, however long and thin it is.

    Args:
        size: of the picture, width and height.
    """
    too_many = size[0] * size[1] / _LOOKED_AT
    short = max(1, min(math.ceil(math.sqrt(too_many)), min(size) // _THIN))
    long = math.ceil(too_many / short)
    return (long, short) if size[0] >= size[1] else (short, long)


# ---- The background ----------------------------------------------------------------------------


def _plane(gray: np.ndarray) -> np.ndarray:
    """A plane through most of the rim, though the subject may touch it."""
    y, x = np.indices(gray.shape, np.float32)
    places = np.stack([np.ones_like(x), x, y], axis=-1)
    around, values = _rim(places), _rim(gray)
    near = np.abs(values - np.median(values)) <= _STANDS_OUT
    slopes = np.linalg.lstsq(around[near], values[near], rcond=None)[0]
    found: np.ndarray = places @ slopes.astype(np.float32)
    return found


def _surroundings(gray: np.ndarray, shade: Shade, reach: int) -> np.ndarray:
    """The picture without strokes.

    A morphological closing, or an opening where the background is dark: J. Serra, "Image Analysis
    and Mathematical Morphology", 1982. The typical background differs from neither.

    Args:
        gray: the picture.
        shade: of its background.
        reach: half the width of the widest strokes.
    """
    first, then = (np.minimum, np.maximum) if shade == "dark" else (np.maximum, np.minimum)
    found = of_windows(of_windows(gray, reach, first), reach, then)
    return found - np.float32(np.median(found - gray))


# ---- What stands out ---------------------------------------------------------------------------


class _Part(NamedTuple):
    """What stands out from a background.

    Attributes:
        mass: at each pixel.
        is_clear: see `Subject`.
        ground: the background.
        strength: see `Subject`.
    """

    mass: np.ndarray
    is_clear: bool
    ground: np.ndarray
    strength: float


def _strokes(gray: np.ndarray, shade: Shade, sides: np.ndarray) -> Iterator[_Part]:
    """What differs from its surroundings; without what is much wider than most, if anything is.

    So a finger, or what a corner of a shadow leaves, does not belong to it.
    """
    reach = max(1, math.ceil(_STROKE / 2 * min(gray.shape)))
    every = _standing_out(gray, _surroundings(gray, shade, reach), shade, sides)
    if every is None:
        return
    filled = of_windows(of_windows(every.mass > 0, 1, np.logical_or), 1, np.logical_and)
    half_width = _half_width(filled, reach)
    likely = _MUCH_WIDER * half_width
    wide = np.count_nonzero(_opened(filled, _WIDER * half_width)) if likely < reach else 0
    if wide > _WIDE * np.count_nonzero(filled):
        narrow = _standing_out(gray, _surroundings(gray, shade, likely), shade, sides)
        if narrow is not None:
            yield narrow
    yield every


def _half_width(filled: np.ndarray, most: int) -> int:
    """Half the width of what is filled, for most of it; in a granulometry by squares."""
    for reach in range(1, most):
        if np.count_nonzero(_opened(filled, reach)) < _MOST * np.count_nonzero(filled):
            return reach
    return most


def _opened(filled: np.ndarray, reach: int) -> np.ndarray:
    """What is filled and as wide as these squares."""
    return of_windows(of_windows(filled, reach, np.logical_and), reach, np.logical_or)


def _standing_out(
    gray: np.ndarray,
    ground: np.ndarray,
    shade: Shade,
    outside: np.ndarray,
    most_faint: float = math.inf,
) -> _Part | None:
    """What stands out; None if nothing does.

    Args:
        gray: the picture.
        ground: its background.
        shade: of the background.
        outside: see `_without_rest`.
        most_faint: how much larger than the subject what differs faintly may be.
    """
    differences = difference(gray, ground, shade)
    standing_out = differences[differences >= _STANDS_OUT]
    if not len(standing_out):
        return None
    # The mean weighted by the difference itself: a faint shadow counts little, and so does a speck.
    strength = float((standing_out**2).sum() / standing_out.sum())
    least = max(_STANDS_OUT, strength / 2)
    mass = np.where(differences >= least, np.minimum(differences, strength), 0)
    mass, is_apart = _without_rest(mass, outside, _edges(ground))
    faint = np.count_nonzero(differences >= _FAINT) / np.count_nonzero(mass)
    is_clear = bool(is_apart and _is_inside_or_whole(mass) and faint <= most_faint)
    return _Part(mass, is_clear, ground, strength)


def _is_inside_or_whole(mass: np.ndarray) -> bool:
    """Whether there is mass at none of the picture's sides, or at all: it was cropped to it."""
    touched = [side.any() for side in (mass[0], mass[-1], mass[:, 0], mass[:, -1])]
    return all(touched) or not any(touched)


def _edges(ground: np.ndarray) -> np.ndarray:
    """Which pixels are near an edge of the background."""
    reach = max(1, round(_NEAR * min(ground.shape)))
    lightest, darkest = (of_windows(ground, reach, each) for each in (np.maximum, np.minimum))
    found: np.ndarray = lightest - darkest > _STANDS_OUT
    return found


def _without_rest(
    mass: np.ndarray, outside: np.ndarray, edges: np.ndarray
) -> tuple[np.ndarray, bool]:
    """The mass without what does not belong to the subject: dust, and what is beside the paper.

    Also whether the subject is apart from that, as far as can be seen.

    Args:
        mass: at each pixel.
        outside: which pixels are beside the paper if anything is: parts with one of them are left
            out if there are others.
        edges: which are near edges of the background: so are parts that are mostly of these.
    """
    steps = [max(1, math.ceil(side / _CELLS)) for side in mass.shape]
    padding = [(0, -side % step) for side, step in zip(mass.shape, steps, strict=True)]
    padded = np.pad(mass > 0, padding)
    cells = padded.reshape(padded.shape[0] // steps[0], steps[0], -1, steps[1])
    grid = np.any(cells, axis=(1, 3))
    of_pixel = _parts(grid).repeat(steps[0], axis=0).repeat(steps[1], axis=1)
    of_pixel = of_pixel[: mass.shape[0], : mass.shape[1]]
    of_part, at_edges, beside = (
        np.bincount(of_pixel.ravel(), (mass * where).ravel()) for where in (1, edges, outside)
    )
    inside = np.where((beside > 0) | (at_edges > of_part / 2), 0, of_part)
    is_apart = bool(inside.max() >= _LEAST_BESIDE * of_part.max())
    if not is_apart:
        inside = of_part
    kept = inside >= _LEAST_PART * inside.max()
    return np.where(kept[of_pixel], mass, 0), is_apart


def _largest_square(filled: np.ndarray) -> int:
    """The side of the largest square of pixels that are all filled."""
    sums = np.pad(filled, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    least, most = 0, min(filled.shape)
    while least < most:
        side = (least + most + 1) // 2
        inside = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side]
        if (inside + sums[:-side, :-side] == side * side).any():
            least = side
        else:
            most = side - 1
    return least


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


def _span(mass: np.ndarray, scale: int, most: int) -> Span:
    """Where there is mass along an axis.

    Args:
        mass: of each row or column of the smaller picture.
        scale: how many of the picture's own are one of these.
        most: number of its own.
    """
    there = np.flatnonzero(mass)
    center = float(mass @ (np.arange(len(mass)) + 0.5) / mass.sum())
    return Span(float(there[0] * scale), float(min((there[-1] + 1) * scale, most)), center * scale)
