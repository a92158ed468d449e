"""Metrics as pure functions of counts and labels."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float32, Int64

from tenfold.errors import UsageError
from tenfold.types import as_array

ArrayLike: TypeAlias = Any
"""A NumPy array, a tensor, or a list of numbers."""


@dataclass(frozen=True)
class ClassFigures:
    """How well one class is recognized.

    Attributes:
        name: the class name.
        n: number of images that belong to the class.
        precision: fraction correct among images predicted as this class, 0..1; None if there are
            none.
        recall: fraction correct among images of this class, 0..1; None if there are none.
        f1: harmonic mean of both, 0..1; None if both are undefined.
    """

    name: str
    n: int
    precision: float | None
    recall: float | None
    f1: float | None


def wilson_interval(correct: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Confidence interval of the true accuracy, given a count of correct predictions.

    Wilson's score interval, which stays inside 0..1 and is accurate near its ends: Wilson,
    "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).

    Args:
        correct: 0..n.
        n: at least 1.
        confidence: between 0 and 1, both exclusive.

    Raises:
        UsageError: an argument is out of its range.
    """
    if n < 1 or not 0 <= correct <= n or not 0 < confidence < 1:
        raise UsageError(
            f"wilson_interval: correct={correct}, n={n}, confidence={confidence}, "
            "wanted 0 <= correct <= n, n >= 1, 0 < confidence < 1"
        )
    z = -NormalDist().inv_cdf((1 - confidence) / 2)
    share = correct / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return min(max(0.0, middle - half), share), max(min(1.0, middle + half), share)


MOST_DEGREES = 1e8
"""Of freedom; beyond, rounding would be larger than the distance from a normal distribution."""


def t_quantile(degrees: float | int, probability: float = 0.975) -> float:
    """The quantile of Student's t distribution.

    With x = sqrt(degrees) tan(a), the density is in proportion to cos(a) ** (degrees - 1), which is
    integrated by Simpson's rule; the angle is found by bisection. More than `MOST_DEGREES` count as
    so many, with which the distribution is as good as normal.

    Args:
        degrees: of freedom, at least 1.
        probability: 0.5 <= probability < 1.
    """
    degrees = min(degrees, MOST_DEGREES)
    scale = _t_scale(degrees)

    def above_half(angle: float, steps: int = 512) -> float:
        values = np.cos(np.linspace(0, angle, steps + 1)) ** (degrees - 1)
        total = values[0] + values[-1] + 4 * values[1::2].sum() + 2 * values[2:-1:2].sum()
        return scale * float(total) * angle / steps / 3

    low, high = 0.0, _t_span(degrees)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if above_half(middle) < probability - 0.5 else (low, middle)
    return math.sqrt(degrees) * math.tan(low)


def t_two_sided(t: float, degrees: float | int) -> float:
    """The probability that Student's t is as far from 0 as this, or farther, 0..1.

    The density of `t_quantile`, by the angle from the far end, integrated by Gauss and Legendre's
    rule, so that small probabilities are as exact as large ones.

    Args:
        t: any number, also infinite.
        degrees: of freedom, at least 1.
    """
    degrees = min(degrees, MOST_DEGREES)
    end = math.atan2(math.sqrt(degrees), abs(t))
    span = min(end, _t_span(degrees))
    nodes, weights = np.polynomial.legendre.leggauss(128)
    values = np.sin(end - (nodes + 1) * span / 2) ** (degrees - 1)
    return min(1.0, _t_scale(degrees) * float(weights @ values) * span)


def _t_span(degrees: float | int) -> float:
    """The angle beyond which nothing is left of the density."""
    return min(math.pi / 2, 40 / math.sqrt(degrees))


def _t_scale(degrees: float | int) -> float:
    """What makes the integral of the density over all angles 1."""
    return math.exp(math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2)) / math.sqrt(math.pi)


