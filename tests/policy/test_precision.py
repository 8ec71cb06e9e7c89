"""bf16 learns what fp32 learns: the same pictures, the same seeds, the same success."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pairplay.config import PPOConfig
from pairplay.hardware import Precision
from pairplay.policy.networks import Policy
from pairplay.policy.ppo import PPO
from pairplay.policy.rollout import PolicyActor, begin, collect
from pairplay.types import Array, EnvSpec, Step

from .counting_envs import CountingEnvs

SPEC = EnvSpec("Lamps-v0", (40, 40), 2, 4, (), (), 10.0)
CONFIG = PPOConfig(num_steps=16, minibatch_size=64, learning_rate=5e-4, update_epochs=6, clip_coef=0.2, gamma=0.0)


ITERATIONS = 16


class Lamps(CountingEnvs):
    """One quarter of a noisy picture is lit; the action that names it is rewarded."""

    def __init__(self, seed: int) -> None:
        super().__init__(16, length=20, stack=2)
        self.spec = SPEC
        self.noise = np.random.default_rng(seed)
        self.lit = np.zeros(self.num_envs, np.int64)

    def _frames(self) -> Array:
        pictures = self.noise.integers(0, 40, (self.num_envs, 40, 40), dtype=np.uint8)
        for picture, lit in zip(pictures, self.lit, strict=True):
            row, column = 20 * (lit // 2), 20 * (lit % 2)
            picture[row : row + 20, column : column + 20] += 200
        return pictures

    def step(self, action: Array) -> Step:
        right = (action == self.lit).astype(np.float32)
        self.lit = self.noise.integers(0, 4, self.num_envs)
        return replace(super().step(action), env_reward=right)


def share_right(precision: Precision, seed: int) -> list[float]:
    """The share of right actions in each of the rollouts while learning."""
    envs = Lamps(seed)
    torch.manual_seed(seed)
    ppo = PPO(
        Policy(SPEC, CONFIG, precision=precision), SPEC, CONFIG, num_envs=envs.num_envs, device=torch.device("cpu")
    )
    standing, curve = begin(envs), []
    for iteration in range(ITERATIONS):
        actor = PolicyActor(ppo.policy, torch.Generator().manual_seed(seed * 1000 + iteration))
        rollout, standing, _ = collect(actor, envs, standing, num_steps=16, value_of=ppo.policy)
        curve.append(float(rollout.env_reward.mean()))
        # Annealed, or now and then a last step forgets: in either format, and not in the same iterations.
        scale = 1.0 - iteration / ITERATIONS
        ppo.update(rollout, rollout.env_reward, lr_scale=scale, rng=np.random.default_rng(iteration))
    return curve


@pytest.mark.learning
def test_bf16_learns_as_fp32_does() -> None:
    precisions: tuple[Precision, ...] = ("fp32", "bf16")
    curves = {precision: [share_right(precision, seed) for seed in (1, 2)] for precision in precisions}
    for precision, runs in curves.items():
        assert np.mean([run[0] for run in runs]) < 0.4, precision  # four lamps, nothing learnt
        assert np.mean([run[-1] for run in runs]) > 0.95, f"{precision}: {runs}"
    gap = np.mean([run[-3:] for run in curves["fp32"]]) - np.mean([run[-3:] for run in curves["bf16"]])
    assert abs(gap) < 0.05
