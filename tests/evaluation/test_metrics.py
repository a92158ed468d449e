"""Intervals, confusion matrices and figures per class, beside SciPy's and scikit-learn's."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn import metrics as sklearn_metrics

from tenfold.errors import UsageError
from tenfold.evaluation.metrics import (
    class_figures,
    confusion_matrix,
    mean_cross_entropy,
    softmax,
    wilson_interval,
)

# --- Wilson's interval -----------------------------------------------------------------------

PUBLISHED = [
    # Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in Medicine
    # 17 (1998), table I, method 3.
    (81, 263, 0.2553, 0.3662),
    (15, 148, 0.0624, 0.1605),
    (0, 20, 0.0000, 0.1611),
    (1, 29, 0.0061, 0.1718),
]


@pytest.mark.parametrize(("correct", "n", "low", "high"), PUBLISHED)
def test_published_intervals(correct, n, low, high):
    assert wilson_interval(correct, n) == pytest.approx((low, high), abs=5e-5)


counts = st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@settings(deadline=None)
@given(counts, st.floats(0.5, 0.999))
def test_it_is_scipys(count, confidence):
    correct, n = count
    wanted = binomtest(correct, n).proportion_ci(confidence, method="wilson")
    found = wilson_interval(correct, n, confidence)
    assert found == pytest.approx((wanted.low, wanted.high), rel=1e-9, abs=1e-12)


@given(counts, st.floats(0, 1, exclude_min=True, exclude_max=True))
def test_it_lies_around_the_share_and_within_0_and_1(count, confidence):
    correct, n = count
    low, high = wilson_interval(correct, n, confidence)
    assert 0 <= low <= correct / n <= high <= 1


@given(counts)
def test_it_is_the_mirror_image_for_the_wrong_ones(count):
    correct, n = count
    low, high = wilson_interval(correct, n)
    assert wilson_interval(n - correct, n) == pytest.approx((1 - high, 1 - low), abs=1e-12)


def test_it_covers_the_truth_as_often_as_it_says():
    """Exactly, by summing the binomial distribution: 95 % on average over the true accuracies."""
    from scipy.stats import binom

    n = 50
    intervals = [wilson_interval(correct, n) for correct in range(n + 1)]
    coverage = []
    for truth in np.linspace(0.02, 0.98, 97):
        chance = binom.pmf(np.arange(n + 1), n, truth)
        coverage.append(
            sum(p for p, (a, b) in zip(chance, intervals, strict=True) if a <= truth <= b)
        )
    assert np.mean(coverage) == pytest.approx(0.95, abs=0.01)


@pytest.mark.parametrize(
    ("correct", "n", "confidence"),
    [(0, 0, 0.95), (-1, 5, 0.95), (6, 5, 0.95), (1, 5, 0.0), (1, 5, 1.0), (1, 5, float("nan"))],
)
def test_counts_that_cannot_be_are_refused(correct, n, confidence):
    with pytest.raises(UsageError, match="wanted 0 <= correct <= n"):
        wilson_interval(correct, n, confidence)


# --- Confusion and what follows from it ------------------------------------------------------


@st.composite
def labels_and_predictions(draw):
    classes = draw(st.integers(2, 6))  # scikit-learn warns about one
    n = draw(st.integers(1, 60))
    one = st.lists(st.integers(0, classes - 1), min_size=n, max_size=n)
    return classes, draw(one), draw(one)


@settings(deadline=None)
@given(labels_and_predictions())
def test_confusion_and_figures_are_scikit_learns(drawn):
    classes, labels, predictions = drawn
    every_class = list(range(classes))
    confusion = confusion_matrix(np.array(labels), np.array(predictions), classes)
    wanted = sklearn_metrics.confusion_matrix(labels, predictions, labels=every_class)
    assert confusion.tolist() == wanted.tolist()

    figures = class_figures(confusion, tuple(f"class {label}" for label in every_class))
    precision, recall, f1, support = sklearn_metrics.precision_recall_fscore_support(
        labels, predictions, labels=every_class, zero_division=np.nan
    )
    assert [each.name for each in figures] == [f"class {label}" for label in every_class]
    assert [each.n for each in figures] == support.tolist()
    for found, values in (("precision", precision), ("recall", recall), ("f1", f1)):
        for each, value in zip(figures, values, strict=True):
            figure = getattr(each, found)
            assert (figure is None) == np.isnan(value)
            assert figure is None or figure == pytest.approx(value)


def test_rows_are_true_and_columns_predicted():
    confusion = confusion_matrix(np.array([0, 0, 2]), np.array([1, 1, 2]), 3)
    assert confusion.tolist() == [[0, 2, 0], [0, 0, 0], [0, 0, 1]]


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.uint64])
def test_labels_of_any_whole_type_are_counted_where_they_belong(dtype):
    labels, predictions = np.array([99, 3, 99], dtype), np.array([98, 3, 98], dtype)
    counts = confusion_matrix(labels, predictions, 100)
    assert counts[99, 98] == 2
    assert counts[3, 3] == 1
    assert counts.sum() == 3


@pytest.mark.parametrize(("labels", "predictions"), [([0, 1], [0]), ([[0, 1]], [[0, 1]])])
def test_one_label_and_one_prediction_for_every_image(labels, predictions):
    with pytest.raises(UsageError, match="wanted one of each per image"):
        confusion_matrix(labels, predictions, 3)


def test_what_is_undefined_is_none_and_not_zero():
    confusion = confusion_matrix(np.array([0, 0, 1]), np.array([0, 2, 0]), 4)
    first, second, third, fourth = class_figures(confusion, tuple("abcd"))
    assert (first.precision, first.recall, first.f1) == (0.5, 0.5, 0.5)
    assert (second.precision, second.recall, second.f1) == (None, 0.0, 0.0)
    assert (third.precision, third.recall, third.f1) == (0.0, None, 0.0)
    assert (fourth.n, fourth.precision, fourth.recall, fourth.f1) == (0, None, None, None)


@pytest.mark.parametrize(
    ("labels", "predictions", "message"),
    [
        ([0, 1], [0, 3], r"prediction 3 is out of range, wanted 0\.\.2"),
        ([0, 1], [-1, 0], "prediction -1 is out of range"),
        ([3, 1], [0, 0], "label 3 is out of range"),
        ([-1, 2], [0, 0], "label -1 is out of range"),
    ],
)
def test_classes_that_are_not_there_are_never_counted_as_others(labels, predictions, message):
    with pytest.raises(UsageError, match=message):
        confusion_matrix(np.array(labels), np.array(predictions), 3)


# --- Cross-entropy and probabilities ---------------------------------------------------------

array = np.array


def test_certainty_costs_nothing_and_a_guess_costs_ln_of_the_classes():
    labels = array([0, 1])
    assert mean_cross_entropy(array([[500.0, 0], [0, 500.0]]), labels) == 0
    assert mean_cross_entropy(np.zeros((2, 10)), labels) == pytest.approx(math.log(10))
    assert mean_cross_entropy(array([[0.0, 500.0], [500.0, 0]]), labels) == 500


def test_many_small_losses_add_up_exactly():
    """In single precision the sum of 2**24 + 1 equal terms would stand still."""
    logits, labels = np.zeros((200_000, 2), np.float32), np.zeros(200_000, np.int64)
    assert mean_cross_entropy(logits, labels) == pytest.approx(math.log(2), rel=1e-15)


def test_a_loss_that_is_not_finite_stays_so():
    labels = array([0, 1])
    assert math.isnan(mean_cross_entropy(array([[math.nan, 0], [0, 1]]), labels))
    assert math.isnan(mean_cross_entropy(array([[math.inf, 0], [0, 1]]), labels))
    assert mean_cross_entropy(array([[-math.inf, 0], [0, 1]]), labels) == math.inf


@pytest.mark.parametrize("scale", [1e-30, 1.0, 30.0, 1e30])
@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (3000, 1000)])
def test_they_agree_with_pytorch_in_double_precision(scale, shape):
    """Both of arrays and of tensors; the last shape is computed in several parts."""
    generator = np.random.default_rng(0)
    logits = (scale * generator.standard_normal(shape)).astype(np.float32)
    labels = generator.integers(0, shape[1], shape[0])
    scores, true = torch.from_numpy(logits), torch.from_numpy(labels)
    wanted = torch.nn.functional.cross_entropy(scores.double(), true).item()
    assert mean_cross_entropy(logits, labels) == pytest.approx(wanted, rel=1e-12)
    assert mean_cross_entropy(scores, true) == mean_cross_entropy(logits, labels)
    probabilities = softmax(logits)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(
        probabilities, scores.double().softmax(1).numpy(), rtol=1e-7, atol=1e-45
    )
    assert np.array_equal(softmax(scores), probabilities)
