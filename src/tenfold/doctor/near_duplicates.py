"""Images that are nearly the same: saved again, scaled, moved by a pixel, or brightened.

In three steps. Every image is described by how much of each low spatial frequency it has, which
hardly changes if it is moved. The nearest images by that description are candidates. A pair of them
counts if its gray values, slightly blurred, are correlated almost perfectly at one of the shifts by
at most a pixel.
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

SAME = 0.0035
"""A pair is nearly the same if 1 minus its correlation is smaller."""

MOST_IMAGES = 200_000
"""The search takes time in proportion to the square of the number of images."""

NEIGHBOURS = 3
"""Candidates for each image."""

FREQUENCIES = 8
"""Spatial frequencies of the description in each direction."""

LONGEST_SIDE = 64
"""Larger images are scaled down by a whole number before they are compared."""

ROOM = 64 * 2**20
"""Bytes of similarities that are in memory at a time."""

GrayImages = Float32[np.ndarray, "n height width"]

_BLOCK = 2048


@dataclass(frozen=True)
class Pairs:
    """Pairs of images that are nearly the same.

    Attributes:
        first: the places of the images that come first.
        second: those of the others.
        distance: 1 minus the correlation of each pair.
    """

    first: Int64[np.ndarray, " pairs"]
    second: Int64[np.ndarray, " pairs"]
    distance: Float32[np.ndarray, " pairs"]


def find_near_duplicates(
    parts: Sequence[ImageDataset], progress: Callable[[int, int], None] = lambda _done, _n: None
) -> list[Finding]:
    """Every group of images that are nearly the same, as one finding.

    Of images that are equal in every pixel, one is compared.

    Args:
        parts: the splits, of one image shape.
        progress: called with the number of images compared, and that of all.
    """
    arrays = [part.image_array for part in parts]
    images = [(part, index) for part in parts for index in range(len(part))]
    kept = ~np.concatenate([is_flat(array) for array in arrays])
    for group in equal_images(arrays):
        kept[group[1:]] = False
    places = np.flatnonzero(kept)[:MOST_IMAGES]
    gray = np.concatenate([_gray(array) for array in arrays])[places]
    pairs = near_pairs(gray, progress)
    findings = []
    for members, distance in _groups(pairs):
        found = tuple(located(*images[places[member]]) for member in members)
        labels = list(dict.fromkeys(image.label for image in found))
        splits = list(dict.fromkeys(image.split for image in found))
        text = f"{len(found)} images are nearly the same"
        if len(labels) > 1:
            text += f", labeled {quoted(labels)}"
        if len(splits) > 1:
            text += f", in {listing(splits)}"
        # Contradictions first, then what is tested and trained on.
        rank = (len(labels) == 1, len(splits) == 1, distance)
        findings.append(
            (rank, Finding("near-duplicates", text, found, (False,) * len(found), distance))
        )
    return [finding for _, finding in sorted(findings, key=lambda ranked: ranked[0])]


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
    gray: GrayImages, progress: Callable[[int, int], None] = lambda _done, _n: None
) -> Pairs:
    """The pairs of images that are nearly the same, each once.

    Args:
        gray: the images, 0..255.
        progress: called with the number of images compared, and that of all.
    """
    if len(gray) < 2:
        nothing = np.empty(0, np.int64)
        return Pairs(nothing, nothing, np.empty(0, np.float32))
    neighbours = _nearest(_described(gray), progress)
    rows = np.repeat(np.arange(len(gray)), neighbours.shape[1])
    columns = neighbours.reshape(-1)
    pairs = np.unique(np.stack([np.minimum(rows, columns), np.maximum(rows, columns)], 1), axis=0)
    blurred = _blurred(gray)
    distance = np.concatenate(
        [
            _distances(blurred, pairs[start : start + _BLOCK])
            for start in range(0, len(pairs), _BLOCK)
        ]
    )
    same = distance < SAME
    return Pairs(pairs[same, 0], pairs[same, 1], distance[same])


def _gray(images: PixelArray) -> GrayImages:
    """The mean of the channels, scaled down by a whole number if a side is long."""
    factor = math.ceil(max(images.shape[2:]) / LONGEST_SIDE)
    height, width = (side // factor for side in images.shape[2:])
    gray = np.empty((len(images), height, width), np.float32)
    for start in range(0, len(images), _BLOCK):
        block = images[start : start + _BLOCK, :, : height * factor, : width * factor]
        means = block.mean(1, dtype=np.float32)
        shape = (len(block), height, factor, width, factor)
        gray[start : start + _BLOCK] = means.reshape(shape).mean((2, 4))
    return gray


def _described(gray: GrayImages) -> Float32[np.ndarray, "n features"]:
    """The strength of each low frequency, relative to the mean over all images, as a unit vector.

    Images are faded out toward their edges, so that what is moved out of them matters little.
    """
    height, width = gray.shape[1:]
    fading = np.sqrt(np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])).astype(
        np.float32
    )
    down, across = (min(FREQUENCIES, (side + 1) // 2) for side in (height, width))
    described = []
    for start in range(0, len(gray), _BLOCK):
        block = gray[start : start + _BLOCK]
        level = (block * fading).sum((1, 2), keepdims=True) / fading.sum()
        strengths = np.abs(np.fft.rfft2((block - level) * fading))
        low = np.concatenate(
            [strengths[:, :down, :across], strengths[:, height - down + 1 :, :across]], 1
        )
        features = np.sqrt(low).reshape(len(block), -1)
        described.append(_unit(features).astype(np.float32))
    features = np.concatenate(described)
    return _unit(features - features.mean(0))


def _unit(rows: np.ndarray) -> np.ndarray:
    lengths: np.ndarray = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.maximum(lengths, 1e-9)


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


def _blurred(gray: GrayImages) -> GrayImages:
    """The mean of each pixel and its eight neighbours; without the outermost pixels."""
    if min(gray.shape[1:]) < 5:
        return gray
    rows = gray[:, :-2] + gray[:, 1:-1] + gray[:, 2:]
    blurred: GrayImages = (rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]) / 9
    return blurred


def _distances(
    gray: GrayImages, pairs: Int64[np.ndarray, "pairs 2"]
) -> Float32[np.ndarray, " pairs"]:
    """1 minus the correlation of each pair, at the best of the shifts by at most a pixel."""
    height, width = gray.shape[1:]
    first, second = gray[pairs[:, 0]], gray[pairs[:, 1]]
    best = np.full(len(pairs), np.inf, np.float32)
    for down in (-1, 0, 1):
        for across in (-1, 0, 1):
            if abs(down) >= height or abs(across) >= width:
                continue
            one = first[
                :, max(0, down) : height + min(0, down), max(0, across) : width + min(0, across)
            ]
            other = second[
                :, max(0, -down) : height - max(0, down), max(0, -across) : width - max(0, across)
            ]
            best = np.minimum(best, 1 - _correlations(one, other))
    return best


def _correlations(one: GrayImages, other: GrayImages) -> Float32[np.ndarray, " pairs"]:
    one = one - one.mean((1, 2), keepdims=True)
    other = other - other.mean((1, 2), keepdims=True)
    product = np.einsum("nij,nij->n", one, other)
    lengths = np.einsum("nij,nij->n", one, one) * np.einsum("nij,nij->n", other, other)
    correlations: Float32[np.ndarray, " pairs"] = product / np.sqrt(np.maximum(lengths, 1e-6))
    return correlations
