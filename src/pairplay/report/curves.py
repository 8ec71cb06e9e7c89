"""From the metrics of several runs to one mean with its interval. Knows nothing of drawing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pairplay.run.layout import RunDir
from pairplay.run.metrics import STEP, Metrics, read_metrics
from pairplay.types import UserError

Floats = npt.NDArray[np.float64]

# R runs of one setting, S steps

_POINTS = 1000
_T_975 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
"""The 97.5 % point of Student's t for 1, 2, … 30 degrees of freedom."""


@dataclass(frozen=True)
class Curve:
    """One metric of the runs of one setting, over the steps that all of them have reached."""

    step: Floats
    """`[S]` agent steps."""
    values: Floats
    """`[R, S]` each run."""
    mean: Floats
    """`[S]`"""
    low: Floats
    """`[S]` the lower end of the 95 % interval of the mean; equal to the mean for a single run."""
    high: Floats


@dataclass(frozen=True)
class Final:
    """Where one metric of a setting stood at the last step that all its runs reached."""

    mean: float
    low: float
    high: float
    """The 95 % interval of the mean (Student's t over runs); equal to the mean for a single run."""
    runs: tuple[float, ...]


def interval_95(values: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean over the first axis with its 95 % interval: Student's t over runs.

    With the three to five seeds that are usual here a bootstrap is far too narrow (for n = 3 it covers
    about three times in four); the t interval is honest about how little few seeds say, at the price of assuming that
    runs spread normally. For one run there is no interval: all three are that run.
    """
    count = len(values)
    mean = values.mean(0)
    if count == 1:
        return mean, mean, mean
    t = _T_975[count - 2] if count - 2 < len(_T_975) else 1.96
    half = t * values.std(0, ddof=1) / math.sqrt(count)
    return mean, mean - half, mean + half


def curve(metrics: Sequence[Sequence[Metrics]], name: str) -> Curve | None:
    """Metric `name` over the runs of one setting, one list of metrics a run.

    Between two records a run holds its last value. None when some run never had a value.
    """
    series = [_series(rows, name) for rows in metrics]
    if any(len(step) == 0 for step, _ in series):
        return None
    first, last = max(step[0] for step, _ in series), min(step[-1] for step, _ in series)
    grid = np.unique(np.concatenate([step for step, _ in series]))
    grid = grid[(grid >= first) & (grid <= last)]
    if len(grid) == 0:  # one run ended before another had its first value
        return None
    if len(grid) > _POINTS:
        grid = grid[np.linspace(0, len(grid) - 1, _POINTS).round().astype(int)]
    values = np.stack([value[np.searchsorted(step, grid, side="right") - 1] for step, value in series])
    return Curve(grid, values, *interval_95(values))


def load_metrics(run: RunDir, required: Sequence[str]) -> list[Metrics]:
    """The metrics of `run`. UserError when there are none, or when one of `required` was never written."""
    rows = read_metrics(run.metrics_jsonl)
    if not rows:
        raise UserError(f"{run.path} has no metrics yet ({run.metrics_jsonl.name} is missing or empty): train it first")
    for name in required:
        if not any(name in row for row in rows):
            raise UserError(f"{run.metrics_jsonl} never mentions {name!r}: was it written by another program?")
    return rows


def _series(rows: Sequence[Metrics], name: str) -> tuple[Floats, Floats]:
    points = [(row[STEP], row[name]) for row in rows if row.get(name) is not None]
    array = np.array(points, dtype=np.float64).reshape(-1, 2)
    return array[:, 0], array[:, 1]
