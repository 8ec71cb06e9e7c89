"""Play T steps of N environments: `collect`. Knows nothing of rewards, preferences or updates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from pairplay.cores import available_cores
from pairplay.envs.base import Envs, Parted, Together
from pairplay.hardware import half_the_threads
from pairplay.observations import interleaved
from pairplay.policy.networks import Policy
from pairplay.stopwatch import Stopwatch
from pairplay.types import Array, EnvSpec, IntArray, Rollout, Step, Window

# T steps, N environments, K stacked frames, F the shape of one frame


CPU = torch.device("cpu")


class Actor(Protocol):
    """Chooses actions for the stacked observations `[n, K, *F]` of some environments: action, log probability and value
    of each. From rollout to rollout `envs` are the same few parts of all environments.
    """

    def __call__(self, obs: Tensor, age: Tensor, envs: slice) -> tuple[Tensor, Tensor, Tensor]: ...


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


@half_the_threads()
def collect(
    actor: Actor,
    envs: Envs,
    standing: Standing,
    *,
    num_steps: int,
    film: Sequence[Window] = (),
    value_of: Policy | None = None,
    device: torch.device = CPU,
    stopwatch: Stopwatch | None = None,
) -> tuple[Rollout, Standing, list[Array]]:
    """Play `num_steps` steps of every environment.

    Each window of `film` comes back as its captures `[L, ...]`, taken just before its steps.
    `value_of` estimates V of observations that no action follows (truncations and the end of the rollout);
    without it they count as 0. The actor gets its observations on `device`. Where environments can be played in parts,
    one of them plays while the actor looks at another. `stopwatch` counts for the phases `film`, `act` and `step`.
    """
    stopwatch = stopwatch or Stopwatch()
    spec, T, N, K = envs.spec, num_steps, envs.num_envs, envs.spec.stack
    parted = _parts(envs, device)
    frames = _Frames(K, (K - 1 + T + 1, N, *spec.frame_shape), standing.frames.dtype, device)
    frames.put(slice(0, K), slice(0, N), standing.frames)
    age = np.empty((T + 1, N), np.int64)
    age[0] = standing.age
    action = np.empty((T, N) if spec.discrete else (T, N, spec.action_dim), np.int64 if spec.discrete else np.float32)
    log_prob, value, env_reward, final_value = (np.zeros((T, N), np.float32) for _ in range(4))
    terminated, truncated, lost = (np.zeros((T, N), np.bool_) for _ in range(3))
    camera = _Camera(envs, film)

    def note(t: int, envs_n: slice, step: Step) -> None:
        here = t, envs_n
        frames.put(K + t, envs_n, step.frames)
        env_reward[here], terminated[here], truncated[here] = step.env_reward, step.terminated, step.truncated
        lost[here] = step.lost
        age[t + 1, envs_n] = np.where(step.terminated | step.truncated, 0, age[here] + 1)
        cut_off = step.truncated & ~step.terminated
        if value_of is not None and cut_off.any():
            final = np.concatenate([frames.here[t + 1 : t + K, envs_n], step.final_frames[None]])
            obs = _newest_stack(final, age[here] + 1).to(device)
            final_value[here] = np.where(cut_off, _value(value_of, obs), 0.0)

    for t in range(T):
        for part, envs_n in enumerate(parted.parts):
            here = t, envs_n
            if t:
                with stopwatch.phase("step"):
                    step = parted.receive(part)
                note(t - 1, envs_n, step)
            if t in camera.due:
                with stopwatch.phase("film"):
                    camera.shoot(t, envs_n)
            with stopwatch.phase("act"):
                obs, ages = frames.stack(t, envs_n, age[here]), torch.from_numpy(age[here])
                chosen, log_p, v = actor(obs, ages, envs_n)
                action[here], log_prob[here], value[here] = chosen.cpu().numpy(), log_p.cpu().numpy(), v.cpu().numpy()
            with stopwatch.phase("step"):
                parted.send(part, action[here])
    for part, envs_n in enumerate(parted.parts):
        with stopwatch.phase("step"):
            step = parted.receive(part)
        note(T - 1, envs_n, step)

    # Reading them also waits for the frames that are still on their way.
    last_value = np.zeros(N, np.float32)
    if value_of is not None:
        last_value = _value(value_of, frames.stack(T, slice(0, N), age[T]))
    rollout = Rollout(
        frames=frames.here,
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
    return rollout, replace(standing, frames=frames.here[T:].copy(), age=age[T].copy()), camera.reels


def _parts(envs: Envs, device: torch.device) -> Parted | Together:
    # On a single core the actor would take from the environments what they compute with.
    alone = device.type == "cpu" and available_cores() == 1
    return Together(envs) if alone or not isinstance(envs, Parted) else envs


class _Camera:
    """Films windows of a rollout as it is played, each capture straight to its place."""

    def __init__(self, envs: Envs, windows: Sequence[Window]) -> None:
        self._envs = envs
        self.due: dict[int, list[tuple[int, Window]]] = {}
        """By step: the windows that it is in, and their numbers."""
        for number, window in enumerate(windows):
            for t in range(window.start, window.start + window.length):
                self.due.setdefault(t, []).append((number, window))
        self.reels: list[Array] = [np.empty((0,), np.uint8)] * len(windows)
        """`[L, ...]` of each window, as far as it was filmed."""

    def shoot(self, t: int, part: slice) -> None:
        """Capture what step t is about to change in these environments."""
        for number, window in self.due[t]:
            if part.start <= window.env < part.stop:
                capture = self._envs.capture(window.env)
                if t == window.start:
                    self.reels[number] = np.empty((window.length, *capture.shape), capture.dtype)
                self.reels[number][t - window.start] = capture


class _Frames:
    """The frames of a rollout as they come in: here, and on a GPU, if there is one, the same once more."""

    def __init__(self, stack: int, shape: tuple[int, ...], dtype: np.dtype[Any], device: torch.device) -> None:
        self._stack = stack
        self.here: Array = np.empty(shape, dtype)
        """`[K-1 + T+1, N, *F]`, as in `Rollout`."""
        self._there: Tensor | None = None
        if device.type != "cpu":
            self._there = torch.empty(shape, dtype=torch.from_numpy(self.here[:0]).dtype, device=device)
            # Memory that stays in its place: the GPU fetches from it by itself, at several times the speed.
            self.here = torch.empty(shape, dtype=self._there.dtype, pin_memory=True).numpy()

    def put(self, rows: int | slice, envs: slice, frames: Array) -> None:
        """Write the frames of some environments; each travels to the GPU once."""
        self.here[rows, envs] = frames
        if self._there is not None:
            self._there[rows, envs].copy_(torch.from_numpy(self.here[rows, envs]), non_blocking=True)

    def stack(self, t: int, envs: slice, age: IntArray) -> Tensor:
        """`[n, K, *F]`, the observations of some environments at step t, where the networks are."""
        if self._there is None:
            return _newest_stack(self.here[t : t + self._stack, envs], age)
        back = np.minimum(np.arange(self._stack - 1, -1, -1)[None], age[:, None])
        row = torch.from_numpy(
            (t + self._stack - 1 - back) * self.here.shape[1] + np.arange(envs.start, envs.stop)[:, None]
        )
        chosen = self._there.flatten(0, 1).index_select(0, row.flatten().to(self._there.device))
        return chosen.view(*row.shape, *chosen.shape[1:])


def _newest_stack(frames: Array, age: IntArray) -> Tensor:
    """`[N, K, *F]` from the K newest frames `[K, N, *F]`, never reaching across a reset."""
    K, N = frames.shape[:2]
    if K == 1:
        return torch.from_numpy(frames[0][:, None])
    back = np.minimum(np.arange(K - 1, -1, -1)[None], age[:, None])
    if frames.dtype == np.uint8:
        return interleaved([frames[K - 1 - back_N, np.arange(N)] for back_N in back.T])
    return torch.from_numpy(frames[K - 1 - back, np.arange(N)[:, None]])


@torch.no_grad()
def _value(policy: Policy, obs: Tensor) -> Array:
    _, value = policy(obs)
    return np.asarray(value.cpu().numpy(), np.float32)


class PolicyActor:
    """The policy as it is now, drawing with its own generator."""

    def __init__(self, policy: Policy, generator: torch.Generator) -> None:
        self.act = policy.acting(generator)

    def __call__(self, obs: Tensor, age: Tensor, envs: slice) -> tuple[Tensor, Tensor, Tensor]:
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
        self.held: dict[int, Array] = {}
        """Each environment's last action, by the first environment of its part."""

    def __call__(self, obs: Tensor, age: Tensor, envs: slice) -> tuple[Tensor, Tensor, Tensor]:
        fresh = self._draw(len(obs))
        held = self.held.get(envs.start, fresh)
        renew = (self.rng.random(len(obs)) >= self.persistence) | (age.numpy() == 0)
        held = self.held[envs.start] = np.where(renew if self.spec.discrete else renew[:, None], fresh, held)
        nothing = torch.zeros(len(obs))
        return torch.from_numpy(held), nothing, nothing

    def _draw(self, count: int) -> Array:
        if self.spec.discrete:
            return self.rng.integers(self.spec.num_actions, size=count)
        low, high = np.asarray(self.spec.action_low), np.asarray(self.spec.action_high)
        bounded = np.clip(low, -1e3, 1e3), np.clip(high, -1e3, 1e3)
        return self.rng.uniform(*bounded, size=(count, len(low))).astype(np.float32)
