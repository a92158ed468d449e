"""Comparing models: tests and intervals as pure functions of counts and figures."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from jaxtyping import Bool

from tenfold.errors import UsageError
from tenfold.evaluation.metrics import t_quantile, t_two_sided

_Z = NormalDist().inv_cdf(0.975)
"""Deviations on either side of the mean that have 95 % of a normal distribution between them."""

SHARE = (0.0, 1.0)
"""The range of accuracies."""

SHARES_APART = (-1.0, 1.0)
"""The range of their differences."""


@dataclass(frozen=True)
class Summary:
    """Several values of one figure, such as of runs with different seeds.

    Attributes:
        n: number of values.
        mean: their mean.
        deviation: their standard deviation, with n - 1 in the denominator.
        interval: 95 % interval of the mean by Student's t.
    """

    n: int
    mean: float
    deviation: float
    interval: tuple[float, float]

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            "n": self.n,
            "mean": self.mean,
            "deviation": self.deviation,
            "interval": list(self.interval),
        }


def summary_of(
    values: Sequence[float], within: tuple[float, float] = (-math.inf, math.inf)
) -> Summary:
    """Mean, standard deviation, and the 95 % interval of the mean by Student's t.

    Args:
        values: two or more.
        within: the range of possible values, to which the interval is cut.

    Raises:
        UsageError: there are fewer than two values.
    """
    if len(values) < 2:
        raise UsageError(f"summary_of: {len(values)} values, wanted two or more")
    mean, deviation = statistics.mean(values), statistics.stdev(values)
    half = t_quantile(len(values) - 1) * deviation / math.sqrt(len(values))
    interval = max(within[0], mean - half), min(within[1], mean + half)
    return Summary(len(values), mean, deviation, interval)


@dataclass(frozen=True)
class Paired:
    """Two models on the same images.

    Attributes:
        n: number of images.
        first_only: images that only the first model gets right.
        second_only: images that only the second one gets right.
        difference: accuracy of the second minus that of the first.
        interval: its 95 % interval.
        p: two-sided p-value of the exact McNemar test.
    """

    n: int
    first_only: int
    second_only: int
    difference: float
    interval: tuple[float, float]
    p: float


def paired(first: Bool[np.ndarray, " n"], second: Bool[np.ndarray, " n"]) -> Paired:
    """Compare two models by which of the same images they get right.

    The interval of the difference is Wald's with half an image added to each of the four counts:
    Agresti and Min, "Simple improved confidence intervals for comparing matched proportions",
    Statistics in Medicine 24 (2005).

    Args:
        first: whether the first model gets each image right; at least one image.
        second: the same of the second model.

    Raises:
        UsageError: there are no images.
    """
    n = len(first)
    if not n:
        raise UsageError("paired: no images, wanted at least one")
    b, c = int((first & ~second).sum()), int((second & ~first).sum())
    difference = (c - b) / n
    middle = (c - b) / (n + 2)
    half = _Z * math.sqrt(b + c + 1 - (c - b) ** 2 / (n + 2)) / (n + 2)
    interval = (
        min(difference, max(-1.0, middle - half)),
        max(difference, min(1.0, middle + half)),
    )
    return Paired(n, b, c, difference, interval, exact_mcnemar(b, c))


def exact_mcnemar(b: int, c: int) -> float:
    """Two-sided p-value of the exact McNemar test.

    If both models are equally good, each image that exactly one of them gets right is as likely to
    be the first one's as the second one's, so their number is binomial with probability 1/2:
    McNemar, "Note on the sampling error of the difference between correlated proportions or
    percentages", Psychometrika 12 (1947).

    Args:
        b: images that only the first model gets right.
        c: images that only the second one gets right.

    Raises:
        UsageError: a count is negative.
    """
    if min(b, c) < 0:
        raise UsageError(f"exact_mcnemar: counts {b} and {c}, wanted 0 or more")
    n, ways, one_sided = b + c, 1, 1
    for k in range(min(b, c)):
        ways = ways * (n - k) // (k + 1)  # n choose k + 1, in whole numbers of any size
        one_sided += ways
    p: float = 2 * one_sided / 2**n
    return min(1.0, p)


@dataclass(frozen=True)
class Welch:
    """The means of two independent groups of values.

    Attributes:
        difference: mean of the second group minus that of the first.
        interval: its 95 % interval by Welch's t.
        degrees: of freedom.
        p: two-sided p-value of Welch's t test.
    """

    difference: float
    interval: tuple[float, float]
    degrees: float
    p: float


def welch(
    first: Sequence[float],
    second: Sequence[float],
    within: tuple[float, float] = (-math.inf, math.inf),
) -> Welch:
    """Compare the means of two groups, whose deviations may differ.

    Welch, "The generalization of 'Student's' problem when several different population variances
    are involved", Biometrika 34 (1947).

    Args:
        first: two or more values.
        second: two or more values.
        within: the range of possible differences, to which the interval is cut.

    Raises:
        UsageError: a group has fewer than two values, or neither has any deviation, so that they
            do not say what chance alone does.
    """
    if min(len(first), len(second)) < 2:
        raise UsageError(
            f"welch: groups of {len(first)} and {len(second)} values, wanted two or more in each"
        )
    difference = statistics.mean(second) - statistics.mean(first)
    shares = [statistics.variance(values) / len(values) for values in (first, second)]
    if not sum(shares):
        raise UsageError("welch: all values of each group are the same, wanted some deviation")
    degrees = sum(shares) ** 2 / sum(
        share**2 / (len(values) - 1) for share, values in zip(shares, (first, second), strict=True)
    )
    error = math.sqrt(sum(shares))
    half = t_quantile(degrees) * error
    return Welch(
        difference,
        (max(within[0], difference - half), min(within[1], difference + half)),
        degrees,
        t_two_sided(difference / error, degrees),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values of several tests, corrected for their number.

    If each test is called significant where its corrected value is at most some share, the
    probability of being wrong with any of them is at most that share: Holm, "A simple sequentially
    rejective multiple test procedure", Scandinavian Journal of Statistics 6 (1979).
    """
    corrected, highest = [0.0] * len(p_values), 0.0
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = highest
    return corrected
