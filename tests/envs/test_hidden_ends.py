"""The learner cannot tell that an episode ended by itself; a synthetic teacher still can."""

from __future__ import annotations

import numpy as np
import pytest

from pairplay.config import EnvConfig
from pairplay.envs.check import check_envs
from pairplay.envs.hidden_ends import HiddenEnds
from pairplay.envs.make import make_envs


def test_every_termination_is_reported_as_a_truncation_and_nothing_else_changes() -> None:
    kept = make_envs("CartPole-v1", 2, EnvConfig(max_episode_steps=15), seed=4)
    hidden = make_envs("CartPole-v1", 2, EnvConfig(max_episode_steps=15, ends="hide"), seed=4)
    assert isinstance(hidden, HiddenEnds)
    assert (hidden.spec, hidden.num_envs, hidden.recordable) == (kept.spec, kept.num_envs, kept.recordable)
    np.testing.assert_array_equal(kept.reset(), hidden.reset())
    rng = np.random.default_rng(0)
    terminated = truncated = 0
    for _ in range(60):
        action = rng.integers(2, size=2)
        a, b = kept.step(action), hidden.step(action)
        assert not b.terminated.any()
        np.testing.assert_array_equal(b.truncated, a.terminated | a.truncated)
        np.testing.assert_array_equal(b.lost, a.terminated)
        for name in ("frames", "env_reward", "final_frames"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        np.testing.assert_array_equal(kept.capture(1), hidden.capture(1))
        terminated += int(a.terminated.sum())
        truncated += int(a.truncated.sum())
    assert terminated > 0
    assert truncated > 0


@pytest.mark.parametrize(
    ("env_id", "steps"), [("CartPole-v1", 60), ("Hopper-v5", 60), ("FrozenLake-v1", 60), ("ALE/Breakout-v5", 40)]
)
def test_hidden_ends_keep_the_contract(env_id: str, steps: int) -> None:
    envs, twin = (make_envs(env_id, 2, EnvConfig(ends="hide", colour_envs=1), seed=3) for _ in range(2))
    check_envs(envs, twin, steps=steps, rng=np.random.default_rng(0))


def test_a_game_over_is_hidden_too() -> None:
    envs = make_envs("ALE/Breakout-v5", 1, EnvConfig(ends="hide", colour_envs=0), seed=1)
    envs.reset()
    rng = np.random.default_rng(0)
    steps = [envs.step(np.where(rng.random(1) < 0.5, 1, rng.integers(18, size=1))) for _ in range(260)]
    assert not any(step.terminated[0] for step in steps)
    over = [t for t, step in enumerate(steps) if step.truncated[0]]
    assert over, "nobody died"
    assert all(steps[t].lost[0] for t in over)
    assert (steps[over[0]].final_frames != steps[over[0]].frames).any()
