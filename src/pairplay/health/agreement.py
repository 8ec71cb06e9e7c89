"""How well predictions agree with answers, and how sure of that one may be. Pure functions of arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pairplay.types import Array, BoolArray

Floats = npt.NDArray[np.float64]

# D answers, E ensemble members, B bins. p_D is the predicted P[left]; mu_D the answer: 1 left, 0 right, ½ tie

Z_95 = 1.959964
BINS = 5
"""Of the calibration table, from 50 % to 100 %."""
RECENT = 50
"""Answers in the moving window: about ±14 % of accuracy at 95 %, and still soon enough to see a change."""
_LEAST = 1e-12
"""A prediction of exactly 0 that turns out wrong would cost infinity."""


class Interval(NamedTuple):
    """A share with its 95 % interval; None each when there was nothing to count."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Agreement:
    """How a set of predictions fared against the answers."""

    strict: int
    """Answers that prefer a side: those that accuracy is about."""
    accuracy: Interval
    """Share of them whose side was predicted; a prediction of exactly ½ is half right."""
    claimed: float | None
    """The accuracy the model expected of itself on the same answers, the mean of max(p, 1 - p)."""
    count: int
    """Answers that the loss is about: ties too."""
    loss: float | None
    """Mean cross-entropy in nats; ln 2 = 0.693 is a coin."""


@dataclass(frozen=True)
class Calibration:
    """Answers by how sure the model was of them: of what it calls 80 % likely, four in five should happen."""

    edges: Floats
    """`[B + 1]` bounds of the bins, from ½ to 1."""
    count: npt.NDArray[np.int64]
    """`[B]`"""
    claimed: Floats
    """`[B]` mean predicted probability of the favoured side; NaN in an empty bin."""
    observed: tuple[Interval, ...]
    """`[B]` how often the favoured side was the answer, a tie counting half."""
    error: float | None
    """Expected calibration error: the gap between claimed and observed, averaged over answers."""


class Correlation(NamedTuple):
    """How two measures of the same things go together; None when one of them does not vary."""

    pearson: float | None
    spearman: float | None
    of: int
    """How many things."""


def wilson(successes: float, trials: float, z: float = Z_95) -> Interval:
    """A share and its interval (Wilson 1927), which stays within [0, 1] and holds for few trials and for shares near 1.

    `successes` may be a half: a coin thrown for what was undecided.
    """
    if trials <= 0:
        return Interval(None, None, None)
    share, square = successes / trials, z * z / trials
    middle = (share + square / 2) / (1 + square)
    half = z * math.sqrt(share * (1 - share) / trials + square / trials / 4) / (1 + square)
    return Interval(share, max(0.0, middle - half), min(1.0, middle + half))


def agreement(p_D: Array, mu_D: Array) -> Agreement:
    """Accuracy over the answers that prefer a side, loss over all of them."""
    p, mu = np.asarray(p_D, np.float64), np.asarray(mu_D, np.float64)
    strict = mu != 0.5
    right = rightness(p, mu)[strict]
    bounded = np.clip(p, _LEAST, 1.0 - _LEAST)
    losses = -(mu * np.log(bounded) + (1.0 - mu) * np.log(1.0 - bounded))
    return Agreement(
        strict=len(right),
        accuracy=wilson(float(right.sum()), len(right)),
        claimed=float(np.maximum(p, 1.0 - p)[strict].mean()) if len(right) else None,
        count=len(mu),
        loss=float(losses.mean()) if len(mu) else None,
    )


def rightness(p_D: Array, mu_D: Array) -> Floats:
    """`[D]` 1 where the favoured side was the answer, 0 where it was the other, ½ for ties and for p = ½."""
    p, mu = np.asarray(p_D, np.float64), np.asarray(mu_D, np.float64)
    right: Floats = 0.5 + np.sign(p - 0.5) * (mu - 0.5)
    return right


def calibration(p_D: Array, mu_D: Array, bins: int = BINS) -> Calibration:
    """Claimed against observed shares, from the favoured side's point of view.

    "80 % left, and it was left" and "20 % left, and it was right" are the same event, whichever clip happened to be
    shown where: folding them together leaves a habit of preferring one side out of the table.
    """
    p, mu = np.asarray(p_D, np.float64), np.asarray(mu_D, np.float64)
    sure, right = np.maximum(p, 1.0 - p), rightness(p, mu)
    edges = np.linspace(0.5, 1.0, bins + 1)
    # A probability on an edge belongs above it, whatever rounding made of the edge.
    place = np.clip(np.searchsorted(edges, sure + 1e-9, side="right") - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    sums = np.bincount(place, weights=sure, minlength=bins)
    claimed = np.divide(sums, count, out=np.full(bins, np.nan), where=count > 0)
    hits = np.bincount(place, weights=right, minlength=bins)
    gap = float(np.abs(sums - hits).sum()) / len(p) if len(p) else None
    observed = tuple(wilson(float(hit), int(n)) for hit, n in zip(hits, count, strict=True))
    return Calibration(edges, count, claimed, observed, gap)


def moving_accuracy(p_D: Array, mu_D: Array, window: int = RECENT) -> list[Interval]:
    """Accuracy over the `window` answers up to and with each one, in the order given; ties are left out of the count.

    The first values are of fewer answers and say so by their width.
    """
    strict = np.asarray(mu_D) != 0.5
    right = np.where(strict, rightness(p_D, mu_D), 0.0)
    hits, trials = (np.concatenate([[0.0], np.cumsum(array)]) for array in (right, strict))
    first = np.maximum(np.arange(1, len(right) + 1) - window, 0)
    return [
        wilson(float(hits[end] - hits[start]), float(trials[end] - trials[start]))
        for end, start in enumerate(first, start=1)
    ]


def out_of_bag(p_ED: Array, held_ED: BoolArray) -> Floats:
    """`[D]` P[left] averaged over the members that never train on the comparison; NaN where all of them do."""
    held = np.asarray(held_ED, np.bool_)
    sums = np.where(held, np.asarray(p_ED, np.float64), 0.0).sum(0)
    count = held.sum(0)
    mean: Floats = np.divide(sums, count, out=np.full(sums.shape, np.nan), where=count > 0)
    return mean


def correlation(x: Array, y: Array) -> Correlation:
    """Pearson's and Spearman's coefficient of two vectors. For audit: nothing may learn from it."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    pearson = _pearson(x, y)
    return Correlation(pearson, None if pearson is None else _pearson(_ranks(x), _ranks(y)), len(x))


def _pearson(x: Floats, y: Floats) -> float | None:
    if len(x) < 3:
        return None
    dx, dy = x - x.mean(), y - y.mean()
    # A constant leaves a spread of rounding errors, and those correlate with anything.
    if any(np.abs(d).max() <= 1e-9 * np.abs(of).max() for d, of in ((dx, x), (dy, y))):
        return None
    # To a common size first: the square of a small number is 0.
    dx, dy = dx / np.abs(dx).max(), dy / np.abs(dy).max()
    return float(np.clip((dx @ dy) / math.sqrt((dx @ dx) * (dy @ dy)), -1.0, 1.0))


def _ranks(x: Floats) -> Floats:
    """Equal values share the mean of their ranks."""
    _, place, count = np.unique(x, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return (last - (count - 1) / 2)[place]
