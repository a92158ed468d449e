"""Random stratified splits."""

from __future__ import annotations

import math

import numpy as np

from tenfold.data.dataset import ImageDataset
from tenfold.errors import DataError, UsageError, counted
from tenfold.randomness import keyed_permutation


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
        DataError: a class would have no image in one of the two parts.
    """
    if not 0 < fraction < 1:
        raise UsageError(f"{name}: the held-out fraction is {fraction}, wanted 0 < fraction < 1")
    counts = dataset.class_counts().tolist()
    held_counts = _largest_remainder(
        [fraction * count for count in counts], round(fraction * len(dataset))
    )
    held = np.zeros(len(dataset), dtype=bool)
    for label, (count, held_count) in enumerate(zip(counts, held_counts, strict=True)):
        if count == 0:
            continue
        if held_count == 0 or held_count == count:
            raise DataError(
                f"{dataset.source} ({dataset.split}): class "
                f"{dataset.classes[label]!r} has {counted(count, 'image')}, too few to "
                f"hold out {fraction:.0%} for {name}",
                remedy=_remedy(count, name),
            )
        members = np.flatnonzero(dataset.label_array == label)
        order = keyed_permutation(count, seed, "split", name, label)
        held[members[order[:held_count]]] = True
    rest = dataset.select(np.flatnonzero(~held))
    return rest, dataset.select(np.flatnonzero(held), split=name)


def _remedy(count: int, name: str) -> str:
    if count < 2:
        return "add images to the class, or remove it"
    # Half of two or more images is at least one, and leaves one.
    half = {"val": "--val 0.5", "test": "--set test=0.5"}.get(name, "a fraction of 0.5")
    return f"add images to the class, or try {half}"


def _largest_remainder(shares: list[float], total: int) -> list[int]:
    """Round the shares to whole numbers with the given total (Hamilton's method)."""
    whole = [math.floor(share) for share in shares]
    by_remainder = sorted(range(len(shares)), key=lambda i: (whole[i] - shares[i], i))
    for i in by_remainder[: total - sum(whole)]:
        whole[i] += 1
    return whole