def confusion_matrix(
    labels: ArrayLike, predictions: ArrayLike, classes: int
) -> Int64[np.ndarray, "classes classes"]:
    """Counts of (true class, predicted class): rows are true, columns predicted.

    Args:
        labels: true class indices, shape (n,); an array or a tensor.
        predictions: predicted class indices, likewise.
        classes: number of classes.

    Raises:
        UsageError: the lengths differ, or an index is not in 0..classes-1.
    """
    true, predicted = as_array(labels), as_array(predictions)
    if true.ndim != 1 or true.shape != predicted.shape:
        raise UsageError(
            f"confusion_matrix: labels of shape {list(true.shape)}, predictions of shape "
            f"{list(predicted.shape)}, wanted one of each per image"
        )
    for name, values in (("label", true), ("prediction", predicted)):
        wrong = values[(values < 0) | (values >= classes)]
        if len(wrong):
            raise UsageError(
                f"confusion_matrix: {name} {wrong[0]} is out of range, wanted 0..{classes - 1}"
            )
    # Not true * classes + predicted, which may overflow the labels' dtype.
    pairs = np.ravel_multi_index((true, predicted), (classes, classes))
    counts = np.bincount(pairs, minlength=classes * classes)
    return counts.reshape(classes, classes)


def mean_cross_entropy(
    logits: ArrayLike, labels: ArrayLike, class_weights: Sequence[float] | None = None
) -> float:
    """Mean cross-entropy in nats, computed in double precision and summed exactly.

    Args:
        logits: shape (n, classes), n at least 1; an array or a tensor.
        labels: class indices, shape (n,), likewise.
        class_weights: how much an image of each class counts; None for all alike, which is also
            taken if no image would count.
    """
    scores, true = as_array(logits), as_array(labels)
    losses: list[float] = []
    with np.errstate(invalid="ignore"):  # logits that are not finite have no finite loss
        for part in _in_parts(scores):
            values = scores[part].astype(np.float64)
            shifted = values - values.max(axis=1, keepdims=True)
            chosen = np.take_along_axis(shifted, true[part, None], axis=1)[:, 0]
            losses += (np.log(np.exp(shifted).sum(axis=1)) - chosen).tolist()
    weights = [] if class_weights is None else [class_weights[label] for label in true.tolist()]
    if not any(weights):
        return math.fsum(losses) / len(losses)
    weighted = (loss * weight for loss, weight in zip(losses, weights, strict=True) if weight)
    return math.fsum(weighted) / math.fsum(weights)


def softmax(logits: ArrayLike, temperature: float = 1.0) -> Float32[np.ndarray, "n classes"]:
    """The probability of each class, 0..1, computed in double precision; every row sums to 1.

    Args:
        logits: finite numbers of shape (n, classes); an array or a tensor.
        temperature: more than 0; the logits are divided by it.
    """
    scores = as_array(logits)
    probabilities = np.empty(scores.shape, np.float32)
    for part in _in_parts(scores):
        values = scores[part].astype(np.float64)
        powers = np.exp((values - values.max(axis=1, keepdims=True)) / temperature)
        probabilities[part] = powers / powers.sum(axis=1, keepdims=True)
    return probabilities


def _in_parts(scores: np.ndarray) -> Iterator[slice]:
    """Slices of rows with about a million numbers each, to limit memory use."""
    rows = max(1, 2**20 // max(1, scores.shape[1]))
    for start in range(0, len(scores), rows):
        yield slice(start, start + rows)


def class_figures(
    confusion: Int64[np.ndarray, "classes classes"], names: tuple[str, ...]
) -> tuple[ClassFigures, ...]:
    """Precision, recall and F1 of every class of a confusion matrix."""
    hits = confusion.diagonal().tolist()
    belonging, predicted = confusion.sum(1).tolist(), confusion.sum(0).tolist()
    return tuple(
        ClassFigures(name, n, _share(hit, guessed), _share(hit, n), _share(2 * hit, n + guessed))
        for name, n, guessed, hit in zip(names, belonging, predicted, hits, strict=True)
    )


def balanced_accuracy(confusion: Int64[np.ndarray, "classes classes"]) -> float:
    """The mean recall of the classes that have images, 0..1.

    A model that gives one answer, or guesses, gets 1 / classes, however unequal the classes are
    (Brodersen et al., "The balanced accuracy and its posterior distribution", ICPR 2010).
    """
    belonging = confusion.sum(1)
    present = belonging > 0
    return float((confusion.diagonal()[present] / belonging[present]).mean())


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
