"""Classes as such: without images, of similar names, of very different sizes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import combinations

from tenfold.data.checks.findings import Finding
from tenfold.data.dataset import ImageDataset
from tenfold.errors import counted, listing

UNEVEN = 10
"""Times that a class may have as many training images as another before that is a finding."""

_SHORTEST = 5
"""Letters of a name that may be misspelled."""


def find_in_classes(parts: Sequence[ImageDataset]) -> Iterator[Finding]:
    """What is odd about the classes of the splits, the first of which is for training."""
    train = parts[0]
    total = sum(part.class_counts() for part in parts)
    for name, n in zip(train.classes, total, strict=True):
        if not n:
            yield Finding("empty-class", f"{name!r} has no images")
    for one, other in combinations(train.classes, 2):
        if are_similar(one, other):
            yield Finding("similar-names", f"{one!r} and {other!r} are different classes")
    counts = {
        name: n for name, n in zip(train.classes, train.class_counts().tolist(), strict=True) if n
    }
    if counts and max(counts.values()) >= UNEVEN * min(counts.values()):
        ordered = sorted(counts.items(), key=lambda item: item[1])
        largest, n = ordered[-1]
        rare = [f"{name!r} ({few:,})" for name, few in ordered if n >= UNEVEN * few]
        yield Finding(
            "imbalance",
            f"{largest!r} has {counted(n, 'training image')}, at least {UNEVEN} times as many as "
            f"{listing(rare)}",
        )


def are_similar(one: str, other: str) -> bool:
    """Whether names differ only by case, by spaces and signs, by a plural, or by one typing error.

    Names in which digits differ are not similar.
    """
    first, second = (re.sub(r"[\W_]+", "", name.casefold()) for name in (one, other))
    if re.sub(r"\D", "", first) != re.sub(r"\D", "", second):
        return False
    if first == second or {first + "s", first + "es"} & {second}:
        return bool(first)
    if {second + "s", second + "es"} & {first}:
        return True
    return min(len(first), len(second)) >= _SHORTEST and _is_misspelled(first, second)


def _is_misspelled(first: str, second: str) -> bool:
    """Whether one letter after the first is wrong, missing, or in the place of its neighbor."""
    start = next(
        (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b),
        min(len(first), len(second)),
    )
    if start == 0:
        return False
    rest, others = first[start:], second[start:]
    is_swapped = rest[:2] == others[1::-1] and rest[2:] == others[2:]
    is_wrong = rest[1:] == others[1:]
    is_missing = rest == others[1:] or rest[1:] == others
    return is_swapped or is_wrong or is_missing
