"""Potential-based shaping: the same optimal policy, told sooner. Knows nothing of where rewards come from."""

from __future__ import annotations

import numpy as np

from pairplay.types import BoolArray, FloatArray

# T steps, N environments


class Shaping:
    """Shapes the rewards of a run, rollout after rollout, by the potential Φ_t = κ r_{t-1}, κ = scale / (1 - γ).

    With `steps`, scale falls linearly to 0 in so many steps of the run: what tells an action's worth sooner is noise to
    a critic that has learnt it since.
    """

    def __init__(self, num_envs: int, *, gamma: float, scale: float, steps: int = 0) -> None:
        self.gamma = gamma
        self.full_scale = scale
        self.steps = steps
        self.potential_N = np.zeros(num_envs, np.float32)
        """Φ of the observation that each environment stands at."""
        self.kappa = scale / (1.0 - gamma)
        """κ of the latest rollout, by which these potentials were made."""

    def scale(self, step: int) -> float:
        """What is left of the full scale once the run has played `step` steps."""
        return self.full_scale * max(0.0, 1.0 - step / self.steps) if self.steps else self.full_scale

    def __call__(
        self, reward_TN: FloatArray, terminated_TN: BoolArray, truncated_TN: BoolArray, *, step: int
    ) -> FloatArray:
        """The rewards of the next rollout, shaped; it began when the run had played `step` steps."""
        self.kappa = self.scale(step) / (1.0 - self.gamma)
        shaped_TN, self.potential_N = shape_by_own_past(
            reward_TN, self.potential_N, terminated_TN, truncated_TN, gamma=self.gamma, kappa=self.kappa
        )
        return shaped_TN

    def shift_of_value(self, shift: float) -> float:
        """What a shaped value rises by if every reward rises by `shift`: at scale 1 only changes are paid."""
        return shift * (1.0 / (1.0 - self.gamma) - self.kappa)

    def follow(self, scale: float, shift: float, running_N: BoolArray) -> None:
        """Bring Φ into a new unit of reward, new = scale · old + shift; it stays 0 where an episode has just begun."""
        moved_N = scale * self.potential_N + self.kappa * shift
        self.potential_N = np.where(running_N, moved_N, 0.0).astype(np.float32)


def shape_by_own_past(
    reward_TN: FloatArray,
    potential_N: FloatArray,
    terminated_TN: BoolArray,
    truncated_TN: BoolArray,
    *,
    gamma: float,
    kappa: float,
) -> tuple[FloatArray, FloatArray]:
    """`reward_TN` shaped by the potential Φ_t = κ r_{t-1}, and the potentials at which the next rollout begins.

    r'_t = r_t + γ Φ_{t+1} - Φ_t = r_t + κ (γ r_t - r_{t-1}).   Ng, Harada and Russell 1999.

    Φ is 0 before an episode's first step and after its termination (`potential_N` is that of running episodes, else
    0), so the optimal policy stays what it was. A truncated episode goes on where nobody looks: its value is that of
    its last observation, which a critic of shaped rewards puts Φ too low, and Φ stays to make up for that. Where
    rewards persist (a fast car is fast for a while), κ r_{t-1} is most of the value: with κ = 1 / (1 - γ) an action is
    paid for the *change* it makes, which no critic has to learn first. A κ that differs from rollout to rollout
    changes none of this (Devlin and Kudenko 2012): each Φ is taken away as it was given.
    """
    kept_TN = kappa * np.where(terminated_TN | truncated_TN, 0.0, reward_TN)
    past_TN = np.concatenate([potential_N[None], kept_TN[:-1]])
    future_TN = kappa * np.where(terminated_TN, 0.0, reward_TN)
    shaped_TN = reward_TN + gamma * future_TN - past_TN
    return shaped_TN.astype(np.float32), kept_TN[-1].astype(np.float32)
