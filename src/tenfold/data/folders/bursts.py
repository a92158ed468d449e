"""A hint for names that look like several images of one thing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from statistics import median

from tenfold.data.folders.layout import Places
from tenfold.data.folders.members import Parts
from tenfold.errors import shell_quoted

LEAST_BURSTS, LEAST_IN_BURST = 3, 3
"""Names look like bursts if there are so many in each class, of so many images."""

OF_NAMES = r"(?<![^/])([^/]*[^/\d])\d+[^/\d]*$", r"([^/]+?)\d*[^/\d]*$"
OF_FOLDERS = r"(?s)^(.*/.*)/[^/]*$", r"^(.*)/"
"""What images of one thing have in common: the name up to the last number, or the folder.

The first expression finds it only where it is so; the second, to be given, finds something in every
name. The time that the first takes grows with a name's length, and not with its square.
"""

_FEW_ODD = 0.05
"""A share of other names is no reason to keep silent about bursts."""


def burst_hint(images: Sequence[Parts], places: Places) -> str:
    """A hint if names look like bursts, frames or several pictures of one thing; else empty.

    They do if their beginnings, up to the last number, are at least `LEAST_BURSTS` for each class,
    with several pictures each, wherever these are; or if there are so many folders in each class.
    Test images that are given apart stay so, and get no hint.
    """
    used = [
        (parts, label)
        for parts, (split, label) in zip(images, places.of_image, strict=True)
        if split
    ]
    if not used or any(split == "test" for split, _ in places.of_image):
        return ""
    return _hint(used, *OF_NAMES) or _hint(used, *OF_FOLDERS)


def _hint(used: Sequence[tuple[Parts, str]], strict: str, expression: str) -> str:
    """The hint if the strict expression finds bursts."""
    pattern = re.compile(strict)
    found: dict[str, set[str]] = {label: set() for _, label in used}
    bursts: dict[str, list[str]] = {}
    for parts, label in used:
        name = "/".join(parts)
        if match := pattern.search(name):
            found[label].add(match[1])
            bursts.setdefault(match[1], []).append(name)
    odd = len(used) - sum(map(len, bursts.values()))
    if odd > _FEW_ODD * len(used) or min(map(len, found.values())) < LEAST_BURSTS:
        return ""
    if median(map(len, bursts.values())) < LEAST_IN_BURST:
        return ""
    largest = max(bursts, key=lambda key: len(bursts[key]))
    names = sorted(bursts[largest])
    return (
        f"names such as {names[0]} and {names[1]} look like several images of one thing, which "
        f"should not be both in training and in testing; keep them together with --group-by "
        f"{shell_quoted(expression)}"
    )
