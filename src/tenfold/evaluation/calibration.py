"""Whether probabilities are what they say, and the temperature that makes them so."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from tenfold.evaluation.metrics import ArrayLike, mean_cross_entropy, softmax
from tenfold.types import as_array

LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 0.05, 20.0
"""Of those that are tried; one of a model that learned something is within 0.5..5."""

_PRIOR = 8.0
"""Nats that a temperature of e, or 1/e, has to save on all images together to be as good as 1.

Without it, a few images, all of them answered correctly, would call for probabilities of 0 and 1.
"""

_STEPS = 24
"""Of the search, which leave an interval of 0.006 % of the temperature."""

_MOST_LOGITS = 2**21
"""More are not looked at: of so many images, some are enough."""


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """The temperature by which logits are divided for probabilities that fit held-out labels.

    It minimizes the cross-entropy (Guo et al., "On calibration of modern neural networks", ICML
    2017), with a prior that keeps it near 1 where there are few images. No order of classes
    changes.

    Args:
        logits: of images that were not trained on, shape (n, classes); an array or a tensor.
        labels: class indices, shape (n,), likewise.

    Returns:
        `LOWEST_TEMPERATURE` to `HIGHEST_TEMPERATURE`; 1 if there are no images, or a logit is not
        finite.
    """
    scores, true = as_array(logits), as_array(labels)
    some = slice(None, None, math.ceil(scores.size / _MOST_LOGITS) or 1)
    scores, true = scores[some].astype(np.float64), true[some]
    if not len(scores) or not np.isfinite(scores).all():
        return 1.0

    def cost(log_temperature: float) -> float:
        loss = mean_cross_entropy(scores * math.exp(-log_temperature), true)
        return len(scores) * loss + _PRIOR * log_temperature**2

    low, high = math.log(LOWEST_TEMPERATURE), math.log(HIGHEST_TEMPERATURE)
    golden = (math.sqrt(5) - 1) / 2
    left, right = high - golden * (high - low), low + golden * (high - low)
    costs = cost(left), cost(right)
    for _ in range(_STEPS):
        if costs[0] <= costs[1]:
            high, right = right, left
            left = high - golden * (high - low)
            costs = cost(left), costs[0]
        else:
            low, left = left, right
            right = low + golden * (high - low)
            costs = costs[1], cost(right)
    return math.exp((low + high) / 2)


@dataclass(frozen=True)
class Bin:
    """Images whose answers have similar probabilities.

    Attributes:
        low: the lowest probability, exclusive except for 0.
        high: the highest, inclusive.
        n: number of images.
        confidence: mean probability of the answers, 0..1; None if there are no images.
        accuracy: share of the answers that are correct, 0..1; likewise.
    """

    low: float
    high: float
    n: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Calibration:
    """How well probabilities fit the true classes.

    Attributes:
        n: number of images.
        bins: of equal width, from low probabilities to high ones.
        ece: expected calibration error, 0..1: the mean distance of accuracy from probability in a
            bin, weighted by its images.
        nll: negative log-likelihood, in nats an image.
        brier: the mean squared distance of the probabilities from the true class, summed over the
            classes, 0..2 (Brier, "Verification of forecasts expressed in terms of probability",
            1950).
    """

    n: int
    bins: tuple[Bin, ...]
    ece: float
    nll: float
    brier: float


def calibration_of(
    logits: ArrayLike, labels: ArrayLike, *, temperature: float = 1.0, bins: int = 10
) -> Calibration:
    """Compare probabilities with the true classes.

    Args:
        logits: finite numbers of shape (n, classes), n at least 1; an array or a tensor.
        labels: class indices, shape (n,), likewise.
        temperature: more than 0; the logits are divided by it.
        bins: how many of them.
    """
    scores, true = as_array(logits), as_array(labels)
    chances = softmax(scores, temperature)
    found = _bins(chances.max(axis=1), scores.argmax(axis=1) == true, bins)
    squares = chances.astype(np.float64) ** 2
    of_true = np.take_along_axis(chances, true[:, None], axis=1)[:, 0].astype(np.float64)
    return Calibration(
        n=len(true),
        bins=tuple(found),
        ece=math.fsum(
            each.n * abs(each.accuracy - each.confidence)
            for each in found
            if each.accuracy is not None and each.confidence is not None
        )
        / len(true),
        nll=mean_cross_entropy(scores.astype(np.float64) / temperature, true),
        brier=float(np.mean(squares.sum(axis=1) - 2 * of_true + 1)),
    )


def _bins(confidence: np.ndarray, correct: np.ndarray, count: int) -> Sequence[Bin]:
    edges = np.linspace(0, 1, count + 1)
    places = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, count - 1)
    found = []
    for place, (low, high) in enumerate(pairwise(edges.tolist())):
        inside = places == place
        n = int(inside.sum())
        found.append(
            Bin(
                low,
                high,
                n,
                float(confidence[inside].mean(dtype=np.float64)) if n else None,
                float(correct[inside].mean()) if n else None,
            )
        )
    return found
