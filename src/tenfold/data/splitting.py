"""Random stratified splits."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tenfold.data.dataset import ImageDataset, Splits
from tenfold.errors import DataError, UsageError, counted, listing
from tenfold.randomness import keyed_permutation

_ROUND_FRACTIONS = tuple(twentieths / 20 for twentieths in range(1, 20))


def split_stratified(
    dataset: ImageDataset, fraction: float, *, seed: int, name: str
) -> tuple[ImageDataset, ImageDataset]:
    """Hold out a random share of every class; returns the rest and the held-out part.

    Both parts keep the order of the images in `dataset`. The choice depends only on the seed, the
    name and the labels. The held-out part has `round(fraction * n)` images, distributed among the
    classes by the largest remainder method.

    Args:
        dataset: the data set to split.
        fraction: share to hold out, 0 < fraction < 1.
        seed: any integer.
        name: the held-out part's split name, such as `val`.

    Raises:
        UsageError: the fraction is not between 0 and 1.
        DataError: classes would have no image in one of the two parts; all are named.
    """
    if not 0 < fraction < 1:
        raise UsageError(f"{name}: the held-out fraction is {fraction}, wanted 0 < fraction < 1")
    counts = dataset.class_counts().tolist()
    held_counts = _held_counts(counts, fraction)
    if undivided := _undivided(counts, held_counts):
        raise _too_few(dataset, undivided, fraction, name)
    held = np.zeros(len(dataset), dtype=bool)
    for label, (count, held_count) in enumerate(zip(counts, held_counts, strict=True)):
        if count == 0:
            continue
        members = np.flatnonzero(dataset.label_array == label)
        order = keyed_permutation(count, seed, "split", name, label)
        held[members[order[:held_count]]] = True
    rest = dataset.select(np.flatnonzero(~held))
    return rest, dataset.select(np.flatnonzero(held), split=name)


def with_validation(splits: Splits, fraction: float, *, seed: int) -> Splits:
    """The splits, with a fraction of the training images held out for validation.

    A data set with its own validation split keeps it.

    Args:
        splits: of a data set.
        fraction: see `split_stratified`; 0 for none.
        seed: see `split_stratified`.

    Raises:
        DataError: see `split_stratified`.
    """
    if splits.val is not None or not fraction:
        return splits
    train, val = split_stratified(splits.train, fraction, seed=seed, name="val")
    return Splits(train, val, splits.test)


def _held_counts(counts: Sequence[int], fraction: float) -> list[int]:
    """The number of images to hold out of each class."""
    return _largest_remainder([fraction * n for n in counts], round(fraction * sum(counts)))


def _undivided(counts: Sequence[int], held_counts: Sequence[int]) -> list[int]:
    """The classes whose images would all be in one part."""
    pairs = enumerate(zip(counts, held_counts, strict=True))
    return [label for label, (count, held) in pairs if count and held in (0, count)]


def _too_few(dataset: ImageDataset, labels: Sequence[int], fraction: float, name: str) -> DataError:
    """The error for classes that cannot be divided; advises a fraction that works, if one does."""
    counts = dataset.class_counts().tolist()
    purpose = f"to hold out {100 * fraction:g} % for {name}"
    if len(labels) == 1:
        (label,) = labels
        found = (
            f"class {dataset.classes[label]!r} has {counted(counts[label], 'image')}, "
            f"too few {purpose}"
        )
        those, them = "the class", "it"
    else:
        each = [f"{dataset.classes[label]!r} ({counts[label]:,})" for label in labels]
        found = f"{len(labels):,} classes have too few images {purpose}: {listing(each)}"
        those, them = "these classes", "them"
    option = {"val": "--val {}", "test": "--set test={}"}.get(name)
    works = [f for f in _ROUND_FRACTIONS if not _undivided(counts, _held_counts(counts, f))]
    ways = [f"add images to {those}"]
    if works:
        ways.append(f"try {(option or 'a fraction of {}').format(works[0])}")
    else:
        ways.append(f"remove {them}")
        if option is not None:
            ways.append(f"hold out none with {option.format(0)}")
    return DataError(
        f"{dataset.source} ({dataset.split}): {found}",
        remedy=f"{', '.join(ways[:-1])}, or {ways[-1]}",
    )


def _largest_remainder(shares: list[float], total: int) -> list[int]:
    """Round the shares to whole numbers with the given total (Hamilton's method)."""
    whole = [math.floor(share) for share in shares]
    by_remainder = sorted(range(len(shares)), key=lambda i: (whole[i] - shares[i], i))
    for i in by_remainder[: total - sum(whole)]:
        whole[i] += 1
    return whole
