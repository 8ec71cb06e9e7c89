"""Bring the environment's own reward to a size that a value network can learn. A learned reward has one already."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pairplay.policy.networks import RunningNorm
from pairplay.types import BoolArray, FloatArray

# T steps, N environments

CLIP = 10.0
"""Scaled rewards never leave ±10."""


class ReturnScale:
    """Divides rewards by the standard deviation of their running discounted sums; never shifts them.

    R_t = γ R_{t-1} + r_t, begun anew with each episode. What Stable-Baselines3's VecNormalize does to rewards.
    """

    def __init__(self, num_envs: int, gamma: float) -> None:
        self.gamma = gamma
        self.running_N = np.zeros(num_envs, np.float64)
        self.norm = RunningNorm(1)

    def __call__(self, reward_TN: FloatArray, ended_TN: BoolArray) -> FloatArray:
        """The scaled rewards, `[T, N]`; takes these rewards into the statistics first."""
        sums = np.empty(reward_TN.shape, np.float32)
        for t, (reward_N, ended_N) in enumerate(zip(reward_TN, ended_TN, strict=True)):
            self.running_N = self.gamma * self.running_N + reward_N
            sums[t] = self.running_N
            self.running_N[ended_N] = 0.0
        self.norm.update(torch.from_numpy(sums.reshape(-1, 1)))
        spread = float((self.norm.var + 1e-8).sqrt())
        scaled: FloatArray = np.clip(reward_TN / np.float32(spread), -CLIP, CLIP)
        return scaled

    def state(self) -> dict[str, Tensor]:
        """The statistics, as named tensors for a checkpoint. Running episodes are not among them."""
        return {f"return_scale.{name}": tensor.clone() for name, tensor in self.norm.state_dict().items()}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `state`; a checkpoint without them leaves the scale as it is."""
        found = {n.removeprefix("return_scale."): t for n, t in tensors.items() if n.startswith("return_scale.")}
        if found:
            self.norm.load_state_dict(found)
