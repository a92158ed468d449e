"""Random stratified splits."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int64

from tenfold.data.checks.duplicates import equal_images
from tenfold.data.dataset import ImageDataset, Splits
from tenfold.errors import DataError, UsageError, counted
from tenfold.randomness import keyed_permutation

ENOUGH_TO_SHARE = 3
"""A class with so many images has at least one in either part of a split."""


MOST_JOINED = 5
"""Groups that one image can make into one."""


class TooFewImagesError(DataError):
    """There are too few images, or groups of images, to hold any out."""


def split_stratified(
    dataset: ImageDataset,
    fraction: float,
    *,
    seed: int,
    name: str,
    duplicates_together: bool = True,
) -> tuple[ImageDataset, ImageDataset]:
    """Hold out a random share of every class; returns the rest and the held-out part.

    Both parts keep the order of the images in `dataset`. The choice depends only on the seed, the
    name, the labels, the groups, and which images are equal. The held-out part has
    `round(fraction * n)` images, distributed among the classes by the largest remainder method,
    except that every class keeps an image, and that a class of `ENOUGH_TO_SHARE` images has one
    held out; then equal images join the first of them, or, if there are very many, the rest. If the
    data set has groups, each is in one part, and the shares of the classes are as near to the
    fraction as the groups allow.

    Args:
        dataset: the data set to split.
        fraction: share to hold out, 0 < fraction < 1.
        seed: any integer.
        name: the held-out part's split name, such as `val`.
        duplicates_together: whether images that are equal in every pixel are in the same part.

    Raises:
        UsageError: the fraction is not between 0 and 1.
        TooFewImagesError: no image can be held out.
    """
    if not 0 < fraction < 1:
        raise UsageError(f"{name}: the held-out fraction is {fraction}, wanted 0 < fraction < 1")
    copies = equal_images([dataset.image_array]) if duplicates_together else []
    if dataset.groups is None:
        held = _held_images(dataset, fraction, seed, name)
        _join_copies(dataset, held, copies)
    else:
        held = _held_groups(dataset, copies, fraction, seed, name)
    if not held.any():
        option = {"val": "--val 0", "test": "--set test=0"}.get(name)
        few = "groups" if dataset.groups is not None else "images in each class"
        raise TooFewImagesError(
            f"{dataset.source} ({dataset.split}): too few {few} to hold out "
            f"{100 * fraction:g} % for {name}",
            remedy=f"add images{f', or hold out none with {option}' if option else ''}",
        )
    rest = dataset.select(np.flatnonzero(~held))
    return rest, dataset.select(np.flatnonzero(held), split=name)


def with_validation(
    splits: Splits, fraction: float, *, seed: int, duplicates_together: bool = True
) -> Splits:
    """The splits, with a fraction of the training images held out for validation.

    A data set with its own validation split keeps it. From too few images, none are held out.

    Args:
        splits: of a data set.
        fraction: see `split_stratified`; 0 for none.
        seed: see `split_stratified`.
        duplicates_together: see `split_stratified`.
    """
    if splits.val is not None or not fraction:
        return splits
    try:
        train, val = split_stratified(
            splits.train,
            fraction,
            seed=seed,
            name="val",
            duplicates_together=duplicates_together,
        )
    except TooFewImagesError:
        return splits
    return Splits(train, val, splits.test)


def limited(dataset: ImageDataset, limit: int, *, seed: int) -> ImageDataset:
    """A random part of a data set in which each class keeps its share of the images.

    It keeps the order of the images in `dataset`. The choice depends only on the seed, the labels
    and the limit; with a larger limit, nearly all of the same images are chosen again. The shares
    are rounded by the largest remainder method, except that every class keeps an image. Equal
    images, and those of a group, may be separated: what is left out is used for nothing.

    Args:
        dataset: the data set to choose from.
        limit: the number of images to choose, at least 1; from fewer, all are.
        seed: any integer.

    Raises:
        UsageError: there are more classes than that.
    """
    if limit >= len(dataset):
        return dataset
    counts = dataset.class_counts().tolist()
    if limit < (present := sum(count > 0 for count in counts)):
        raise UsageError(
            f"{dataset.source}: limit is {limit:,}, but the training images are of {present:,} "
            "classes, and each needs one",
            remedy=f"choose {present:,} or more, or 0 for all images",
        )
    kept = np.zeros(len(dataset), dtype=bool)
    for label, n in enumerate(_kept_counts(counts, limit)):
        members = np.flatnonzero(dataset.label_array == label)
        kept[members[keyed_permutation(len(members), seed, "limit", label)[:n]]] = True
    return dataset.select(np.flatnonzero(kept))


def folds_of(
    dataset: ImageDataset, folds: int, *, seed: int, duplicates_together: bool = True
) -> Int64[np.ndarray, " n"]:
    """The fold of each image, 0..folds-1, for cross-validation.

    Every fold has about the same number of images, and of images of each class. Equal images are in
    one fold, and so are the images of a group.

    Args:
        dataset: the data set to divide.
        folds: at least 2.
        seed: any integer.
        duplicates_together: see `split_stratified`.

    Raises:
        UsageError: fewer than 2 folds.
        DataError: there are fewer images, or fewer groups, than folds.
    """
    if folds < 2:
        raise UsageError(f"folds is {folds}, wanted at least 2")
    copies = equal_images([dataset.image_array]) if duplicates_together else []
    if dataset.groups is None:
        n = len(dataset) - sum(len(group) - 1 for group in copies)
    else:
        groups, counts = _groups_and_counts(dataset, copies)
        n = len(counts)
    if n < folds:
        what = counted(
            n, f"{'different ' * bool(copies)}{'image' if dataset.groups is None else 'group'}"
        )
        raise DataError(
            f"{dataset.source}: {what} cannot be divided into {folds} folds",
            remedy=f"choose --folds {n}, or add images" if n > 1 else "add images",
        )
    if dataset.groups is None:
        of_image, is_first = np.empty(len(dataset), np.int64), np.ones(len(dataset), bool)
        for group in copies:
            is_first[group[1:]] = False
        dealt = 0
        for label in range(len(dataset.classes)):
            members = np.flatnonzero(is_first & (dataset.label_array == label))
            order = keyed_permutation(len(members), seed, "folds", label)
            of_image[members[order]] = (dealt + np.arange(len(members))) % folds
            dealt += len(members)
        for group in copies:
            of_image[group] = of_image[group[0]]
        return of_image
    total = np.maximum(counts.sum(0), 1)
    held = np.zeros((folds, counts.shape[1]))
    of_group = np.empty(len(counts), np.int64)
    for group in _largest_first(counts, seed, "folds"):
        # The fold that has least of what this group has most of.
        costs = ((held + counts[group]) ** 2 - held**2) @ (1 / total)
        fold = int(np.lexsort((held.sum(1), costs))[0])
        held[fold] += counts[group]
        of_group[group] = fold
    by_group: Int64[np.ndarray, " n"] = of_group[groups]
    return by_group


def _held_images(
    dataset: ImageDataset, fraction: float, seed: int, name: str
) -> Bool[np.ndarray, " n"]:
    counts = dataset.class_counts().tolist()
    held = np.zeros(len(dataset), dtype=bool)
    for label, held_count in enumerate(_held_counts(counts, fraction)):
        members = np.flatnonzero(dataset.label_array == label)
        order = keyed_permutation(len(members), seed, "split", name, label)
        held[members[order[:held_count]]] = True
    return held


def _held_counts(counts: Sequence[int], fraction: float) -> list[int]:
    """The number of images to hold out of each class."""
    wanted = _largest_remainder([fraction * n for n in counts], round(fraction * sum(counts)))
    return [
        min(max(held, int(n >= ENOUGH_TO_SHARE)), max(n - 1, 0))
        for n, held in zip(counts, wanted, strict=True)
    ]


def _kept_counts(counts: Sequence[int], limit: int) -> list[int]:
    """The number of images of each class among `limit` of them, at least one of each."""
    kept = _largest_remainder([limit * n / sum(counts) for n in counts], limit)
    for label, n in enumerate(counts):
        if n and not kept[label]:
            kept[int(np.argmax(kept))] -= 1
            kept[label] = 1
    return kept


def _join_copies(
    dataset: ImageDataset, held: Bool[np.ndarray, " n"], copies: Sequence[np.ndarray]
) -> None:
    """Hold out all copies of an image or none.

    None if that were more than a tenth of what is held out, or the last of their class.
    """
    labels, most = dataset.label_array, max(2, int(held.sum()) // 10)
    left = np.bincount(labels[~held], minlength=len(dataset.classes))
    for group in copies:
        own = np.bincount(labels[group], minlength=len(left))
        others = left - np.bincount(labels[group[~held[group]]], minlength=len(left))
        is_last = ((own > 0) & (others == 0)).any()
        held[group] = held[group[0]] and len(group) <= most and not is_last
        left = others if held[group[0]] else others + own


def _held_groups(
    dataset: ImageDataset, copies: Sequence[np.ndarray], fraction: float, seed: int, name: str
) -> Bool[np.ndarray, " n"]:
    """Takes the largest groups first, and each only if that brings the classes nearer.

    If none does, it takes the one that is least too large.
    """
    groups, counts = _groups_and_counts(dataset, copies)
    total = counts.sum(0)
    wanted = fraction * total
    held, is_held = np.zeros(len(total)), np.zeros(len(counts), dtype=bool)
    least: tuple[float, int] | None = None
    for group in _largest_first(counts, seed, name):
        more = held + counts[group]
        takes_all = ((more == total) & (counts[group] > 0)).any()
        change = ((more - wanted) ** 2 - (held - wanted) ** 2) @ (1 / np.maximum(total, 1))
        if takes_all:
            continue
        if change < 0:
            held, is_held[group] = more, True
        elif least is None or change < least[0]:
            least = change, group
    if least is not None and not is_held.any():
        is_held[least[1]] = True
    of_image: Bool[np.ndarray, " n"] = is_held[groups]
    return of_image


def _groups_and_counts(
    dataset: ImageDataset, copies: Sequence[np.ndarray]
) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, "groups classes"]]:
    """The number of each image's group, and how many images of each class a group has.

    Groups that have copies of one image become one, unless they are more than `MOST_JOINED`: such
    an image rather stands for one that is missing.
    """
    assert dataset.groups is not None, "there are groups"
    numbers = {name: number for number, name in enumerate(dict.fromkeys(dataset.groups))}
    groups = np.array([numbers[name] for name in dataset.groups], np.int64)
    joined = list(range(len(numbers)))

    def first(number: int) -> int:
        while joined[number] != number:
            joined[number] = number = joined[joined[number]]
        return number

    for copy in copies:
        one, *others = dict.fromkeys(first(number) for number in groups[copy].tolist())
        if len(others) >= MOST_JOINED:
            continue
        for other in others:
            low, high = sorted((one, first(other)))
            joined[high] = one = low
    groups = np.unique([first(number) for number in groups.tolist()], return_inverse=True)[1]
    counts = np.zeros((int(groups.max()) + 1, len(dataset.classes)), np.int64)
    np.add.at(counts, (groups, dataset.label_array), 1)
    return groups, counts


def _largest_first(counts: np.ndarray, seed: int, name: str) -> Int64[np.ndarray, " groups"]:
    """The groups by size; those of one size in random order."""
    order = keyed_permutation(len(counts), seed, "groups", name)
    return order[np.argsort(-counts.sum(1)[order], kind="stable")]


def _largest_remainder(shares: list[float], total: int) -> list[int]:
    """Round the shares to whole numbers with the given total (Hamilton's method)."""
    whole = [math.floor(share) for share in shares]
    by_remainder = sorted(range(len(shares)), key=lambda i: (whole[i] - shares[i], i))
    for i in by_remainder[: total - sum(whole)]:
        whole[i] += 1
    return whole
