"""Teachers that judge by the environment's own reward, well or badly: B-Pref's (Lee et al. 2021) and a coin.

Each compares the sums of the segments' rewards, R = Σ r_t. They stand in for people in benchmarks; a run with one
says so, because what it learns comes from the true reward after all.
"""

from __future__ import annotations

import math

import numpy as np

from pairplay.teachers.base import Exhibit
from pairplay.types import Answer

# L segment length

MISTAKE_RATE = 0.1
"""How often `mistake` presses the wrong button."""
THRESHOLD_SHARE = 0.1
"""ε of `Skip` and `Equal`, as a share of a usual segment's sum."""
MYOPIC_GAMMA = 0.9
"""How fast `myopic` forgets."""


def oracle(left: Exhibit, right: Exhibit, rng: np.random.Generator) -> Answer:
    """The larger sum; a tie where they are equal."""
    return _larger(_total(left), _total(right))


def mistake(left: Exhibit, right: Exhibit, rng: np.random.Generator) -> Answer:
    """The oracle, but one answer in ten is the opposite one. A tie stays a tie."""
    answer = oracle(left, right, rng)
    if rng.random() >= MISTAKE_RATE or answer == "tie":
        return answer
    return "right" if answer == "left" else "left"


def noisy(left: Exhibit, right: Exhibit, rng: np.random.Generator) -> Answer:
    """Boltzmann-rational with β = 1: left with probability σ(R_left - R_right)."""
    # tanh never overflows: σ(x) = (1 + tanh(x / 2)) / 2.
    probability = 0.5 * (1.0 + math.tanh(0.5 * (_total(left) - _total(right))))
    return "left" if rng.random() < probability else "right"


def myopic(left: Exhibit, right: Exhibit, rng: np.random.Generator) -> Answer:
    """The larger Σ γ^(L-1-t) · r_t: the last step counts in full, earlier ones fade."""
    return _larger(_faded(left), _faded(right))


def random(left: Exhibit, right: Exhibit, rng: np.random.Generator) -> Answer:
    """A fair coin: what the answers are worth when nobody looks."""
    return "left" if rng.random() < 0.5 else "right"


class Skip:
    """The oracle, but silent where neither clip shows anything: max |R| ≤ threshold.

    B-Pref's rule, max R ≤ threshold, means the same where rewards are not negative; with the absolute value it
    keeps its sense where they are costs.
    """

    def __init__(self) -> None:
        self.threshold = Threshold()

    def __call__(self, left: Exhibit, right: Exhibit, rng: np.random.Generator) -> Answer:
        threshold = self.threshold(left, right)
        if max(abs(_total(left)), abs(_total(right))) <= threshold:
            return "skip"
        return oracle(left, right, rng)


class Equal:
    """The oracle, but indifferent where the sums are near each other: |R_left - R_right| < threshold."""

    def __init__(self) -> None:
        self.threshold = Threshold()

    def __call__(self, left: Exhibit, right: Exhibit, rng: np.random.Generator) -> Answer:
        if abs(_total(left) - _total(right)) < self.threshold(left, right):
            return "tie"
        return oracle(left, right, rng)


class Threshold:
    """ε · mean |R| of all the different segments seen so far, these two included.

    B-Pref takes ε · (mean return of the last episodes) · (segment length / episode length), which is ε times the sum
    of an average segment; a teacher that sees segments only averages those. It forgets when the process ends.
    """

    def __init__(self) -> None:
        self._seen: dict[str, float] = {}

    def __call__(self, *exhibits: Exhibit) -> float:
        self._seen |= {exhibit.segment_id: abs(_total(exhibit)) for exhibit in exhibits}
        return THRESHOLD_SHARE * sum(self._seen.values()) / len(self._seen)


def _larger(left: float, right: float) -> Answer:
    if left == right:
        return "tie"
    return "left" if left > right else "right"


def _total(exhibit: Exhibit) -> float:
    # fsum, so that equal rewards in another order are a tie and not a matter of rounding.
    return math.fsum(exhibit.env_reward.tolist())


def _faded(exhibit: Exhibit) -> float:
    reward_L = exhibit.env_reward.astype(np.float64)
    return math.fsum((reward_L * MYOPIC_GAMMA ** np.arange(len(reward_L) - 1, -1, -1)).tolist())
