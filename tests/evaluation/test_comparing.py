"""Tests and intervals of comparisons, beside SciPy's and those computed by hand."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tenfold.errors import UsageError
from tenfold.evaluation.comparing import (
    SHARES_APART,
    exact_mcnemar,
    holm,
    paired,
    summary_of,
    welch,
)
from tenfold.evaluation.metrics import t_quantile, t_two_sided

# --- Student's t ------------------------------------------------------------------------------


@pytest.mark.parametrize("degrees", [1, 1.3, 2, 2.5, 4, 9.7, 30, 199])
def test_quantiles_and_probabilities_are_scipys(degrees: float) -> None:
    assert t_quantile(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=1e-6)
    for t in (0.0, 0.3, 1.0, -2.5, 10.0, 60.0):
        wanted = 2 * stats.t.sf(abs(t), degrees)
        assert t_two_sided(t, degrees) == pytest.approx(wanted, rel=1e-4)
    assert t_two_sided(math.inf, degrees) == 0


def test_a_summary_is_scipys_interval() -> None:
    values = [0.91, 0.93, 0.9, 0.95, 0.94]
    found = summary_of(values)
    low, high = stats.t.interval(0.95, 4, np.mean(values), stats.sem(values))
    assert found.interval == pytest.approx((low, high), rel=1e-6)
    assert (found.n, found.mean) == (5, pytest.approx(np.mean(values)))
    assert found.deviation == pytest.approx(np.std(values, ddof=1))
    assert summary_of([0.99, 1.0], within=(0.0, 1.0)).interval[1] == 1
    assert summary_of([0.5, 0.5]).interval == (0.5, 0.5)
    with pytest.raises(UsageError, match="1 values, wanted two or more"):
        summary_of([0.5])


# --- McNemar's test ---------------------------------------------------------------------------


@given(st.integers(0, 400), st.integers(0, 400))
def test_the_exact_test_is_scipys_binomial_test(b: int, c: int) -> None:
    wanted = stats.binomtest(b, b + c).pvalue if b + c else 1.0
    assert exact_mcnemar(b, c) == pytest.approx(wanted, rel=1e-9)


def test_the_exact_test_by_hand() -> None:
    assert exact_mcnemar(0, 0) == 1
    assert exact_mcnemar(1, 0) == 1
    assert exact_mcnemar(0, 6) == float(Fraction(2, 64))
    assert exact_mcnemar(1, 7) == float(Fraction(2 * (1 + 8), 256))
    assert exact_mcnemar(0, 5000) == 0  # smaller than any float
    assert exact_mcnemar(30_000, 30_500) == pytest.approx(
        stats.binomtest(30_000, 60_500).pvalue, rel=1e-6
    )
    with pytest.raises(UsageError, match="counts -1 and 3"):
        exact_mcnemar(-1, 3)


def test_two_models_on_the_same_images() -> None:
    first = np.array([1, 1, 1, 0, 0, 0, 0, 1, 1, 0], bool)
    second = np.array([1, 1, 1, 1, 1, 1, 1, 0, 1, 0], bool)
    found = paired(first, second)
    assert (found.n, found.first_only, found.second_only) == (10, 1, 4)
    assert found.difference == pytest.approx(0.3)
    # By hand: (4.5 - 1.5) / 12, and 1.96 times the root of (6 - 9 / 12), over 12.
    half = 1.959964 * math.sqrt(6 - 9 / 12) / 12
    assert found.interval == pytest.approx((0.25 - half, 0.25 + half), rel=1e-6)
    assert found.p == exact_mcnemar(1, 4) == float(Fraction(2 * 6, 32))
    back = paired(second, first)
    assert back.interval == pytest.approx((-found.interval[1], -found.interval[0]))
    with pytest.raises(UsageError, match="no images"):
        paired(first[:0], second[:0])


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
def test_the_interval_has_the_difference_in_it(b: int, c: int, both: int) -> None:
    first = np.array([True] * b + [False] * c + [True] * (both + 1))
    second = np.array([False] * b + [True] * c + [True] * (both + 1))
    found = paired(first, second)
    assert -1 <= found.interval[0] <= found.difference <= found.interval[1] <= 1


def test_the_interval_has_the_true_difference_in_it_as_often_as_it_says() -> None:
    """Of two models that get 90 % and 94 % right, and 87 % both."""
    generator = np.random.default_rng(7)
    true, hits, repeats = 0.04, 0, 2000
    for counts in generator.multinomial(300, [0.03, 0.07, 0.87, 0.03], repeats):
        b, c, both, neither = counts.tolist()
        first = np.repeat([True, False, True, False], [b, c, both, neither])
        second = np.repeat([False, True, True, False], [b, c, both, neither])
        low, high = paired(first, second).interval
        hits += low <= true <= high
    assert 0.935 < hits / repeats < 0.975


# --- Welch's test -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([0.91, 0.93, 0.9], [0.95, 0.94, 0.97, 0.96, 0.93]),
        ([0.5, 0.9], [0.6, 0.61]),
        ([1.0, 2.0, 3.0, 4.0], [1.5, 2.5, 3.5, 4.5]),
        ([0.9, 0.9, 0.91], [0.8, 0.85]),
    ],
)
def test_it_is_scipys_test(first: list[float], second: list[float]) -> None:
    found, wanted = welch(first, second), stats.ttest_ind(second, first, equal_var=False)
    assert found.p == pytest.approx(wanted.pvalue, rel=1e-4)
    assert found.degrees == pytest.approx(wanted.df)
    assert found.interval == pytest.approx(tuple(wanted.confidence_interval()), rel=1e-5)
    assert found.difference == pytest.approx(np.mean(second) - np.mean(first))


def test_groups_without_any_deviation() -> None:
    for other in ([0.5, 0.5, 0.5], [0.75, 0.75]):
        with pytest.raises(UsageError, match="all values of each group are the same"):
            welch([0.5, 0.5], other)
    with pytest.raises(UsageError, match="groups of 1 and 2 values"):
        welch([0.5], [0.5, 0.6])


def test_the_interval_of_a_difference_is_cut_to_what_is_possible() -> None:
    values = [0.1, 0.9], [0.95, 1.0]
    assert welch(*values).interval[1] > 1
    assert welch(*values, SHARES_APART).interval == (-1.0, 1.0)


# --- Several tests ----------------------------------------------------------------------------


def test_holms_correction_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.04, 0.03]) == pytest.approx([0.06, 0.06])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([0.2]) == [0.2]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_never_lowers_a_p_value_nor_changes_their_order(p_values: list[float]) -> None:
    found = holm(p_values)
    assert all(p <= c <= 1 for p, c in zip(p_values, found, strict=True))
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(np.array(found)[order]) >= 0).all()
