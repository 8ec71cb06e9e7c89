"""The whole loop learns: from comparisons alone, an agent does what no random agent ever does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pairplay.config import PPOConfig, QueryConfig, RewardModelConfig, TrainConfig
from pairplay.envs.make import make_envs
from pairplay.hardware import Hardware
from pairplay.policy.rollout import Explorer, begin, collect
from pairplay.run.layout import RunDir
from pairplay.seeding import rng
from pairplay.trainer import Trainer

CONFIG = TrainConfig(
    env_id="Pendulum-v1",
    teacher="oracle",
    total_timesteps=80 * 1024,
    labels=200,
    num_envs=4,
    seed=1,
    checkpoint_every=10**9,
    ppo=PPOConfig(
        num_steps=256,
        minibatch_size=64,
        update_epochs=8,
        learning_rate=1e-3,
        gamma=0.9,
        clip_coef=0.2,
        ent_coef=0.0,
    ),
    reward_model=RewardModelConfig(fit_pairs=256, pretrain_pairs=2048, target_std=1.0, max_visits=200),
    queries=QueryConfig(
        segment_length=12, windows=6, pool=48, initial_share=0.3, anneal_steps=40_000, explore_steps=4096
    ),
)


def random_returns(episodes: int) -> list[float]:
    """Whole-episode returns of an agent that acts at random, one action a step."""
    envs = make_envs("Pendulum-v1", episodes, CONFIG.env, seed=123)
    explorer = Explorer(envs.spec, rng(0, "random agent"), persistence=0.0)
    rollout, _, _ = collect(explorer, envs, begin(envs), num_steps=200)
    envs.close()
    return [float(total) for total in rollout.env_reward.sum(0)]


@pytest.mark.learning
def test_a_pendulum_is_swung_up_from_comparisons_alone(tmp_path: Path) -> None:
    trainer = Trainer(
        CONFIG, RunDir.create(tmp_path / "run", "Pendulum-v1", 1), Hardware(torch.device("cpu"), "fp32", 1)
    )
    trainer.train(lambda snapshot: None)
    trainer.close()
    learnt = [total for total, _ in trainer.true_return.finished][-20:]
    random = random_returns(100)
    # The mean of what was learnt against the best of a hundred random episodes.
    assert np.mean(learnt) > max(random), f"learnt {np.mean(learnt):.0f}, best random {max(random):.0f}"
