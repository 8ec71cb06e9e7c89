"""The scale of vectors that enter the reward networks and of rewards that leave them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# E ensemble members, D width of a state vector, R reference states

CLIP = 10.0
"""Normalised inputs never leave ±10: one unheard-of state must not drown a prediction."""
MOST = 10.0
"""A refit that changes the spread of the reward by more says nothing of how values change: they follow so far."""


@dataclass(frozen=True)
class Affine:
    """How a refit moved the reward of the same states: new ≈ scale · old + shift."""

    scale: float
    shift: float


@dataclass
class InputMoments:
    """Mean and variance of all state vectors seen so far, `[D]` float64 (Chan et al. 1979)."""

    count: Tensor
    mean: Tensor
    square: Tensor
    """Sum of squared distances from the mean."""
    used_mean: Tensor
    used_std: Tensor
    """What inputs are normalised by, since the last `settle`: between fits the reward of a state must not drift."""

    @classmethod
    def empty(cls, width: int, device: torch.device) -> InputMoments:
        zeros = torch.zeros(width, dtype=torch.float64, device=device)
        return cls(zeros.new_zeros(()), zeros, zeros.clone(), zeros.float(), torch.ones_like(zeros).float())

    def update(self, x_BD: Tensor) -> None:
        """Take in B more vectors. The very first ones are put to use at once."""
        x_BD = x_BD.double()
        n, first = len(x_BD), bool(self.count == 0)
        mean = x_BD.mean(0)
        shift = mean - self.mean
        total = self.count + n
        self.square = self.square + ((x_BD - mean) ** 2).sum(0) + shift**2 * (self.count * n / total)
        self.mean = self.mean + shift * (n / total)
        self.count = total
        if first:
            self.settle()

    def settle(self) -> None:
        """Normalise by all that is known from now on."""
        variance = self.square / self.count.clamp(min=1.0)
        # A coordinate that never moved carries nothing: divide it by 1, not by 0.
        std = torch.where(variance > 1e-12, variance, torch.ones_like(variance)).sqrt()
        self.used_mean, self.used_std = self.mean.float(), std.float()

    def normalise(self, x: Tensor) -> Tensor:
        """`[…, D]` with mean 0 and variance 1 as far as was known at `settle`; unchanged before the first update."""
        return ((x - self.used_mean) / self.used_std).clamp(-CLIP, CLIP)

    def state(self) -> dict[str, Tensor]:
        return dict(vars(self))


@dataclass
class RewardScale:
    """Mean and spread of each member's predictions on reference states, `[E]` float64; of one set of parameters."""

    mean: Tensor
    std: Tensor
    """0 for a member that predicts a constant."""
    known: Tensor
    """Whether they were ever taken."""

    @classmethod
    def empty(cls, members: int, device: torch.device) -> RewardScale:
        zeros = torch.zeros(members, dtype=torch.float64, device=device)
        return cls(zeros, zeros + 1.0, torch.tensor(False, device=device))

    def take(self, reward_ER: Tensor) -> None:
        """Become the statistics of these predictions, whatever was before."""
        reward_ER = reward_ER.double()
        self.mean, std = reward_ER.mean(1), reward_ER.std(1, correction=0)
        # Rounding leaves a constant with a deviation near (machine epsilon · mean), not with 0.
        self.std = torch.where(std <= 1e-6 * (1.0 + self.mean.abs()), torch.zeros_like(std), std)
        self.known = torch.ones_like(self.known)

    def normalise(self, reward_E: Tensor) -> Tensor:
        """`[E, …]`, each member on its own scale: mean 0, deviation 1. One that predicts a constant gives zeros."""
        shape = (-1, *[1] * (reward_E.ndim - 1))
        mean, std = self.mean.reshape(shape), self.std.reshape(shape)
        gain = torch.where(std > 0.0, 1.0 / std, torch.zeros_like(std))
        return ((reward_E.double() - mean) * gain).float()

    def state(self) -> dict[str, Tensor]:
        return dict(vars(self))


def affine(before_R: Tensor, after_R: Tensor) -> Affine:
    """The map that gives `before_R` the mean and deviation of `after_R`. The scale stays within [1/MOST, MOST]."""
    before_R, after_R = before_R.double(), after_R.double()
    if len(before_R) == 0:
        return Affine(1.0, 0.0)
    before, after = (float(reward.std(correction=0)) for reward in (before_R, after_R))
    # Rewards that do not vary say nothing of a scale.
    scale = min(max(after / before, 1.0 / MOST), MOST) if before > 1e-9 and after > 1e-9 else 1.0
    return Affine(scale, float(after_R.mean() - scale * before_R.mean()))
