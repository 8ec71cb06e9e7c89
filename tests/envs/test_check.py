"""Every family of environments keeps the contract, and the check notices when one does not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pairplay.config import EnvConfig
from pairplay.envs.base import Envs
from pairplay.envs.check import ContractError, check_envs
from pairplay.envs.make import make_envs
from pairplay.types import Array, Step

CONFIG = EnvConfig(max_episode_steps=7, colour_envs=1)


def made(env_id: str, seed: int = 3, num_envs: int = 2) -> Envs:
    return make_envs(env_id, num_envs, CONFIG, seed=seed)


@pytest.mark.parametrize(
    ("env_id", "num_envs"),
    [
        ("ALE/Enduro-v5", 2),
        ("ALE/Pong-v5", 1),  # one emulator takes a fifth of a second to load
        ("CartPole-v1", 2),
        ("Pendulum-v1", 2),
        ("Acrobot-v1", 2),
        ("FrozenLake-v1", 2),
        ("HalfCheetah-v5", 2),
    ],
)
def test_every_family_keeps_the_contract(env_id: str, num_envs: int) -> None:
    envs, twin = made(env_id, num_envs=num_envs), made(env_id, num_envs=num_envs)
    check_envs(envs, twin, steps=20, rng=np.random.default_rng(0), max_episode_steps=CONFIG.max_episode_steps)


class Broken:
    """Passes everything on to a CartPole, but for one thing that a subclass breaks."""

    def __init__(self) -> None:
        self._envs = made("CartPole-v1")
        self.spec = self._envs.spec
        self.num_envs = self._envs.num_envs
        self.recordable = self._envs.recordable
        self.reset = self._envs.reset
        self.painter = self._envs.painter
        self.close = self._envs.close

    def step(self, action: Array) -> Step:
        return self._envs.step(action)

    def capture(self, env: int) -> Array:
        return self._envs.capture(env)


class WrongDtype(Broken):
    def step(self, action: Array) -> Step:
        step = super().step(action)
        return replace(step, frames=step.frames.astype(np.float64))


class NeverEnds(Broken):
    def step(self, action: Array) -> Step:
        return replace(super().step(action), truncated=np.zeros(2, np.bool_))


class EndsTwice(Broken):
    def step(self, action: Array) -> Step:
        step = super().step(action)
        return replace(step, terminated=step.terminated | step.truncated)


class NeverSeenTwice(Broken):
    seen = 0

    def capture(self, env: int) -> Array:
        self.seen += 1
        return super().capture(env) + self.seen


class DiesUnnoticed(Broken):
    def step(self, action: Array) -> Step:
        step = super().step(action)
        ended = step.terminated | step.truncated
        return replace(step, terminated=ended, truncated=np.zeros_like(ended), lost=np.zeros_like(ended))


@pytest.mark.parametrize(
    ("broken", "promise"),
    [
        (WrongDtype, "frames are float32"),
        (NeverEnds, "truncated exactly at the time limit"),
        (EndsTwice, "truncated exactly|either terminated or truncated"),
        (DiesUnnoticed, "truncated exactly|ends by itself is lost"),
        (NeverSeenTwice, "a capture changes nothing"),
    ],
)
def test_the_check_notices_a_broken_promise(broken: type[Broken], promise: str) -> None:
    with pytest.raises(ContractError, match=promise):
        check_envs(broken(), broken(), steps=20, rng=np.random.default_rng(0), max_episode_steps=7)


def test_the_check_notices_another_seed() -> None:
    with pytest.raises(ContractError, match="the same seed"):
        check_envs(made("CartPole-v1", seed=1), made("CartPole-v1", seed=2), steps=1, rng=np.random.default_rng(0))
