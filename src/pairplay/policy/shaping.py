"""Potential-based shaping: the same optimal policy, told sooner. Pure functions."""

from __future__ import annotations

import numpy as np

from pairplay.types import BoolArray, FloatArray

# T steps, N environments


def shape_by_own_past(
    reward_TN: FloatArray,
    before_N: FloatArray,
    terminated_TN: BoolArray,
    truncated_TN: BoolArray,
    *,
    gamma: float,
    scale: float,
) -> tuple[FloatArray, FloatArray]:
    """`reward_TN` shaped by the potential Φ_t = κ r_{t-1}, and the last rewards for the next rollout.

    r'_t = r_t + γ Φ_{t+1} - Φ_t = r_t + κ (γ r_t - r_{t-1}),   κ = scale / (1 - γ).   Ng, Harada and Russell 1999.

    Φ is 0 before an episode's first step and after its termination (`before_N` is r_{-1} of running episodes, else
    0), so the optimal policy stays what it was. A truncated episode goes on where nobody looks: its value is that of
    its last observation, which a critic of shaped rewards puts Φ too low, and Φ stays to make up for that. Where
    rewards persist (a fast car is fast for a while), κ r_{t-1} is most of the value: with scale = 1 an action is paid
    for the *change* it makes, which no critic has to learn first.
    """
    kappa = scale / (1.0 - gamma)
    kept_TN = np.where(terminated_TN | truncated_TN, 0.0, reward_TN)
    past_TN = np.concatenate([before_N[None], kept_TN[:-1]])
    future_TN = np.where(terminated_TN, 0.0, reward_TN)
    shaped_TN = reward_TN + kappa * (gamma * future_TN - past_TN)
    return shaped_TN.astype(np.float32), kept_TN[-1].astype(np.float32)
