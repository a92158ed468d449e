"""Images that are equal in every pixel."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Int64, UInt64

from tenfold.data.checks.findings import Finding, located
from tenfold.data.dataset import ImageDataset
from tenfold.errors import listing, quoted
from tenfold.types import PixelArray

_SAMPLED = 64
"""Bytes of each image that are looked at first."""


def equal_images(arrays: Sequence[np.ndarray]) -> list[Int64[np.ndarray, " _"]]:
    """The groups of images that are equal in every pixel.

    Images of a single color are in no group.

    Args:
        arrays: of images, uint8, n x channels x height x width; those of different sizes differ.

    Returns:
        For each group, the places of two or more images, as if the arrays were joined.
    """
    starts = np.cumsum([0, *map(len, arrays)])
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for number, images in enumerate(arrays):
        if len(images):
            by_shape.setdefault(images.shape[1:], []).append(number)
    groups = []
    for numbers in by_shape.values():
        keys = np.concatenate([_keys(arrays[number]) for number in numbers])
        places = np.concatenate([starts[n] + np.arange(len(arrays[n])) for n in numbers])
        _, key_of, counts = np.unique(keys, return_inverse=True, return_counts=True)
        by_digest: dict[bytes, list[int]] = {}
        for place in places[counts[key_of] > 1].tolist():
            number = int(np.searchsorted(starts, place, side="right")) - 1
            image = arrays[number][place - starts[number]]
            if (image != image[:, :1, :1]).any():
                digest = hashlib.blake2b(image.tobytes(), digest_size=16).digest()
                by_digest.setdefault(digest, []).append(place)
        groups += [np.array(group) for group in by_digest.values() if len(group) > 1]
    return sorted(groups, key=lambda group: int(group[0]))


def _keys(images: PixelArray) -> UInt64[np.ndarray, " n"]:
    """A number for each image, from a few of its pixels; equal for equal images."""
    pixels = images.reshape(len(images), -1)
    stride = math.ceil(pixels.shape[1] / _SAMPLED)
    while math.gcd(stride, images.shape[-1]) > 1:  # not always the same columns
        stride += 1
    some = pixels[:, ::stride]
    padded = np.zeros((len(some), 8 * math.ceil(some.shape[1] / 8)), np.uint8)
    padded[:, : some.shape[1]] = some
    words = padded.view(np.uint64)
    factors = np.random.default_rng(0).integers(0, 2**64, words.shape[1], np.uint64) | np.uint64(1)
    keys: UInt64[np.ndarray, " n"] = (words * factors).sum(1, dtype=np.uint64)
    return keys


def find_duplicates(parts: Sequence[ImageDataset]) -> list[Finding]:
    """Every group of equal images, as one finding.

    Args:
        parts: the splits, that for training first.
    """
    images = [(part, index) for part in parts for index in range(len(part))]
    groups = equal_images([part.image_array for part in parts])
    return [_finding([images[place] for place in group.tolist()]) for group in groups]


def _finding(copies: Iterable[tuple[ImageDataset, int]]) -> Finding:
    found = tuple(located(part, index) for part, index in copies)
    labels = list(dict.fromkeys(image.label for image in found))
    splits = list(dict.fromkeys(image.split for image in found))
    if len(labels) > 1:
        text = f"the same image is labeled {quoted(labels)}"
        if len(splits) > 1:
            text += f", in {listing(splits)}"
        return Finding("two-labels", text, found, (False,) * len(found))
    if len(splits) > 1:
        # What is tested stays as it is.
        delete = tuple(image.split != splits[-1] for image in found)
        return Finding("across-splits", f"the same image is in {listing(splits)}", found, delete)
    delete = tuple(place > 0 for place in range(len(found)))
    return Finding("duplicates", f"the same image {len(found)} times", found, delete)
