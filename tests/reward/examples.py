"""Small environments on paper: rollouts, segments and comparisons with known rewards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from pairplay.config import RewardModelConfig
from pairplay.reward.model import RewardModel
from pairplay.types import Array, Comparison, EnvSpec, Rollout, Segment

VECTOR = EnvSpec("Vector-v0", (3,), 1, 4, (), (), 10.0)
REACH = EnvSpec("Reach-v0", (3,), 2, 0, (-2.0, -float("inf")), (2.0, float("inf")), 10.0)
IMAGE = EnvSpec("Image-v0", (48, 48), 3, 4, (), (), 10.0)
"""48 x 48 is about the smallest picture that the convolutions leave anything of."""

CONFIG = RewardModelConfig(hidden=16)


def make_model(spec: EnvSpec, config: RewardModelConfig = CONFIG, seed: int = 0) -> RewardModel:
    return RewardModel(spec, config, seed=seed, device=torch.device("cpu"))


def draw_frames(spec: EnvSpec, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    shape = (*shape, *spec.frame_shape)
    if spec.is_image:
        return rng.integers(0, 256, shape, dtype=np.uint8)
    return rng.normal(size=shape).astype(np.float32)


def draw_action(spec: EnvSpec, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    if spec.discrete:
        return rng.integers(spec.num_actions, size=shape)
    return rng.normal(size=(*shape, spec.action_dim)).astype(np.float32)


def make_rollout(spec: EnvSpec, T: int = 7, N: int = 2, seed: int = 0, done_rate: float = 0.3) -> Rollout:
    rng = np.random.default_rng(seed)
    terminated = rng.random((T, N)) < done_rate
    age = np.zeros((T + 1, N), np.int64)
    age[0] = rng.integers(0, 3, N)
    for t in range(T):
        age[t + 1] = np.where(terminated[t], 0, age[t] + 1)
    nothing = np.zeros((T, N), np.float32)
    return Rollout(
        frames=draw_frames(spec, (spec.stack + T, N), rng),
        age=age,
        action=draw_action(spec, (T, N), rng),
        log_prob=nothing,
        value=nothing,
        terminated=terminated,
        truncated=np.zeros((T, N), np.bool_),
        final_value=nothing,
        last_value=nothing[0],
        env_reward=rng.normal(size=(T, N)).astype(np.float32),
        lost=terminated,
    )


def make_segment(spec: EnvSpec, name: str, length: int = 5, seed: int = 0, age: int = 9) -> Segment:
    rng = np.random.default_rng(seed)
    frames = draw_frames(spec, (spec.stack - 1 + length,), rng)
    return Segment(name, frames, age, draw_action(spec, (length,), rng), env=0, step=0, iteration=0)


def compare(
    segments: Sequence[Segment], reward: Callable[[Segment], float], count: int, seed: int = 0, first_key: int = 0
) -> list[Comparison]:
    """`count` random pairs, answered by who has more `reward`."""
    rng = np.random.default_rng(seed)
    comparisons = []
    for key in range(first_key, first_key + count):
        left, right = (segments[i] for i in rng.choice(len(segments), 2, replace=False))
        comparisons.append(Comparison(key, left, right, 1.0 if reward(left) > reward(right) else 0.0))
    return comparisons


def with_mu(comparison: Comparison, mu: float) -> Comparison:
    return replace(comparison, mu=mu)
