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
    ended_TN = terminated_TN | truncated_TN
    next_value_TN = np.concatenate([value_TN[1:], last_value_N[None]])
    v_tp1_TN = np.where(ended_TN, np.where(terminated_TN, 0.0, final_value_TN), next_value_TN)
    advantage_TN = (reward_TN + gamma * v_tp1_TN - value_TN).astype(reward_TN.dtype)
    carried_TN = np.where(ended_TN, 0.0, gamma * gae_lambda).astype(reward_TN.dtype)
    for t in reversed(range(len(reward_TN) - 1)):
        advantage_TN[t] += carried_TN[t] * advantage_TN[t + 1]
    return advantage_TN


def explained_variance(value: FloatArray, target: FloatArray) -> float | None:
    """1 - Var(target - value) / Var(target); None when the target does not vary."""
    variance = float(np.var(target))
    return None if variance == 0 else 1.0 - float(np.var(target - value)) / variance
