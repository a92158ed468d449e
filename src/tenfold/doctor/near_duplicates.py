"""Images that are nearly the same: saved again, scaled, moved by a pixel, or brightened.

In three steps. Every image is described by how much of each low spatial frequency it has, which
hardly changes if it is moved. The nearest images by that description are candidates. A pair of them
counts if its gray values are correlated almost perfectly: slightly blurred, at one of the shifts by
at most a pixel; or if one of the two is blurred a little, as scaling does, and the other is not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64

from tenfold.data.checks.duplicates import equal_images
from tenfold.data.checks.findings import Finding, located
from tenfold.data.checks.oddities import is_flat
from tenfold.data.dataset import ImageDataset
from tenfold.errors import listing, quoted
from tenfold.types import PixelArray

SAME_MOVED, SAME_SCALED = 0.0012, 0.003
"""A pair is nearly the same if 1 minus its correlation is smaller: with both images blurred, at the
best shift; and with one of them blurred."""

NOISY_CONTRAST = 30.0
"""Where pixels deviate by so much, the noise of saving may double the difference: by about 1.5
levels of gray."""

WORTH_A_LOOK = 25
"""A pair whose distance by shifts is more times as large is not compared by scales."""

BLURS = (0.45, 0.6, 0.75)
"""Standard deviations of the Gaussians that stand for scaling, in pixels."""

MOST_IMAGES = 200_000
"""The search takes time in proportion to the square of the number of images."""

NEIGHBOURS = 3
"""Candidates for each image."""

FREQUENCIES = 8
"""Spatial frequencies of the description in each direction."""

LONGEST_SIDE = 64
"""Longer sides are divided by a whole number before images are compared."""

LUMA = np.array([0.299, 0.587, 0.114])
"""Of red, green and blue in ITU-R BT.601."""

SMALLEST_SIDE = 6
"""Smaller images are too much alike by chance."""

ROOM = 64 * 2**20
"""Bytes of similarities, or of pixels, that are in memory at a time."""

GrayImages = Float32[np.ndarray, "n height width"]

GrayOf = Callable[[Int64[np.ndarray, " some"]], GrayImages]
"""The gray values, 0..255, of the images at some places."""


@dataclass(frozen=True)
class Pairs:
    """Pairs of images that are nearly the same.

    Attributes:
        first: the places of the images that come first.
        second: those of the others.
        distance: 1 minus the correlation of each pair, divided by the largest one that counts for
            images of their contrast, so 0..1.
    """

    first: Int64[np.ndarray, " pairs"]
    second: Int64[np.ndarray, " pairs"]
    distance: Float32[np.ndarray, " pairs"]


def find_near_duplicates(
    parts: Sequence[ImageDataset], progress: Callable[[int, int], None] = lambda _done, _n: None
) -> list[Finding]:
    """Every group of images that are nearly the same, as one finding.

    Of images that are equal in every pixel, one is compared; images of one color are not, nor are
    any with a side shorter than `SMALLEST_SIDE`. Beyond `MOST_IMAGES`, only the first are compared.

    Args:
        parts: the splits, of one image shape.
        progress: called with the number of images compared, and that of all.
    """
    arrays = [part.image_array for part in parts]
    if min(parts[0].image_shape[1:]) < SMALLEST_SIDE:
        return []
    kept = ~np.concatenate([is_flat(array) for array in arrays])
    for group in equal_images(arrays):
        kept[group[1:]] = False
    places = np.flatnonzero(kept)[:MOST_IMAGES]
    starts = np.cumsum([0, *map(len, arrays)])
    owners = np.searchsorted(starts, places, side="right") - 1
    indexes = places - starts[owners]

    def gray_of(some: Int64[np.ndarray, " some"]) -> GrayImages:
        pixels = np.empty((len(some), *parts[0].image_shape), np.uint8)
        for number, array in enumerate(arrays):
            own = owners[some] == number
            pixels[own] = array[indexes[some[own]]]
        return _gray(pixels)

    found = []
    for members, distance in _groups(near_pairs(len(places), gray_of, progress)):
        images = tuple(located(parts[owners[at]], int(indexes[at])) for at in members)
        labels = list(dict.fromkeys(image.label for image in images))
        splits = list(dict.fromkeys(image.split for image in images))
        text = f"{len(images)} images are nearly the same"
        if len(labels) > 1:
            text += f", labeled {quoted(labels)}"
        if len(splits) > 1:
            text += f", in {listing(splits)}"
        # Contradictions first, then what is tested and trained on.
        rank = (len(labels) == 1, len(splits) == 1, distance)
        safe = (False,) * len(images)
        found.append((rank, Finding("near-duplicates", text, images, safe, distance)))
    return [finding for _, finding in sorted(found, key=lambda ranked: ranked[0])]


def _groups(pairs: Pairs) -> Iterator[tuple[list[int], float]]:
    """The images that pairs connect, with the smallest distance among them."""
    group_of: dict[int, int] = {}
    members: dict[int, list[int]] = {}
    nearest: dict[int, float] = {}
    for first, second, distance in zip(
        pairs.first.tolist(), pairs.second.tolist(), pairs.distance.tolist(), strict=True
    ):
        for image in (first, second):
            if image not in group_of:
                group_of[image], members[image], nearest[image] = image, [image], math.inf
        one, other = group_of[first], group_of[second]
        if len(members[one]) < len(members[other]):
            one, other = other, one
        nearest[one] = min(nearest[one], nearest[other], distance)
        if one != other:
            for image in members[other]:
                group_of[image] = one
            members[one] += members.pop(other)
            del nearest[other]
    for group, images in members.items():
        yield sorted(images), nearest[group]


def near_pairs(
    n: int, gray_of: GrayOf, progress: Callable[[int, int], None] = lambda _done, _n: None
) -> Pairs:
    """The pairs of images that are nearly the same, each once.

    Args:
        n: number of images.
        gray_of: gives them.
        progress: called with the number of images compared, and that of all.
    """
    if n < 2:
        nothing = np.empty(0, np.int64)
        return Pairs(nothing, nothing, np.empty(0, np.float32))
    height, width = gray_of(np.arange(1)).shape[1:]
    rows = max(1, ROOM // (16 * height * width))
    parts = [np.arange(start, min(start + rows, n)) for start in range(0, n, rows)]
    features = np.concatenate([_described(gray_of(part)) for part in parts])
    neighbours = _nearest(_unit(features - features.mean(0)), progress)
    one, other = np.repeat(np.arange(n), neighbours.shape[1]), neighbours.reshape(-1)
    pairs = np.unique(np.stack([np.minimum(one, other), np.maximum(one, other)], 1), axis=0)
    step = max(1, rows // 4)
    blocks = [pairs[start : start + step] for start in range(0, len(pairs), step)]
    distance = np.concatenate(
        [_distances(gray_of(block[:, 0]), gray_of(block[:, 1])) for block in blocks]
    )
    same = distance < 1
    return Pairs(pairs[same, 0], pairs[same, 1], distance[same])


def _gray(images: PixelArray) -> Float32[np.ndarray, "n smaller_height smaller_width"]:
    """The luma of color, which JPEG keeps best; a long side is divided by a whole number."""
    n, _, *sides = images.shape
    down, across = (math.ceil(side / LONGEST_SIDE) for side in sides)
    height, width = sides[0] // down, sides[1] // across
    pixels = images[:, :, : height * down, : width * across].astype(np.float32)
    weights = LUMA if pixels.shape[1] == 3 else np.full(pixels.shape[1], 1 / pixels.shape[1])
    gray: np.ndarray = np.einsum("nchw,c->nhw", pixels, weights.astype(np.float32))
    if down > 1 or across > 1:
        gray = gray.reshape(n, height, down, width, across).mean((2, 4))
    return gray


def _described(gray: GrayImages) -> Float32[np.ndarray, "n features"]:
    """The strength of each low frequency, as a unit vector.

    Images are faded out toward their edges, so that what is moved out of them matters little.
    """
    height, width = gray.shape[1:]
    fading = np.sqrt(np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])).astype(
        np.float32
    )
    down, across = (min(FREQUENCIES, (side + 1) // 2) for side in (height, width))
    level = (gray * fading).sum((1, 2), keepdims=True) / fading.sum()
    strengths = np.abs(np.fft.rfft2((gray - level) * fading))
    low = np.concatenate(
        [strengths[:, :down, :across], strengths[:, height - down + 1 :, :across]], 1
    )
    features: np.ndarray = _unit(np.sqrt(low).reshape(len(gray), -1)).astype(np.float32)
    return features


def _unit(rows: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    units: np.ndarray = rows / np.maximum(lengths, 1e-9)
    return units


def _nearest(
    features: Float32[np.ndarray, "n features"], progress: Callable[[int, int], None]
) -> Int64[np.ndarray, "n neighbours"]:
    """The most similar other images of each."""
    n = len(features)
    nearest = np.empty((n, min(NEIGHBOURS, n - 1)), np.int64)
    rows = max(1, ROOM // (4 * n))
    for start in range(0, n, rows):
        block = np.arange(start, min(start + rows, n))
        similar = features[block] @ features.T
        each = np.arange(len(block))
        similar[each, block] = -np.inf
        for rank in range(nearest.shape[1]):
            best = similar.argmax(1)
            nearest[block, rank] = best
            similar[each, best] = -np.inf
        progress(int(block[-1]) + 1, n)
    return nearest


def _blurred(gray: GrayImages) -> Float32[np.ndarray, "n smaller_height smaller_width"]:
    """The mean of each pixel and its eight neighbours; without the outermost pixels."""
    rows = gray[:, :-2] + gray[:, 1:-1] + gray[:, 2:]
    blurred: np.ndarray = (rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]) / 9
    return blurred


def _distances(one: GrayImages, other: GrayImages) -> Float32[np.ndarray, " n"]:
    """The distance of each pair; see `Pairs`."""
    blurred = _blurred(one)
    distances = _moved(blurred, _blurred(other)) / np.float32(SAME_MOVED)
    near = np.flatnonzero(distances < WORTH_A_LOOK)
    scaled = _scaled(one[near], other[near]) / np.float32(SAME_SCALED)
    distances[near] = np.minimum(distances[near], scaled)
    contrast = np.maximum(blurred.std((1, 2)), np.float32(1e-3))
    allowed: np.ndarray = 1 + (np.float32(NOISY_CONTRAST) / contrast) ** 2
    distances /= allowed
    return distances


def _scaled(one: GrayImages, other: GrayImages) -> Float32[np.ndarray, " n"]:
    """1 minus the correlation of each pair, as they are or with one of them blurred."""
    best = 1 - _correlations(_inside(one), _inside(other))
    for deviation in BLURS:
        for sharp, smooth in ((one, other), (other, one)):
            blurred = _inside(_gaussian(sharp, deviation))
            best = np.minimum(best, 1 - _correlations(blurred, _inside(smooth)))
    return best


def _inside(gray: GrayImages) -> Float32[np.ndarray, "n smaller_height smaller_width"]:
    """Without the outermost pixels."""
    return gray[:, 1:-1, 1:-1]


def _gaussian(gray: GrayImages, deviation: float) -> GrayImages:
    """Blurred; the outermost pixels count for those beyond them."""
    reach = np.arange(-2, 3)
    weights = np.exp(-(reach**2) / (2 * deviation**2)).astype(np.float32)
    weights /= weights.sum()
    height, width = gray.shape[1:]
    padded = np.pad(gray, ((0, 0), (2, 2), (2, 2)), "edge")
    rows = sum(w * padded[:, at : at + height] for at, w in enumerate(weights))
    blurred: GrayImages = sum(w * rows[:, :, at : at + width] for at, w in enumerate(weights))
    return blurred


def _moved(one: GrayImages, other: GrayImages) -> Float32[np.ndarray, " n"]:
    """1 minus the correlation of each pair, at the best of the shifts by at most a pixel."""
    height, width = one.shape[1:]
    best = np.full(len(one), np.inf, np.float32)
    for down in (-1, 0, 1):
        for across in (-1, 0, 1):
            moved = one[
                :, max(0, down) : height + min(0, down), max(0, across) : width + min(0, across)
            ]
            still = other[
                :, max(0, -down) : height - max(0, down), max(0, -across) : width - max(0, across)
            ]
            best = np.minimum(best, 1 - _correlations(moved, still))
    return best


def _correlations(one: GrayImages, other: GrayImages) -> Float32[np.ndarray, " n"]:
    one = one - one.mean((1, 2), keepdims=True)
    other = other - other.mean((1, 2), keepdims=True)
    product = np.einsum("nij,nij->n", one, other)
    lengths = np.einsum("nij,nij->n", one, one) * np.einsum("nij,nij->n", other, other)
    correlations: Float32[np.ndarray, " n"] = product / np.sqrt(np.maximum(lengths, 1e-6))
    return correlations
