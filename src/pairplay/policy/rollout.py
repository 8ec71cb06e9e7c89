"""Play T steps of N environments: `collect`. Knows nothing of rewards, preferences or updates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from pairplay.envs.base import Envs
from pairplay.policy.networks import Policy
from pairplay.stopwatch import Stopwatch
from pairplay.types import Array, EnvSpec, IntArray, Rollout

# T steps, N environments, K stacked frames, F the shape of one frame


CPU = torch.device("cpu")


class Actor(Protocol):
    """Chooses actions for stacked observations `[N, K, *F]`: action, log probability and value of each."""

    def __call__(self, obs: Tensor, age: Tensor) -> tuple[Tensor, Tensor, Tensor]: ...


@dataclass(frozen=True)
class Standing:
    """Where the environments stand between two rollouts."""

    frames: Array
    """`[K, N, *F]` the newest frames, newest last."""
    age: IntArray
    """`[N]` steps since each episode began."""


def begin(envs: Envs) -> Standing:
    """Reset all environments."""
    first = envs.reset()
    return Standing(np.stack([first] * envs.spec.stack), np.zeros(envs.num_envs, np.int64))


def collect(
    actor: Actor,
    envs: Envs,
    standing: Standing,
    *,
    num_steps: int,
    film: Mapping[int, Sequence[int]],
    value_of: Policy | None = None,
    device: torch.device = CPU,
    stopwatch: Stopwatch | None = None,
) -> tuple[Rollout, Standing, dict[tuple[int, int], Array]]:
    """Play `num_steps` steps of every environment.

    `film[t]` names the environments to capture just before step t; the captures come back by `(t, env)`.
    `value_of` estimates V of observations that no action follows (truncations and the end of the rollout);
    without it they count as 0. The actor gets its observations on `device`. `stopwatch` counts for the phases `film`,
    `act` and `step`.
    """
    stopwatch = stopwatch or Stopwatch()
    spec, T, N, K = envs.spec, num_steps, envs.num_envs, envs.spec.stack
    frames = _room_for((K - 1 + T + 1, N, *spec.frame_shape), standing.frames.dtype, device)
    frames[:K] = standing.frames
    age = np.empty((T + 1, N), np.int64)
    age[0] = standing.age
    action = np.empty((T, N) if spec.discrete else (T, N, spec.action_dim), np.int64 if spec.discrete else np.float32)
    log_prob, value, env_reward, final_value = (np.zeros((T, N), np.float32) for _ in range(4))
    terminated, truncated, lost = (np.zeros((T, N), np.bool_) for _ in range(3))
    captures: dict[tuple[int, int], Array] = {}

    for t in range(T):
        if t in film:
            with stopwatch.phase("film"):
                captures |= {(t, env): envs.capture(env) for env in film[t]}
        with stopwatch.phase("act"):
            obs = _newest_stack(frames[t : t + K], age[t], device)
            chosen, log_p, v = actor(obs, torch.from_numpy(age[t]))
            action[t], log_prob[t], value[t] = chosen.cpu().numpy(), log_p.cpu().numpy(), v.cpu().numpy()
        with stopwatch.phase("step"):
            step = envs.step(action[t])
        frames[K + t] = step.frames
        env_reward[t], terminated[t], truncated[t] = step.env_reward, step.terminated, step.truncated
        lost[t] = step.lost
        ended = step.terminated | step.truncated
        age[t + 1] = np.where(ended, 0, age[t] + 1)
        cut_off = step.truncated & ~step.terminated
        if value_of is not None and cut_off.any():
            final = np.concatenate([frames[t + 1 : t + K], step.final_frames[None]])
            final_value[t] = np.where(cut_off, _value(value_of, final, age[t] + 1, device), 0.0)

    last_value = np.zeros(N, np.float32) if value_of is None else _value(value_of, frames[T:], age[T], device)
    rollout = Rollout(
        frames=frames,
        age=age,
        action=action,
        log_prob=log_prob,
        value=value,
        terminated=terminated,
        truncated=truncated,
        final_value=final_value,
        last_value=last_value,
        env_reward=env_reward,
        lost=lost,
    )
    return rollout, replace(standing, frames=frames[T:].copy(), age=age[T].copy()), captures


def _room_for(shape: tuple[int, ...], dtype: np.dtype[Any], device: torch.device) -> Array:
    """Where a GPU can fetch it by itself, at several times the speed, if there is one."""
    if device.type != "cuda":
        return np.empty(shape, dtype)
    like = torch.from_numpy(np.empty(0, dtype))
    room: Array = torch.empty(shape, dtype=like.dtype, pin_memory=True).numpy()
    return room


def _newest_stack(frames: Array, age: IntArray, device: torch.device) -> Tensor:
    """`[N, K, *F]` from the K newest frames `[K, N, *F]`, never reaching across a reset."""
    K, N = frames.shape[:2]
    if K == 1:
        return torch.from_numpy(frames[0][:, None]).to(device)
    back = np.minimum(np.arange(K - 1, -1, -1)[None], age[:, None])
    if device.type == "cpu":
        return torch.from_numpy(frames[K - 1 - back, np.arange(N)[:, None]])
    # Each frame travels once, and is stacked over there.
    row_NK = torch.from_numpy((K - 1 - back) * N + np.arange(N)[:, None]).to(device)
    newest = torch.from_numpy(frames).to(device, non_blocking=True).flatten(0, 1)
    return newest.index_select(0, row_NK.flatten()).view(N, K, *newest.shape[1:])


@torch.no_grad()
def _value(policy: Policy, frames: Array, age: IntArray, device: torch.device) -> Array:
    _, value = policy(_newest_stack(frames, age, device))
    return np.asarray(value.cpu().numpy(), np.float32)


class PolicyActor:
    """The policy as it is now, drawing with its own generator."""

    def __init__(self, policy: Policy, generator: torch.Generator) -> None:
        self.act = policy.acting(generator)

    def __call__(self, obs: Tensor, age: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.act(obs)


class Explorer:
    """Random actions that are held for a while: with probability `persistence` each environment repeats its last one.

    Independent noise cancels out (a car that gets one step of throttle in eighteen never moves), while held actions
    show a person, and the reward model, most of what the controls can do.
    """

    def __init__(self, spec: EnvSpec, rng: np.random.Generator, *, persistence: float) -> None:
        self.spec = spec
        self.rng = rng
        self.persistence = persistence
        self.held: Array | None = None

    def __call__(self, obs: Tensor, age: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        fresh = self._draw(len(obs))
        if self.held is None:
            self.held = fresh
        renew = (self.rng.random(len(obs)) >= self.persistence) | (age.numpy() == 0)
        self.held = np.where(renew if self.spec.discrete else renew[:, None], fresh, self.held)
        nothing = torch.zeros(len(obs))
        return torch.from_numpy(self.held), nothing, nothing

    def _draw(self, count: int) -> Array:
        if self.spec.discrete:
            return self.rng.integers(self.spec.num_actions, size=count)
        low, high = np.asarray(self.spec.action_low), np.asarray(self.spec.action_high)
        bounded = np.clip(low, -1e3, 1e3), np.clip(high, -1e3, 1e3)
        return self.rng.uniform(*bounded, size=(count, len(low))).astype(np.float32)
