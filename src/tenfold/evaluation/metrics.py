"""Figures about predictions, as pure functions of counts and labels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Int64

from tenfold.errors import UsageError
from tenfold.types import as_array

ArrayLike: TypeAlias = Any
"""A NumPy array, a tensor, or a list of numbers."""


@dataclass(frozen=True)
class ClassFigures:
    """How well one class is recognized.

    Attributes:
        name: the class.
        n: how many images truly belong to it.
        precision: the share of right ones among those predicted as this class, 0..1; None if
            none was.
        recall: the share found among those that belong to it, 0..1; None if none does.
        f1: the harmonic mean of both, 0..1; None if both are undefined.
    """

    name: str
    n: int
    precision: float | None
    recall: float | None
    f1: float | None


def wilson_interval(correct: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The interval in which the true accuracy lies, given a count of correct predictions.

    Wilson's score interval: Wilson, "Probable inference, the law of succession, and statistical
    inference", JASA 22 (1927), which stays inside 0..1 and is honest near its ends.

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


def confusion_matrix(
    labels: ArrayLike, predictions: ArrayLike, classes: int
) -> Int64[np.ndarray, "classes classes"]:
    """Counts of (true class, predicted class): rows are true, columns predicted.

    Args:
        labels: the true classes' indices, shape (n,); an array or a tensor.
        predictions: those that were predicted, likewise.
        classes: how many there are.

    Raises:
        UsageError: there are not as many of both, or one is not among 0..classes-1.
    """
    true, predicted = as_array(labels), as_array(predictions)
    if true.ndim != 1 or true.shape != predicted.shape:
        raise UsageError(
            f"confusion_matrix: labels of shape {list(true.shape)}, predictions of shape "
            f"{list(predicted.shape)}, wanted one of each for every image"
        )
    for name, values in (("label", true), ("prediction", predicted)):
        wrong = values[(values < 0) | (values >= classes)]
        if len(wrong):
            raise UsageError(
                f"confusion_matrix: {name} {wrong[0]} is out of range, wanted 0..{classes - 1}"
            )
    # Not true * classes + predicted: that may be more than the labels' own type holds.
    pairs = np.ravel_multi_index((true, predicted), (classes, classes))
    counts = np.bincount(pairs, minlength=classes * classes)
    return counts.reshape(classes, classes)


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


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
