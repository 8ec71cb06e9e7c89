"""The paper's tasks as it played them: episodes of one length, and a reward that does not charge for torque."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from pairplay.config import MUJOCO as PAPER
from pairplay.config import EnvConfig
from pairplay.envs.base import Envs
from pairplay.envs.check import check_envs
from pairplay.envs.fair import _SIMULATORS, horizon_warning, simulator_options
from pairplay.envs.make import make_envs
from pairplay.types import Step, UserError

FALLS = ("Hopper-v5", "Walker2d-v5", "InvertedPendulum-v5", "InvertedDoublePendulum-v5", "CartPole-v1")
"""Soon, if nobody takes care."""


def made(env_id: str, **options: Any) -> Envs:
    return make_envs(env_id, 1, EnvConfig(**options), seed=1)


def play(envs: Envs, steps: int) -> list[Step]:
    """Wild actions: everything that can fall does."""
    envs.reset()
    rng = np.random.default_rng(0)
    if envs.spec.discrete:
        return [envs.step(np.ones(1, np.int64)) for _ in range(steps)]
    return [envs.step(rng.normal(scale=3, size=(1, envs.spec.action_dim)).astype(np.float32)) for _ in range(steps)]


@pytest.mark.parametrize("env_id", [*PAPER, "CartPole-v1"])
def test_episodes_that_are_played_on_all_have_the_same_length_and_stay_finite(env_id: str) -> None:
    steps = play(made(env_id, ends="continue", max_episode_steps=150), 310)
    assert [t for t, step in enumerate(steps) if step.truncated[0]] == [149, 299]
    assert not any(step.terminated[0] for step in steps)
    assert all(np.isfinite(step.frames).all() and np.isfinite(step.env_reward).all() for step in steps)


@pytest.mark.parametrize("env_id", FALLS)
def test_a_fall_is_noted_once_and_at_the_step_at_which_the_environment_would_have_ended(env_id: str) -> None:
    kept, played_on = play(made(env_id), 60), play(made(env_id, ends="continue"), 60)
    fall = next(t for t, step in enumerate(kept) if step.terminated[0])
    assert kept[fall].lost[0]
    lost = [t for t, step in enumerate(played_on) if step.lost[0]]
    assert lost[0] == fall
    assert len(lost) < 5, "a fall is not lost again at each step on the ground"
    for a, b in zip(kept[:fall], played_on[:fall], strict=True):
        np.testing.assert_array_equal(a.frames, b.frames)
        assert a.env_reward[0] == b.env_reward[0]


@pytest.mark.parametrize(
    ("env_id", "upright"),
    [
        ("Hopper-v5", 1.0),
        ("Walker2d-v5", 1.0),
        ("Ant-v5", 1.0),
        ("InvertedPendulum-v5", 1.0),
        ("InvertedDoublePendulum-v5", 10.0),
    ],
)
def test_gymnasium_pays_for_being_upright_until_the_fall_and_no_longer(env_id: str, upright: float) -> None:
    """What the paper put in the place of termination, and what `continue` relies on."""
    env = gymnasium.make(env_id)
    env.reset(seed=1)
    rng = np.random.default_rng(0)
    paid: dict[bool, set[float]] = {True: set(), False: set()}
    for _ in range(400):
        action = np.asarray(np.sign(rng.normal(size=env.action_space.shape or ())) * 10, np.float32)
        _, _, down, _, info = env.unwrapped.step(action)
        paid[bool(down)].add(float(info["reward_survive"]))
    assert paid == {False: {upright}, True: {0.0}}


def test_a_cart_pole_that_lies_down_earns_nothing() -> None:
    steps = play(made("CartPole-v1", ends="continue"), 40)
    fall = next(t for t, step in enumerate(steps) if step.lost[0])
    rewards = [float(step.env_reward[0]) for step in steps]
    assert rewards[: fall + 1] == [1.0] * (fall + 1)
    assert set(rewards[fall + 1 : fall + 10]) == {0.0}


def test_a_cart_that_rolled_far_away_is_still_drawn() -> None:
    envs = made("CartPole-v1", ends="continue")
    play(envs, 400)
    capture = envs.capture(0)
    assert abs(capture[0]) > 200
    assert envs.painter().draw(capture[None]).shape == (1, 266, 400, 3)


@pytest.mark.parametrize("env_id", PAPER)
def test_without_torque_cost_the_reward_is_what_gymnasium_pays_for_the_rest(env_id: str) -> None:
    charged, free = made(env_id), made(env_id, torque_cost=False)
    one: Any = gymnasium.make(env_id)
    first = charged.reset(), free.reset()
    np.testing.assert_array_equal(*first)
    one.reset()
    action = np.full((1, charged.spec.action_dim), 0.7, np.float32)
    for _ in range(3):
        a, b = charged.step(action), free.step(action)
        np.testing.assert_array_equal(a.frames, b.frames)
        cost = b.env_reward[0] - a.env_reward[0]
        if env_id.startswith("Inverted"):
            assert cost == 0.0
        else:
            _, _, _, _, info = one.unwrapped.step(action[0])
            assert cost == pytest.approx(-info["reward_ctrl"] - info.get("reward_contact", 0.0), rel=0.02, abs=1e-6)
            assert cost > 0


@pytest.mark.parametrize("env_id", ["Ant-v5", "Humanoid-v5", "HumanoidStandup-v5", "Pusher-v5"])
def test_without_torque_cost_no_part_of_the_reward_charges(env_id: str) -> None:
    costs: list[set[float]] = []
    free: dict[str, Any] = dict(simulator_options(env_id, EnvConfig(torque_cost=False)))
    for options in ({}, free):
        env = gymnasium.make(env_id, **options)
        env.reset(seed=0)
        rng = np.random.default_rng(0)
        infos = [env.unwrapped.step(rng.uniform(-1, 1, env.action_space.shape) * 0.4)[4] for _ in range(60)]
        charges = [name for name in infos[0] if any(cost in name for cost in ("ctrl", "contact", "impact"))]
        costs += [{float(info[name]) for info in infos for name in charges}]
    assert len(costs[0]) >= 60
    assert costs[1] == {0.0}


class AlwaysDown(gymnasium.Env[Any, Any]):
    observation_space = gymnasium.spaces.Discrete(2)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        return 0, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return 1, 0.0, True, False, {}


class OftenDown(AlwaysDown):
    """Up at every fourth step."""

    played = 0

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.played += 1
        return 1, 0.0, self.played % 4 != 0, False, {}


def test_each_episode_can_be_lost_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(_SIMULATORS, "AlwaysDown-v0", _SIMULATORS["CartPole-v1"])
    gymnasium.register("AlwaysDown-v0", entry_point=AlwaysDown)  # type: ignore[arg-type]
    steps = play(made("AlwaysDown-v0", ends="continue", max_episode_steps=3), 7)
    gymnasium.registry.pop("AlwaysDown-v0")
    assert [bool(step.lost[0]) for step in steps] == [True, False, False, True, False, False, True]


@pytest.mark.parametrize("env_id", FALLS)
def test_what_cannot_rise_is_played_on_for_a_while_and_begins_anew(env_id: str) -> None:
    down = play(made(env_id), 60)
    fall = next(t for t, step in enumerate(down) if step.terminated[0])
    whole, steps = play(made(env_id, ends="continue"), 60), play(made(env_id, ends="continue", play_on_steps=9), 60)
    assert not any(step.terminated[0] for step in steps), "the learner is told of a time limit"
    lost = [t for t, step in enumerate(steps) if step.lost[0]]
    first = next(t for t, step in enumerate(steps) if step.truncated[0])
    assert lost[0] == fall
    assert first == fall + 9
    np.testing.assert_array_equal(steps[first].final_frames, whole[first].frames)
    assert np.abs(steps[first].frames).max() < np.abs(whole[first].frames).max(), "a new episode, upright"


def test_steps_are_counted_from_the_first_fall_even_if_it_rises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(_SIMULATORS, "OftenDown-v0", _SIMULATORS["CartPole-v1"])
    gymnasium.register("OftenDown-v0", entry_point=OftenDown)  # type: ignore[arg-type]
    steps = play(made("OftenDown-v0", ends="continue", play_on_steps=6, max_episode_steps=20), 21)
    gymnasium.registry.pop("OftenDown-v0")
    # Down for 3 steps, up for 1, down for 3 …: what whirls past the top has fallen all the same.
    assert [t for t, step in enumerate(steps) if step.truncated[0]] == [6, 14], "the new episodes begin upright"
    assert [t for t, step in enumerate(steps) if step.lost[0]][:3] == [0, 4, 8]


def test_a_simulator_that_blows_up_goes_on_finite_and_to_the_limit() -> None:
    """MuJoCo resets bad states by itself."""
    envs: Any = made("InvertedDoublePendulum-v5", ends="continue", max_episode_steps=20)
    envs.reset()
    envs._envs[0].unwrapped.data.qvel[:] = 1e13
    steps = [envs.step(np.ones((1, 1), np.float32)) for _ in range(20)]
    assert [bool(step.truncated[0]) for step in steps] == [False] * 19 + [True]
    assert all(np.isfinite(step.frames).all() and np.isfinite(step.env_reward).all() for step in steps)


@pytest.mark.parametrize("env_id", ["Hopper-v5", "CartPole-v1"])
def test_playing_on_keeps_the_contract_and_can_be_filmed(env_id: str) -> None:
    envs, twin = (make_envs(env_id, 2, EnvConfig(ends="continue", max_episode_steps=90), seed=2) for _ in range(2))
    check_envs(envs, twin, steps=100, rng=np.random.default_rng(0), max_episode_steps=90)


def test_what_an_environment_cannot_do_is_said() -> None:
    with pytest.raises(UserError, match=r"MountainCar-v0 cannot be played on past its end: use --env\.ends hide"):
        made("MountainCar-v0", ends="continue")
    with pytest.raises(UserError, match=r"Hopper-v4 cannot be played on past its end"):
        made("Hopper-v4", ends="continue")
    with pytest.raises(UserError, match=r"ALE/Pong-v5 cannot be played on"):
        made("ALE/Pong-v5", ends="continue")
    with pytest.raises(UserError, match=r"--env\.play-on-steps 9 goes with --env\.ends continue"):
        made("Hopper-v5", play_on_steps=9)
    with pytest.raises(UserError, match=r"--env\.play-on-steps -1: must be at least 0"):
        made("Hopper-v5", ends="continue", play_on_steps=-1)
    with pytest.raises(UserError, match=r"Pendulum-v1 has no torque cost that could be switched off"):
        made("Pendulum-v1", torque_cost=False)
    with pytest.raises(UserError, match=r"ALE/Pong-v5 has no torque cost"):
        made("ALE/Pong-v5", torque_cost=False)


def test_an_episode_without_limit_is_not_played_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gymnasium.registry["Hopper-v5"], "max_episode_steps", None)
    with pytest.raises(UserError, match=r"would never end: give --env\.max-episode-steps"):
        made("Hopper-v5", ends="continue")


def test_the_warning_names_the_reason_and_what_this_environment_can_do() -> None:
    cart = horizon_warning("CartPole-v1", "keep")
    assert cart is not None
    assert cart.startswith("CartPole-v1 ends episodes by itself, and how long they last tells the agent what is wanted")
    assert "--env.ends continue" in cart
    assert "--env.ends hide" in cart
    game = horizon_warning("ALE/Pong-v5", "keep")
    assert game is not None
    assert "--env.ends hide" in game
    assert "continue" not in game
    assert horizon_warning("CartPole-v1", "hide") is None
    assert horizon_warning("CartPole-v1", "continue") is None


def test_the_guide_that_the_warning_points_to_names_every_environment_that_plays_on() -> None:
    warning = horizon_warning("CartPole-v1", "keep")
    assert warning is not None
    guide = (Path(__file__).parents[2] / warning.rpartition(" ")[2]).read_text(encoding="utf-8")
    for env_id in _SIMULATORS:
        assert env_id.partition("-")[0] in guide, env_id
