"""Where the axes of plots begin and end, and where their ticks are."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

Curve = Mapping[Any, float | int]
"""A metric's values by epoch number."""

MIN_ACCURACY_RANGE = 0.04
"""On a narrower accuracy axis, noise would look like a trend."""


def value_limits(what: str, lines: Iterable[Curve]) -> tuple[float, float]:
    """Where a vertical axis begins and ends.

    Losses and learning rates start at 0, so that a loss that does not fall looks flat; accuracies
    lie in 0..1; whatever else there is gets the range of its values.

    Args:
        what: `loss`, `learning rate`, `accuracy`, or another name.
        lines: the lines along this axis.
    """
    values = [v for points in lines for v in points.values() if math.isfinite(v)] or [1.0]
    low, high = min(values), max(values)
    if what != "accuracy":
        starts_at_0 = what in ("loss", "learning rate")
        if starts_at_0:
            low, high = min(low, 0.0), max(high, 0.0)
        margin = 0.05 * (high - low) or 0.05
        return low - margin * (low < 0 or not starts_at_0), high + margin
    margin = max(0.06 * (high - low), (MIN_ACCURACY_RANGE - (high - low)) / 2)
    return max(0.0, low - margin), min(1.0, high + margin)


def ticks(
    low: float | int, high: float | int, about: int = 5, *, whole: bool = False
) -> list[float]:
    """Round numbers between two numbers, about as many as wanted.

    Args:
        low: the lower end.
        high: the upper end, above it.
        about: how many are wanted.
        whole: only whole numbers.
    """
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * digit for digit in (1, 2, 5, 10) if power * digit >= rough * 0.999)
    if whole:
        step = max(1.0, step)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(place * step, 12) for place in range(first, last + 1)]
