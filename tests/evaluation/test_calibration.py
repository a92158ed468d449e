"""Calibration and temperature, beside scikit-learn's and SciPy's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import softmax as scipy_softmax
from sklearn.metrics import brier_score_loss, log_loss

from tenfold.evaluation.calibration import (
    HIGHEST_TEMPERATURE,
    LOWEST_TEMPERATURE,
    calibration_of,
    fit_temperature,
)
from tenfold.evaluation.metrics import softmax


def drawn(n: int, seed: int, *, classes: int = 4, sharpness: float = 1.0):
    """Logits, and labels drawn from their own probabilities; then the logits are sharpened."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 2, (n, classes))
    chances = softmax(logits).astype(np.float64)
    labels = (chances.cumsum(1) < generator.random((n, 1))).sum(1).clip(0, classes - 1)
    return (logits * sharpness).astype(np.float32), labels.astype(np.int64)


@pytest.mark.parametrize("sharpness", [0.4, 1.0, 2.5])
def test_the_temperature_undoes_what_sharpened_the_logits(sharpness):
    logits, labels = drawn(20_000, 1, sharpness=sharpness)
    assert fit_temperature(logits, labels) == pytest.approx(sharpness, rel=0.03)


@pytest.mark.parametrize("seed", range(3))
def test_with_many_images_it_is_the_most_likely_one(seed):
    logits, labels = drawn(5000, seed, sharpness=1.7)
    found = minimize_scalar(
        lambda log: log_loss(labels, softmax(logits / np.float32(math.exp(log)))), bounds=(-2, 2)
    )
    assert fit_temperature(logits, labels) == pytest.approx(math.exp(found.x), rel=0.01)


@pytest.mark.parametrize("n", [1, 3, 10])
def test_a_few_right_answers_do_not_make_it_certain(n):
    logits = np.tile(np.float32([[3, 0, 0]]), (n, 1))
    found = fit_temperature(logits, np.zeros(n, np.int64))
    assert 0.7 < found < 1


def test_one_wrong_answer_among_few_does_not_make_it_know_nothing():
    logits = np.tile(np.float32([[6, 0, 0]]), (4, 1))
    assert 1 < fit_temperature(logits, np.array([0, 0, 0, 1])) < 4


@pytest.mark.parametrize("right", [True, False])
def test_it_stays_within_bounds(right):
    logits = np.tile(np.float32([[50, 0]]), (20_000, 1))
    found = fit_temperature(logits, np.full(20_000, 0 if right else 1))
    assert LOWEST_TEMPERATURE <= found <= HIGHEST_TEMPERATURE


def test_without_images_or_finite_logits_it_is_1():
    assert fit_temperature(np.zeros((0, 3), np.float32), np.zeros(0, np.int64)) == 1
    assert fit_temperature(np.float32([[np.inf, 0]]), np.array([0])) == 1


@pytest.mark.parametrize("temperature", [1.0, 1.9])
def test_the_figures_are_scikit_learns(temperature):
    logits, labels = drawn(3000, 7, sharpness=1.5)
    found = calibration_of(logits, labels, temperature=temperature)
    chances = scipy_softmax(logits.astype(np.float64) / temperature, axis=1)
    assert found.nll == pytest.approx(log_loss(labels, chances), rel=1e-5)
    assert found.brier == pytest.approx(
        brier_score_loss(labels, chances, scale_by_half=False), rel=1e-5
    )


def test_the_calibration_error_is_that_of_its_definition():
    """Guo et al. (2017), equation 3, written out image by image."""
    logits, labels = drawn(2000, 3, sharpness=2.0)
    chances = softmax(logits)
    bins: dict[int, list[tuple[float, bool]]] = {}
    for row, label in zip(chances, labels, strict=True):
        answer = int(row.argmax())
        place = max(math.ceil(float(row[answer]) * 10), 1)
        bins.setdefault(place, []).append((float(row[answer]), answer == label))
    error = sum(
        abs(sum(p for p, _ in found) - sum(right for _, right in found)) for found in bins.values()
    ) / len(labels)
    found = calibration_of(logits, labels)
    assert found.ece == pytest.approx(error, rel=1e-6)
    assert [each.n for each in found.bins] == [len(bins.get(place, ())) for place in range(1, 11)]
    assert sum(each.n for each in found.bins) == found.n == 2000


def test_an_answer_of_probability_1_is_in_the_last_bin():
    found = calibration_of(np.float32([[200, 0]]), np.array([0]))
    assert (found.bins[-1].n, found.bins[-1].accuracy, found.ece) == (1, 1.0, 0.0)
    assert all(each.confidence is None and each.accuracy is None for each in found.bins[:-1])
