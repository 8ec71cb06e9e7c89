"""Advantages and returns from rewards and values. Pure functions."""

from __future__ import annotations

import numpy as np

from pairplay.types import BoolArray, FloatArray

# T steps, N environments


def gae(
    reward_TN: FloatArray,
    value_TN: FloatArray,
    terminated_TN: BoolArray,
    truncated_TN: BoolArray,
    final_value_TN: FloatArray,
    last_value_N: FloatArray,
    *,
    gamma: float,
    gae_lambda: float,
) -> FloatArray:
    """Generalised advantage estimates `[T, N]`.

    δ_t = r_t + γ V_{t+1} - V_t,   A_t = δ_t + γ λ A_{t+1}.   Schulman et al. 2016, eq. 16.

    V_{t+1} is 0 after a termination and V(final observation) after a truncation: an episode that was merely cut off
    still has a future. No advantage flows back across either.
    """
    advantage_TN = np.zeros_like(reward_TN)
    next_value_N, next_advantage_N = last_value_N, np.zeros_like(last_value_N)
    for t in reversed(range(len(reward_TN))):
        ended_N = terminated_TN[t] | truncated_TN[t]
        v_tp1_N = np.where(ended_N, np.where(terminated_TN[t], 0.0, final_value_TN[t]), next_value_N)
        delta_N = reward_TN[t] + gamma * v_tp1_N - value_TN[t]
        next_advantage_N = delta_N + gamma * gae_lambda * np.where(ended_N, 0.0, next_advantage_N)
        advantage_TN[t] = next_advantage_N
        next_value_N = value_TN[t]
    return advantage_TN


def explained_variance(value: FloatArray, target: FloatArray) -> float | None:
    """1 - Var(target - value) / Var(target); None when the target does not vary."""
    variance = float(np.var(target))
    return None if variance == 0 else 1.0 - float(np.var(target - value)) / variance
