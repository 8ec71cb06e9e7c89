"""Potential-based shaping: the same optimal policy, told sooner. Pure functions."""

from __future__ import annotations

import numpy as np

from pairplay.types import BoolArray, FloatArray

# T steps, N environments


def shape_by_own_past(
    reward_TN: FloatArray, before_N: FloatArray, ended_TN: BoolArray, *, gamma: float, scale: float
) -> tuple[FloatArray, FloatArray]:
    """`reward_TN` shaped by the potential Φ_t = κ r_{t-1}, and the last rewards for the next rollout.

    r'_t = r_t + γ Φ_{t+1} - Φ_t = r_t + κ (γ r_t - r_{t-1}),   κ = scale / (1 - γ).   Ng, Harada and Russell 1999.

    Φ is 0 before an episode's first step and after its last (`before_N` is r_{-1} of running episodes, else 0), so
    the optimal policy stays what it was. Where rewards persist (a fast car is fast for a while), κ r_{t-1} is most
    of the value: with scale = 1 an action is paid for the *change* it makes, which no critic has to learn first.
    """
    kappa = scale / (1.0 - gamma)
    past_TN = np.concatenate([before_N[None], np.where(ended_TN, 0.0, reward_TN)[:-1]])
    future_TN = np.where(ended_TN, 0.0, reward_TN)
    shaped_TN = reward_TN + kappa * (gamma * future_TN - past_TN)
    return shaped_TN.astype(np.float32), future_TN[-1].astype(np.float32)
