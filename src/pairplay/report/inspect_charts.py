"""Charts of what a reward model has learnt, in the style of the house. Knows nothing of runs and files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from pairplay.health.agreement import Calibration, Interval
from pairplay.report.figure import COLOURS, QUIET, STYLE
from pairplay.types import Array

BLUE = COLOURS[0]
_DASHED: dict[str, Any] = {"color": QUIET, "linewidth": 1, "linestyle": (0, (4, 3)), "zorder": 1.5}


def accuracy_over_answers(answers: Sequence[int], accuracy: Sequence[Interval]) -> Figure:
    """Moving accuracy with its interval as a band; a dashed line is a coin."""
    with _panel() as (figure, ax):
        shown = [(n, of) for n, of in zip(answers, accuracy, strict=True) if of.value is not None]
        x = [n for n, _ in shown]
        value, low, high = (np.array([of[i] for _, of in shown], np.float64) for i in range(3))
        ax.fill_between(x, low, high, color=BLUE, alpha=0.16, linewidth=0)
        ax.plot(x, value, color=BLUE, linewidth=2)
        ax.plot(x[-1:], value[-1:], "o", color=BLUE, markersize=5, clip_on=False)
        ax.axhline(0.5, **_DASHED)
        ax.annotate("a coin", (0.99, 0.5), xycoords=("axes fraction", "data"), xytext=(0, -3), va="top", ha="right",
                    textcoords="offset points", color=QUIET, fontsize=9)  # fmt: skip
        ax.set_ylim(0, 1)
        ax.set_xlim(min(x, default=0), max([*x, min(x, default=0) + 1]))
        ax.set_xlabel("answers")
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
        ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    return figure


def claimed_and_observed(table: Calibration) -> Figure:
    """How often the favoured side was the answer, against how sure the model was; the diagonal is honesty."""
    with _panel() as (figure, ax):
        ax.plot([0.5, 1], [0.5, 1], **_DASHED)
        for claimed, observed, count in zip(table.claimed, table.observed, table.count, strict=True):
            if observed.value is None or observed.low is None or observed.high is None:
                continue
            ax.plot([claimed, claimed], [observed.low, observed.high], color=BLUE, linewidth=2, alpha=0.45)
            ax.plot([claimed], [observed.value], "o", color=BLUE, markersize=7)
            ax.annotate(f"{count}", (claimed, observed.value), xytext=(7, 6), textcoords="offset points",
                        color=QUIET, fontsize=9)  # fmt: skip
        ax.set_xlim(0.48, 1.02)
        ax.set_ylim(0, 1.03)
        ax.set_xlabel("how sure the model was")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter(PercentFormatter(1.0))
    return figure


def predicted_and_true(predicted: Array, true: Array) -> Figure:
    """One point a clip."""
    with _panel() as (figure, ax):
        ax.scatter(predicted, true, s=22, color=BLUE, alpha=0.45, linewidth=0)
        ax.set_xlabel("predicted reward a step")
        ax.set_ylabel("true reward a step")
        ax.margins(0.05)
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    return figure


@contextmanager
def _panel() -> Iterator[tuple[Figure, Any]]:
    with mpl.rc_context(STYLE | {"font.size": 11}):
        figure = Figure(figsize=(4.6, 3.3), layout="constrained")
        yield figure, figure.subplots()
