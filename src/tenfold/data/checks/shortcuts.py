"""Shortcuts: a file's format, its size, or its mean brightness alone gives the class away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

from tenfold.data.checks.findings import Finding
from tenfold.data.checks.oddities import ROOM
from tenfold.data.dataset import ImageDataset
from tenfold.errors import listing
from tenfold.types import LabelArray

TELLS = 0.5
"""A property gives classes away if it closes this share of the gap between chance and certainty."""

TELLS_ONE = 0.9
"""It gives one class away if that is how much more often it is true inside it than outside."""

FEWEST = 10
"""A class with fewer images is left out: chance could explain it."""

_MOST_IMAGES, _MOST_OF_A_CLASS = 5_000, 50
"""Images that are looked at: so many in all, shared by the classes, or so many of each."""

_LEVELS = 32

_MOST_NAMED = 5
"""Classes of which it is said what is usual for them."""

_NEARLY_ALL = 99.5
"""Per cent of a class's images; what is usual for fewer gets its share."""

_SIZE, _AREA = "the image's size", "the image's area"


def find_shortcuts(train: ImageDataset) -> Iterator[Finding]:
    """Properties of the training images that give their classes away."""
    chosen = _some_of_each_class(train)
    labels = train.label_array[chosen]
    if len(np.unique(labels)) < 2:
        return
    told = set()
    for each in _properties(train, chosen):
        text = _given_away(each, labels, train.classes)
        if text and not (each.name == _AREA and _SIZE in told):
            told.add(each.name)
            yield Finding("shortcut", text)


def _some_of_each_class(train: ImageDataset) -> Int64[np.ndarray, " chosen"]:
    """Images spread evenly over each class, as many of each if there are so many."""
    share = max(_MOST_IMAGES // len(train.classes), _MOST_OF_A_CLASS)
    by_class = np.argsort(train.label_array, kind="stable")
    counts = train.class_counts()
    places = [
        start + np.arange(min(n, share)) * n // min(n, share)
        for start, n in zip((np.cumsum(counts) - counts).tolist(), counts.tolist(), strict=True)
        if n >= FEWEST
    ]
    return by_class[np.concatenate(places)] if places else by_class[:0]


class _Property(NamedTuple):
    """A property of images."""

    name: str
    values: Int64[np.ndarray, " chosen"]
    """The number of each image's value."""
    shown: Sequence[str] | Float64[np.ndarray, " chosen"]
    """Each image's value as such; a number where only about equal ones have the same number."""

    def among(self, of_class: Bool[np.ndarray, " chosen"]) -> str:
        """What is usual among the images of a class."""
        if isinstance(self.shown, np.ndarray):
            return f"about {np.median(self.shown[of_class]):,.0f}"
        theirs = Counter(self.shown[place] for place in np.flatnonzero(of_class).tolist())
        ((value, n),) = theirs.most_common(1)
        share = 100 * n / theirs.total()
        return value if share >= _NEARLY_ALL else f"{share:.0f} % {value}"


def _properties(train: ImageDataset, chosen: Int64[np.ndarray, " chosen"]) -> Iterator[_Property]:
    if train.originals is not None:
        formats = [train.originals.formats[index] for index in chosen.tolist()]
        sizes = train.originals.sizes[chosen].astype(np.int64)
        yield _Property("the file's format", _numbered(formats), formats)
        numbers = _numbered(sizes[:, 0] * 2**32 + sizes[:, 1])
        yield _Property(_SIZE, numbers, [f"{height} x {width}" for height, width in sizes.tolist()])
        area = sizes[:, 0] * sizes[:, 1]
        yield _Property(_AREA, _levels(area), area.astype(np.float64))
    step = max(1, ROOM // train.image_array[0].size)
    blocks = [chosen[start : start + step] for start in range(0, len(chosen), step)]
    sums = [train.image_array[block].sum((1, 2, 3), dtype=np.uint64) for block in blocks]
    light = np.concatenate(sums)
    yield _Property("the mean brightness", _levels(light), light / train.image_array[0].size)


def _numbered(values: Sequence[str] | np.ndarray) -> Int64[np.ndarray, " n"]:
    numbers: Int64[np.ndarray, " n"] = np.unique(np.asarray(values), return_inverse=True)[1]
    return numbers.reshape(-1)


def _levels(values: np.ndarray) -> Int64[np.ndarray, " n"]:
    """The number of the quantile that each value is in."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, _LEVELS + 1)[1:-1]))
    levels: Int64[np.ndarray, " n"] = np.searchsorted(edges, values, side="right")
    return levels


def _given_away(found: _Property, labels: LabelArray, classes: Sequence[str]) -> str:
    """What a property says about classes; empty if it is not much.

    Each image's class is guessed from the other images of the same value, of which each class
    counts the same in all. The mean recall of those guesses is compared with chance.
    """
    name, values = found.name, found.values
    present, of_image, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    # All images of one value and one class get the same guess.
    pairs, counts = np.unique(values * len(present) + of_image, return_counts=True)
    value, own = np.divmod(pairs, len(present))
    guessed = _guesses(value, own, counts, sizes)
    recalls = np.bincount(own, counts * (guessed == own), len(present)) / sizes
    chance = 1 / len(present)
    told = (recalls.mean() - chance) / (1 - chance)

    def usual(those: Sequence[int]) -> str:
        named, others = those[:_MOST_NAMED], those[_MOST_NAMED:]
        texts = [f"{classes[present[each]]!r} ({found.among(of_image == each)})" for each in named]
        return listing([*texts, *map(str, others)], _MOST_NAMED)

    if told >= TELLS:
        return (
            f"{name} alone gives away the class of {100 * recalls.mean():.0f} % of the images "
            f"(chance: {100 * chance:.0f} %, classes counted equally): "
            f"{usual(range(len(present)))}"
        )
    wrong = (guessed != own) & (guessed >= 0)
    outside = np.bincount(guessed[wrong], counts[wrong], len(present)) / (len(values) - sizes)
    known = np.flatnonzero(recalls - outside >= TELLS_ONE).tolist()
    if known:
        return f"{name} alone gives away {usual(known)}"
    return ""


def _guesses(
    value: Int64[np.ndarray, " pairs"],
    own: Int64[np.ndarray, " pairs"],
    counts: Int64[np.ndarray, " pairs"],
    sizes: Int64[np.ndarray, " classes"],
) -> Int64[np.ndarray, " pairs"]:
    """The guess for an image of each pair of value and class, from all other images.

    Args:
        value: of each pair, in order.
        own: the class of each pair.
        counts: number of images of each pair.
        sizes: number of images of each class.

    Returns:
        The class with the largest share of its images among those of this value; -1 if there are no
        other images of this value.
    """
    shares = counts / sizes[own]
    order = np.lexsort((own, -shares, value))
    starts = np.searchsorted(value[order], value)  # where a value's pairs begin
    best = order[starts]
    after = np.minimum(starts + 1, len(order) - 1)
    has_second = (starts + 1 < len(order)) & (value[order[after]] == value)
    rival = np.where(best == np.arange(len(own)), np.where(has_second, order[after], -1), best)
    left = (counts - 1) / sizes[own]
    theirs = np.where(rival >= 0, shares[rival], 0.0)
    guess = np.where(left > theirs, own, np.where(rival >= 0, own[rival], -1))
    guesses: Int64[np.ndarray, " pairs"] = np.where((left <= 0) & (rival < 0), -1, guess)
    return guesses
