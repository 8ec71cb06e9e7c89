"""How well predictions agree with answers: numbers worked by hand, then what holds for any numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pairplay.health.agreement import (
    Interval,
    agreement,
    calibration,
    correlation,
    moving_accuracy,
    out_of_bag,
    rightness,
    wilson,
)
from pairplay.types import Array

NOTHING = Interval(None, None, None)


def test_wilson_by_hand() -> None:
    # n = 10, k = 8, z = 2: centre (0.8 + 0.2) / 1.4, half width 2 · sqrt(0.016 + 0.01) / 1.4
    got = wilson(8, 10, z=2.0)
    assert got == pytest.approx((0.8, 1 / 1.4 - 2 * math.sqrt(0.026) / 1.4, 1 / 1.4 + 2 * math.sqrt(0.026) / 1.4))
    # Of 20 tries without a success: 0 to 16 % (Brown, Cai & DasGupta 2001 give 0.161).
    assert wilson(0, 20) == pytest.approx((0.0, 0.0, 0.161), abs=5e-4)
    assert wilson(0, 0) == NOTHING


def test_the_interval_covers_what_it_promises() -> None:
    rng = np.random.default_rng(0)
    for n, share in ((50, 0.5), (50, 0.8), (30, 0.95)):
        hits = rng.binomial(n, share, 4000)
        inside = [low <= share <= high for _, low, high in (wilson(int(k), n) for k in hits)]  # type: ignore[operator]
        assert 0.92 < np.mean(inside) < 0.98


def test_accuracy_leaves_ties_out_and_loss_does_not() -> None:
    # right, wrong, right, tie; a favoured side of 0.9, 0.6, 0.8
    got = agreement(np.array([0.9, 0.6, 0.2, 0.7]), np.array([1.0, 0.0, 0.0, 0.5]))
    assert (got.strict, got.count) == (3, 4)
    assert got.accuracy == wilson(2, 3)
    assert got.claimed == pytest.approx((0.9 + 0.6 + 0.8) / 3)
    tie = -(math.log(0.7) + math.log(0.3)) / 2
    assert got.loss == pytest.approx((-math.log(0.9) - math.log(0.4) - math.log(0.8) + tie) / 4)


def test_one_half_is_half_right_and_nothing_is_nothing() -> None:
    assert rightness(np.array([0.5, 0.5, 0.9, 0.1]), np.array([1.0, 0.0, 0.5, 0.0])).tolist() == [0.5, 0.5, 0.5, 1.0]
    empty = agreement(np.array([]), np.array([]))
    assert (empty.accuracy, empty.claimed, empty.loss) == (NOTHING, None, None)
    ties = agreement(np.array([0.9]), np.array([0.5]))
    assert (ties.strict, ties.accuracy, ties.count) == (0, NOTHING, 1)


def test_a_sure_mistake_costs_much_but_not_infinity() -> None:
    loss = agreement(np.array([0.0]), np.array([1.0])).loss
    assert loss is not None
    assert 20 < loss < 40


def test_calibration_by_hand() -> None:
    # Favoured sides: 0.95 right, 0.95 right, 0.55 wrong, 0.55 right, 0.65 and a tie.
    table = calibration(np.array([0.95, 0.05, 0.55, 0.45, 0.65]), np.array([1.0, 0.0, 0.0, 0.0, 0.5]))
    assert table.edges == pytest.approx([0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    assert table.count.tolist() == [2, 1, 0, 0, 2]
    assert table.claimed == pytest.approx([0.55, 0.65, np.nan, np.nan, 0.95], nan_ok=True)
    assert table.observed == (wilson(1, 2), wilson(0.5, 1), NOTHING, NOTHING, wilson(2, 2))
    assert table.error == pytest.approx((2 * 0.05 + 1 * 0.15 + 2 * 0.05) / 5)
    assert calibration(np.array([]), np.array([])).error is None


@pytest.mark.parametrize("p", [0.6, 0.7, 0.8, 0.9, 0.4, 0.3, 0.2, 0.1])
def test_an_edge_belongs_above(p: float) -> None:
    bin_ = round((max(p, 1 - p) - 0.5) * 10)
    assert calibration(np.array([p]), np.array([1.0])).count[bin_] == 1


PREDICTED = hnp.arrays(np.float64, st.integers(1, 40), elements=st.floats(0, 1))


@given(PREDICTED, st.randoms(use_true_random=False))
def test_left_and_right_may_be_swapped(p: Array, random: object) -> None:
    """Which clip was shown on which side says nothing about the model."""
    rng = np.random.default_rng(random.randrange(2**32))  # type: ignore[attr-defined]
    mu, swap = rng.choice([0.0, 0.5, 1.0], len(p)), rng.random(len(p)) < 0.5
    q, nu = np.where(swap, 1 - p, p), np.where(swap, 1 - mu, mu)
    one, two = agreement(p, mu), agreement(q, nu)
    assert (one.strict, one.count) == (two.strict, two.count)
    assert one.loss == pytest.approx(two.loss, abs=1e-3)
    assert calibration(p, mu).error == pytest.approx(calibration(q, nu).error, abs=1e-12)


def test_what_is_calibrated_shows_no_error_and_what_boasts_does() -> None:
    rng = np.random.default_rng(1)
    p = rng.uniform(0.05, 0.95, 20_000)
    mu = (rng.random(len(p)) < p).astype(float)
    honest, boasting = calibration(p, mu), calibration(np.where(p > 0.5, 0.95, 0.05), mu)
    assert honest.error is not None
    assert boasting.error is not None
    assert honest.error < 0.02
    assert boasting.error > 0.15


def test_the_window_moves() -> None:
    p, mu = np.array([0.9, 0.9, 0.1, 0.9, 0.9]), np.array([1.0, 0.5, 1.0, 1.0, 1.0])
    assert moving_accuracy(p, mu, window=3) == [
        wilson(1, 1),  # right
        wilson(1, 1),  # a tie counts for nothing
        wilson(1, 2),
        wilson(1, 2),  # tie, wrong, right
        wilson(2, 3),
    ]
    assert moving_accuracy(np.array([]), np.array([])) == []


def test_out_of_bag_asks_only_those_who_never_saw_it() -> None:
    p = np.array([[0.9, 0.2, 0.6], [0.1, 0.4, 0.6], [0.7, 0.3, 0.6]])
    held = np.array([[True, False, False], [False, True, False], [True, True, False]])
    assert out_of_bag(p, held) == pytest.approx([0.8, 0.35, np.nan], nan_ok=True)


def test_correlation_by_hand() -> None:
    got = correlation(np.array([1.0, 2.0, 3.0, 10.0]), np.array([1.0, 2.0, 3.0, 4.0]))
    # Σdx·dy = 14, Σdx² = 50, Σdy² = 5
    assert got.pearson == pytest.approx(14 / math.sqrt(250))
    assert got.spearman == pytest.approx(1.0)
    assert got.of == 4
    # Ranks 1, 2½, 2½, 4 against 1, 2, 3, 4: Σ = 4.5, Σ² = 4.5 and 5
    assert correlation(np.array([0, 5, 5, 9]), np.arange(4)).spearman == pytest.approx(4.5 / math.sqrt(4.5 * 5))


@pytest.mark.parametrize("flat", [[1.0, 1.0, 1.0], [0.1 + 0.2, 0.3, 0.3], [], [1.0, 2.0]])
def test_no_correlation_without_variety(flat: list[float]) -> None:
    assert correlation(np.array(flat), np.arange(len(flat)))[:2] == (None, None)


@given(PREDICTED)
def test_correlation_minds_neither_scale_nor_order(x: Array) -> None:
    y = np.random.default_rng(0).normal(size=len(x))
    order = np.random.default_rng(1).permutation(len(x))
    for one, two in zip(correlation(x, y)[:2], correlation(x[order], 3 * y[order] - 7)[:2], strict=True):
        assert (one is None) == (two is None)
        assert one is None or one == pytest.approx(two, abs=1e-9)
