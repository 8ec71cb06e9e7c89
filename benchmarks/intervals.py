"""Means, medians and interquartile means with 95 % intervals, by rliable (Agarwal et al. 2021).

rliable is an optional dependency, `bench`: it brings pandas, statsmodels and more, so it is imported only where it is
used and `make bench` installs it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# R runs (seeds), K tasks

REPS = 5_000
"""Bootstrap samples an interval."""
LEGEND = (
    "Intervals are 95 % percentile intervals of a bootstrap over seeds, stratified by task "
    f"([rliable](https://github.com/google-research/rliable), {REPS:,} samples). They speak of these tasks and of new "
    "seeds, and with few seeds they are too narrow. IQM is the mean of the middle half of all runs."
)
MISSING = (
    "rliable is not installed. `make bench` installs it, or: "
    "pip install --constraint constraints.txt --editable '.[bench]'"
)


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{figure(self.value)} [{figure(self.low)}, {figure(self.high)}]"


@dataclass(frozen=True)
class Summary:
    """What many runs come to."""

    mean: Estimate
    median: Estimate
    """Over runs for one task; over the tasks' means for several, as rliable has it."""
    iqm: Estimate


def figure(value: float) -> str:
    """Three digits at least, thousands apart: 0.0123, 1.23, 12.3, 1,234."""
    size = abs(value)
    return f"{value:,.0f}" if size >= 100 else f"{value:.3g}"


def summarise(scores_RK: Floats) -> Summary:
    """Mean, median and IQM of `[R, K]` scores, with intervals. SystemExit, saying how to mend it, without rliable."""
    library, metrics = _rliable()

    def aggregates(scores: Floats) -> Floats:
        # rliable's median is that of the tasks' means, which for one task would be its mean again.
        median = metrics.aggregate_median(scores) if scores.shape[1] > 1 else np.median(scores)
        return np.array([metrics.aggregate_mean(scores), median, metrics.aggregate_iqm(scores)])

    with _seeded():
        value, interval = library.get_interval_estimates({"": scores_RK}, aggregates, reps=REPS)
    low, high = interval[""]
    mean, median, iqm = (Estimate(float(v), float(a), float(b)) for v, a, b in zip(value[""], low, high, strict=True))
    return Summary(mean, median, iqm)


def improvement(scores_RK: Floats, over_SK: Floats) -> Estimate:
    """P(a run of the first does better than one of the second), averaged over tasks; ties count half."""
    library, metrics = _rliable()
    with _seeded():
        value, interval = library.get_interval_estimates(
            {"": (scores_RK, over_SK)}, metrics.probability_of_improvement, reps=REPS
        )
    return Estimate(float(value[""]), float(interval[""][0][0]), float(interval[""][1][0]))


def _rliable() -> tuple[Any, Any]:
    try:
        from rliable import library, metrics
    except ModuleNotFoundError as error:
        raise SystemExit(MISSING) from error
    return library, metrics


@contextmanager
def _seeded() -> Iterator[None]:
    """rliable draws from numpy's global generator, its `random_state` notwithstanding: the same rows, the same page."""
    before = np.random.get_state()
    np.random.seed(0)
    try:
        yield
    finally:
        np.random.set_state(before)
