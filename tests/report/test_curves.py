"""Means and intervals, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairplay.report.curves import curve, interval_95
from pairplay.run.metrics import Metrics

X = "x"


def rows(points: dict[int, float | None]) -> list[Metrics]:
    return [{"time/total_timesteps": step, X: value} for step, value in points.items()]


def test_t_interval_of_three_by_hand() -> None:
    # mean 2, standard deviation 1, t(2) = 4.303: 2 ± 4.303 / √3
    mean, low, high = interval_95(np.array([[1.0], [2.0], [3.0]]))
    assert (mean[0], low[0], high[0]) == pytest.approx((2.0, 2 - 2.4843, 2 + 2.4843), abs=1e-4)


def test_one_run_is_its_own_interval() -> None:
    mean, low, high = interval_95(np.array([[4.0, 5.0]]))
    assert mean.tolist() == low.tolist() == high.tolist() == [4.0, 5.0]


def test_many_runs_use_the_normal_distribution() -> None:
    values = np.tile([[-1.0], [1.0]], (20, 1))
    _, low, high = interval_95(values)
    assert high[0] == -low[0] == pytest.approx(1.96 * values.std(ddof=1) / math.sqrt(40))


def test_coverage_is_what_it_says() -> None:
    draws = np.random.default_rng(0).normal(5.0, 2.0, size=(3, 20_000))
    _, low, high = interval_95(draws)
    assert ((low <= 5.0) & (high >= 5.0)).mean() == pytest.approx(0.95, abs=0.005)


def test_runs_of_one_grid() -> None:
    got = curve([rows({100: 1.0, 200: 3.0}), rows({100: 3.0, 200: 5.0})], X)
    assert got is not None
    assert got.step.tolist() == [100, 200]
    assert got.values.tolist() == [[1, 3], [3, 5]]
    assert got.mean.tolist() == [2, 4]


def test_between_records_a_run_holds_its_value_and_the_mean_ends_with_the_shortest() -> None:
    got = curve([rows({100: 1.0, 300: 3.0, 500: 5.0}), rows({200: 10.0, 400: 20.0})], X)
    assert got is not None
    assert got.step.tolist() == [200, 300, 400]
    assert got.values.tolist() == [[1, 3, 3], [10, 10, 20]]


def test_values_that_are_missing_are_skipped() -> None:
    got = curve([rows({100: None, 200: 2.0, 300: None, 400: 4.0})], X)
    assert got is not None
    assert (got.step.tolist(), got.mean.tolist()) == ([200, 400], [2, 4])


@pytest.mark.parametrize(
    "metrics",
    [
        [rows({100: None})],
        [rows({100: 1.0}), rows({100: None})],
        [rows({100: 1.0}), rows({200: 1.0})],
        [[{"time/total_timesteps": 100}]],
    ],
)
def test_without_common_values_there_is_no_curve(metrics: list[list[Metrics]]) -> None:
    assert curve(metrics, X) is None


@given(st.integers(2, 5000))
def test_long_runs_are_thinned_but_keep_their_ends(length: int) -> None:
    got = curve([rows({i: float(i) for i in range(length)})], X)
    assert got is not None
    assert len(got.step) <= 1000
    assert (got.step[0], got.step[-1], got.mean[-1]) == (0, length - 1, length - 1)
    assert (np.diff(got.step) > 0).all()
