"""The promises of `Envs`, as a check that any implementation must pass. For tests, and for environments of your own."""

from __future__ import annotations

import numpy as np

from pairplay.envs.base import Envs
from pairplay.types import Array, Step


class ContractError(AssertionError):
    """The message says which."""


def check_envs(envs: Envs, twin: Envs, *, steps: int, rng: np.random.Generator, max_episode_steps: int = 0) -> None:
    """Play both at random for `steps` steps and raise ContractError where they break the contract; closes both.

    `twin` must have been made with the same arguments. `max_episode_steps` is the limit they were
    made with, if any.
    """
    spec, num_envs = envs.spec, envs.num_envs
    _promise(envs.spec == twin.spec, "the same arguments give the same spec")
    _promise(0 <= envs.recordable <= num_envs, "recordable is between 0 and num_envs")
    _promise(spec.clip_fps > 0, "clip_fps is positive")
    _promise(spec.stack == 1 or spec.is_image, "only pictures are stacked")
    _promise(len(spec.action_names) in (0, spec.num_actions), "every action has a name, or none has")

    _check_frames(envs, envs.reset(), twin.reset())
    age = np.zeros(num_envs, np.int64)
    captures: list[Array] = []
    for _ in range(steps):
        action = _random_action(envs, rng)
        step, again = envs.step(action), twin.step(action)
        _check_step(envs, step, again)
        age += 1
        if max_episode_steps:
            at_limit = age == max_episode_steps
            _promise(np.array_equal(step.truncated, at_limit & ~step.terminated), "truncated exactly at the time limit")
        age[step.terminated | step.truncated] = 0
        if envs.recordable:
            captures.append(_check_capture(envs, twin))
    if captures:
        _check_pictures(envs, np.stack(captures))
    for each in (envs, twin):
        each.close()
        each.close()


def _check_frames(envs: Envs, frames: Array, again: Array) -> None:
    _promise(frames.shape == (envs.num_envs, *envs.spec.frame_shape), f"frames are [N, *F], not {frames.shape}")
    dtype = np.uint8 if envs.spec.is_image else np.float32
    _promise(frames.dtype == dtype, f"frames are {np.dtype(dtype)}, not {frames.dtype}")
    _promise(bool(np.isfinite(frames).all()), "frames are finite")
    _promise(np.array_equal(frames, again), "the same seed and actions give the same frames")


def _check_step(envs: Envs, step: Step, again: Step) -> None:
    over = step.terminated | step.truncated
    _check_frames(envs, step.frames, again.frames)
    _promise(step.final_frames.shape == step.frames.shape, "final_frames are [N, *F]")
    _promise(step.final_frames.dtype == step.frames.dtype, "final_frames are like frames")
    _promise(np.array_equal(step.final_frames[over], again.final_frames[over]), "the same seed, the same final frames")
    flags = (("terminated", np.bool_), ("truncated", np.bool_), ("lost", np.bool_))
    for name, dtype in (("env_reward", np.float32), *flags):
        value = getattr(step, name)
        _promise(value.shape == (envs.num_envs,) and value.dtype == dtype, f"{name} is [N] {np.dtype(dtype)}")
        _promise(np.array_equal(value, getattr(again, name)), f"the same seed and actions give the same {name}")
    _promise(bool(np.isfinite(step.env_reward).all()), "rewards are finite")
    _promise(not (step.terminated & step.truncated).any(), "an episode is either terminated or truncated")
    _promise(not (step.terminated & ~step.lost).any(), "an episode that ends by itself is lost")


def _check_capture(envs: Envs, twin: Envs) -> Array:
    kept = envs.capture(envs.recordable - 1).copy()
    _promise(
        np.array_equal(kept, twin.capture(envs.recordable - 1), equal_nan=True), "the same seed, the same captures"
    )
    _promise(np.array_equal(kept, envs.capture(envs.recordable - 1), equal_nan=True), "a capture changes nothing")
    return kept


def _check_pictures(envs: Envs, captures: Array) -> None:
    painter, other = envs.painter(), envs.painter()
    pictures = painter.draw(captures)
    _promise(pictures.dtype == np.uint8 and pictures.ndim == 4 and pictures.shape[3] == 3, "pictures are [L, H, W, 3]")
    _promise(len(pictures) == len(captures), "one picture a capture")
    backwards = other.draw(captures[::-1])[::-1]
    _promise(np.array_equal(pictures, backwards), "a picture depends on its capture alone")
    for each in (painter, other):
        each.close()
        each.close()


def _random_action(envs: Envs, rng: np.random.Generator) -> Array:
    if envs.spec.discrete:
        return rng.integers(envs.spec.num_actions, size=envs.num_envs)
    # Beyond the bounds too: policies draw from a Gaussian, and clipping is the environment's business.
    return rng.normal(scale=3.0, size=(envs.num_envs, envs.spec.action_dim)).astype(np.float32)


def _promise(kept: bool, promise: str) -> None:
    if not kept:
        raise ContractError(promise)
