"""Classes as such: without images, of similar names, of very different sizes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from tenfold.data.checks.findings import Finding
from tenfold.data.dataset import ImageDataset
from tenfold.errors import counted, listing

UNEVEN = 10
"""Times that a class may have as many training images as another before that is a finding."""

_SHORTEST = 5
"""Letters of a name that may be misspelled."""

_MOST_COMPARED = 1000
"""Of more classes, typing errors are not looked for: that takes a look at every pair."""


def find_in_classes(parts: Sequence[ImageDataset]) -> Iterator[Finding]:
    """What is odd about the classes of the splits, the first of which is for training."""
    train = parts[0]
    total = np.sum([part.class_counts() for part in parts], axis=0)
    for name, n in zip(train.classes, total, strict=True):
        if not n:
            yield Finding("empty-class", f"{name!r} has no images")
    for one, other in similar_pairs(train.classes):
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


def similar_pairs(names: Sequence[str]) -> list[tuple[str, str]]:
    """The names that differ only by case, by spaces and signs, by a plural, or by a typing error.

    Names in which digits differ are not similar.
    """
    simple = [re.sub(r"[\W_]+", "", name.casefold()) for name in names]
    places: dict[str, list[int]] = {}
    for place, word in enumerate(simple):
        places.setdefault(word, []).append(place)
    found = set()
    for word, those in places.items():
        found |= set(combinations(those, 2))
        for plural in (word + "s", word + "es"):
            found |= {(min(a, b), max(a, b)) for a in those for b in places.get(plural, ())}
    if len(names) <= _MOST_COMPARED:
        found |= {
            (one, other)
            for one, other in combinations(range(len(names)), 2)
            if _is_misspelled(simple[one], simple[other])
        }
    return [(names[one], names[other]) for one, other in sorted(found) if simple[one]]


def _is_misspelled(first: str, second: str) -> bool:
    """Whether one letter after the first is wrong, missing, or in the place of its neighbor."""
    lengths = len(first), len(second)
    if min(lengths) < _SHORTEST or max(lengths) - min(lengths) > 1 or first[0] != second[0]:
        return False
    start = next((i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), -1)
    start = min(lengths) if start < 0 else start
    rest, others = first[start:], second[start:]
    is_swapped = rest[:2] == others[1::-1] and rest[2:] == others[2:]
    is_wrong = rest[1:] == others[1:]
    is_missing = rest == others[1:] or rest[1:] == others
    digits = (re.sub(r"\D", "", name) for name in (first, second))
    return (is_swapped or is_wrong or is_missing) and len(set(digits)) == 1
