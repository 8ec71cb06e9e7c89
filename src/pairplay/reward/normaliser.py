"""Running statistics: of the vectors that enter the reward networks and of the rewards that leave them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# E ensemble members, D width of a state vector, T steps, N environments

DECAY = 0.9
"""Of the reward scale, per rollout: ten rollouts remembered, for the model itself moves with every fit."""
CLIP = 10.0
"""Normalised inputs never leave ±10: one unheard-of state must not drown a prediction."""


@dataclass
class InputMoments:
    """Mean and variance of all state vectors seen so far, `[D]` float64 (Chan et al. 1979)."""

    count: Tensor
    mean: Tensor
    square: Tensor
    """Sum of squared distances from the mean."""

    @classmethod
    def empty(cls, width: int, device: torch.device) -> InputMoments:
        zeros = torch.zeros(width, dtype=torch.float64, device=device)
        return cls(count=zeros[:1].sum(), mean=zeros.clone(), square=zeros.clone())

    def update(self, x_BD: Tensor) -> None:
        """Take in B more vectors."""
        x_BD = x_BD.double()
        n = len(x_BD)
        mean = x_BD.mean(0)
        shift = mean - self.mean
        total = self.count + n
        self.square = self.square + ((x_BD - mean) ** 2).sum(0) + shift**2 * (self.count * n / total)
        self.mean = self.mean + shift * (n / total)
        self.count = total

    def normalise(self, x: Tensor) -> Tensor:
        """`[…, D]` with mean 0 and variance 1 as far as is known; unchanged before the first update."""
        variance = self.square / self.count.clamp(min=1.0)
        # A coordinate that never moved carries nothing: divide it by 1, not by 0.
        std = torch.where(variance > 1e-12, variance, torch.ones_like(variance)).sqrt()
        return ((x - self.mean.float()) / std.float()).clamp(-CLIP, CLIP)

    def state(self) -> dict[str, Tensor]:
        return {"count": self.count, "mean": self.mean, "square": self.square}


@dataclass
class RewardScale:
    """Mean and spread of each member's predictions, a bias-corrected moving average over rollouts, `[E]` float64."""

    weight: Tensor
    """1 - DECAYⁿ after n rollouts: what the averages must be divided by."""
    first: Tensor
    """Average of the prediction."""
    second: Tensor
    """Average of its square."""

    @classmethod
    def empty(cls, members: int, device: torch.device) -> RewardScale:
        zeros = torch.zeros(members, dtype=torch.float64, device=device)
        return cls(weight=zeros[:1].sum(), first=zeros.clone(), second=zeros.clone())

    def update(self, reward_ETN: Tensor) -> None:
        """Take in one rollout's raw predictions."""
        flat = reward_ETN.double().flatten(1)
        self.weight = DECAY * self.weight + (1.0 - DECAY)
        self.first = DECAY * self.first + (1.0 - DECAY) * flat.mean(1)
        self.second = DECAY * self.second + (1.0 - DECAY) * (flat**2).mean(1)

    def normalise(self, reward_ETN: Tensor) -> Tensor:
        """Each member on its own scale: mean 0, standard deviation 1. A member that predicts a constant gives zeros."""
        weight = self.weight.clamp(min=1.0 - DECAY)
        mean = self.first / weight
        variance = (self.second / weight - mean**2).clamp(min=0.0)
        # Rounding leaves a constant with a variance near (machine epsilon · mean²), not with 0.
        constant = variance <= 1e-12 * (1.0 + mean**2)
        std = torch.where(constant, torch.ones_like(variance), variance).sqrt()
        centred = reward_ETN.double() - mean[:, None, None]
        return torch.where(constant[:, None, None], torch.zeros_like(centred), centred / std[:, None, None]).float()

    def state(self) -> dict[str, Tensor]:
        return {"weight": self.weight, "first": self.first, "second": self.second}
