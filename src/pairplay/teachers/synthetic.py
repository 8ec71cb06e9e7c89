"""Teachers that judge by the environment's own reward, well or badly: B-Pref's (Lee et al. 2021) and a coin.

Each compares the sums of the segments' rewards, R = Σ r_t. They stand in for people in benchmarks; a run with one
says so, because what it learns comes from the true reward after all.

All are functions of what they are shown and of the generator; none remembers anything. The number after a name
(`mistake:0.2`) is the last argument.
"""

from __future__ import annotations

import math

import numpy as np

from pairplay.teachers.base import Exhibit
from pairplay.types import Answer

# L segment length

MISTAKE_RATE = 0.1
"""ε of `mistake`: how often it presses the wrong button."""
NOISE_BETA = 1.0
"""β of `noisy`, in units of 1 / reward."""
THRESHOLD_SHARE = 0.1
"""ε of `skip` and `equal`, as a share of a usual segment's sum."""
MYOPIC_GAMMA = 0.9
"""γ of `myopic`: how fast it forgets."""


def oracle(left: Exhibit, right: Exhibit, rng: np.random.Generator) -> Answer:
    """The larger sum; a tie where they are equal."""
    return _larger(_total(left), _total(right))


def mistake(left: Exhibit, right: Exhibit, rng: np.random.Generator, rate: float = MISTAKE_RATE) -> Answer:
    """The oracle, but a share `rate` of the answers is the opposite one. A tie stays a tie."""
    answer = oracle(left, right, rng)
    if rng.random() >= rate or answer == "tie":
        return answer
    return "right" if answer == "left" else "left"


def noisy(left: Exhibit, right: Exhibit, rng: np.random.Generator, beta: float = NOISE_BETA) -> Answer:
    """Boltzmann-rational: left with probability σ(β · (R_left - R_right)).

    β is B-Pref's and is not rescaled: what β = 1 means depends on the size of the environment's rewards.
    """
    # tanh never overflows: σ(x) = (1 + tanh(x / 2)) / 2.
    probability = 0.5 * (1.0 + math.tanh(0.5 * beta * (_total(left) - _total(right))))
    return "left" if rng.random() < probability else "right"


def skip(left: Exhibit, right: Exhibit, rng: np.random.Generator, share: float = THRESHOLD_SHARE) -> Answer:
    """The oracle, but silent where both clips are poor: max R ≤ U - (1 - ε) · |U|, U a usual segment's sum.

    Where U ≥ 0 this is B-Pref's rule, max R ≤ ε · U. Where rewards are costs, ε · U would be nearly the best there
    is, and all but the best would be skipped; here the better clip must be as far below the usual as in B-Pref.
    """
    usual = usual_sum(left, right)
    if max(_total(left), _total(right)) <= usual - (1.0 - share) * abs(usual):
        return "skip"
    return oracle(left, right, rng)


def equal(left: Exhibit, right: Exhibit, rng: np.random.Generator, share: float = THRESHOLD_SHARE) -> Answer:
    """The oracle, but indifferent where the sums are near each other: |R_left - R_right| < ε · |U|, U as in `skip`."""
    if abs(_total(left) - _total(right)) < share * abs(usual_sum(left, right)):
        return "tie"
    return oracle(left, right, rng)


def myopic(left: Exhibit, right: Exhibit, rng: np.random.Generator, gamma: float = MYOPIC_GAMMA) -> Answer:
    """The larger Σ γ^(L-1-t) · r_t: the last step counts in full, earlier ones fade."""
    return _larger(_faded(left, gamma), _faded(right, gamma))


def random(left: Exhibit, right: Exhibit, rng: np.random.Generator) -> Answer:
    """A fair coin: what the answers are worth when nobody looks."""
    return "left" if rng.random() < 0.5 else "right"


def usual_sum(left: Exhibit, right: Exhibit) -> float:
    """U = (mean return of the last ten episodes) · L / (their mean length): what a usual segment sums to.

    L is the mean of the two lengths. Until an episode has ended, these two are all there is: the mean of their sums.
    """
    step_reward = left.context.step_reward
    if step_reward is None:
        return (_total(left) + _total(right)) / 2
    return step_reward * (len(left.env_reward) + len(right.env_reward)) / 2


def _larger(left: float, right: float) -> Answer:
    if left == right:
        return "tie"
    return "left" if left > right else "right"


def _total(exhibit: Exhibit) -> float:
    # fsum, so that equal rewards in another order are a tie and not a matter of rounding.
    return math.fsum(exhibit.env_reward.tolist())


def _faded(exhibit: Exhibit, gamma: float) -> float:
    reward_L = exhibit.env_reward.astype(np.float64)
    return math.fsum((reward_L * gamma ** np.arange(len(reward_L) - 1, -1, -1)).tolist())
