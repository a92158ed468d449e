"""A hint for names that look like several images of one thing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from statistics import median

from tenfold.data.folders.layout import Places
from tenfold.data.folders.members import Parts

LEAST_BURSTS, LEAST_IN_BURST = 3, 3
"""Names look like bursts if there are so many in each class, of so many images."""

_FEW_ODD = 0.05
"""A share of other names is no reason to keep silent about bursts."""


def burst_hint(images: Sequence[Parts], places: Places) -> str:
    """A hint if names look like bursts, frames or several pictures of one thing; else empty.

    They do if the names without their last number are at least `LEAST_BURSTS` for each class, name
    several pictures each, and are not just the folders.
    """
    number = re.compile(r"^(?P<group>.*\D)\d+\D*$")
    found: dict[str, set[str]] = {}
    bursts: dict[str, list[str]] = {}
    odd = 0
    for parts, (split, label) in zip(images, places.of_image, strict=True):
        match = number.match(PurePosixPath(parts[-1]).stem) if split else None
        if match is not None:
            key = "/".join([*parts[:-1], match["group"]])
            found.setdefault(label, set()).add(key)
            bursts.setdefault(key, []).append("/".join(parts))
        odd += bool(split) and match is None
    if not found or odd > _FEW_ODD * len(images) or min(map(len, found.values())) < LEAST_BURSTS:
        return ""
    if median(map(len, bursts.values())) < LEAST_IN_BURST:
        return ""
    largest = max(bursts, key=lambda key: len(bursts[key]))
    names = sorted(bursts[largest])
    return (
        f"names such as {names[0]} and {names[1]} look like several images of one thing, which "
        "should not be both in training and in testing; keep them together with --group-by "
        r"'^(.*\D)\d+\D*\.[^.]*$'"
    )
