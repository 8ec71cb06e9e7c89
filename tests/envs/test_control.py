from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from pairplay.config import EnvConfig
from pairplay.envs.control import reduced
from pairplay.envs.make import make_envs
from pairplay.seeding import int_seed
from pairplay.types import UserError


def test_cartpole_is_played_as_gymnasium_plays_it() -> None:
    """Step for step over several episode ends, final frames included."""
    envs = make_envs("CartPole-v1", 2, EnvConfig(max_episode_steps=15), seed=4)
    singles = [gymnasium.make("CartPole-v1", max_episode_steps=15) for _ in range(2)]
    expected = np.stack([one.reset(seed=int_seed(4, "environment", i))[0] for i, one in enumerate(singles)])
    np.testing.assert_array_equal(envs.reset(), expected)
    assert (expected[0] != expected[1]).any(), "each environment has its own seed"
    rng = np.random.default_rng(0)
    ends = {"terminated": 0, "truncated": 0}
    for _ in range(60):
        action = rng.integers(2, size=2)
        step = envs.step(action)
        for i, one in enumerate(singles):
            observation, reward, terminated, truncated, _ = one.step(int(action[i]))
            if terminated or truncated:
                np.testing.assert_array_equal(step.final_frames[i], observation)
                observation, _ = one.reset()
            np.testing.assert_array_equal(step.frames[i], observation)
            assert step.env_reward[i] == reward
            assert step.terminated[i] == terminated
            assert step.truncated[i] == (truncated and not terminated)
            ends["terminated"] += terminated
            ends["truncated"] += truncated
    assert min(ends.values()) > 0, ends


@pytest.mark.parametrize(
    "env_id", ["CartPole-v1", "Pendulum-v1", "Acrobot-v1", "MountainCar-v0", "MountainCarContinuous-v0"]
)
def test_classic_control_is_redrawn_from_its_state_as_it_draws_itself(env_id: str) -> None:
    envs = make_envs(env_id, 1, EnvConfig(), seed=1)
    one: Any = gymnasium.make(env_id, render_mode="rgb_array")
    envs.reset()
    one.reset(seed=int_seed(1, "environment", 0))
    rng = np.random.default_rng(0)
    captures, expected = [envs.capture(0)], [reduced(one.render())]
    for _ in range(6):
        if envs.spec.discrete:
            action = rng.integers(envs.spec.num_actions, size=1)
            one.step(int(action[0]))
        else:
            action = rng.uniform(-1, 1, size=(1, 1)).astype(np.float32)
            one.step(action[0])
        envs.step(action)
        captures.append(envs.capture(0))
        expected.append(reduced(one.render()))
    painter = envs.painter()
    np.testing.assert_array_equal(painter.draw(np.stack(captures)), np.stack(expected))
    assert (expected[0] != expected[-1]).any()
    painter.close()
    one.close()


class Maze(gymnasium.Env[Any, Any]):
    """An environment whose spaces and pictures a test chooses; it ends itself at step 3."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 12}  # noqa: RUF012 - Gymnasium's own convention

    def __init__(
        self,
        render_mode: str | None = None,
        observation: spaces.Space[Any] | None = None,
        action: spaces.Space[Any] | None = None,
        size: tuple[int, int] = (600, 900),
    ) -> None:
        self.render_mode = render_mode
        self.observation_space = observation or spaces.Discrete(4, start=1)
        self.action_space = action or spaces.Discrete(2, start=5)
        self._size = size
        self._steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._steps = 0
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), action
        self._steps += 1
        return self._observe(), 1.0, self._steps == 3, False, {}

    def _observe(self) -> Any:
        if isinstance(self.observation_space, spaces.Box):
            high = 200 if self.observation_space.dtype == np.uint8 else 1
            return np.full(self.observation_space.shape, high, self.observation_space.dtype)
        return 1 + self._steps

    def render(self) -> Any:
        return np.full((*self._size, 3), 50 * self._steps, np.uint8)


class Broken(Maze):
    """Its first observation, its third one and its second reward are what a test wants them to be."""

    def __init__(
        self, first: float = 0.0, third: float = 0.0, second_reward: float = 0.0, render_mode: str | None = None
    ) -> None:
        super().__init__(render_mode, observation=spaces.Box(-1, 1, (4,)))
        self.seen = {0: first, 2: third}
        self.paid = {2: second_reward}

    def _observe(self) -> Any:
        return np.array([0, 0, self.seen.get(self._steps, 0.0), 0], np.float32)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, self.paid.get(self._steps, reward), terminated, truncated, info


class BlindMaze(Maze):
    metadata = {"render_modes": []}  # noqa: RUF012


@pytest.fixture(autouse=True)
def _mazes() -> Iterator[None]:
    gymnasium.register("Maze-v0", entry_point=Maze)  # type: ignore[arg-type]
    gymnasium.register("BlindMaze-v0", entry_point=BlindMaze)  # type: ignore[arg-type]
    gymnasium.register("Broken-v0", entry_point=Broken)  # type: ignore[arg-type]
    yield
    for env_id in ("Maze-v0", "BlindMaze-v0", "Broken-v0"):
        gymnasium.registry.pop(env_id)


def maze(**options: Any) -> str:
    gymnasium.registry["Maze-v0"].kwargs.update(options)
    return "Maze-v0"


def test_discrete_observations_become_one_hot_and_actions_start_where_they_start() -> None:
    envs = make_envs(maze(), 1, EnvConfig(), seed=0)
    assert envs.spec.frame_shape == (4,)
    np.testing.assert_array_equal(envs.reset(), [[1, 0, 0, 0]])
    np.testing.assert_array_equal(envs.step(np.array([0])).frames, [[0, 1, 0, 0]])
    np.testing.assert_array_equal(envs.step(np.array([1])).frames, [[0, 0, 1, 0]])
    step = envs.step(np.array([1]))
    np.testing.assert_array_equal(step.frames, [[1, 0, 0, 0]])
    np.testing.assert_array_equal(step.final_frames, [[0, 0, 0, 1]])
    assert step.terminated[0]
    assert envs.spec.clip_fps == 12


def test_actions_are_clipped_to_the_bounds() -> None:
    """The maze itself takes nothing outside its bounds, nor any other dtype."""
    envs = make_envs(maze(action=spaces.Box(-1.0, np.array([1.0, np.inf]), (2,), np.float64)), 1, EnvConfig(), seed=0)
    assert (envs.spec.action_low, envs.spec.action_high) == ((-1.0, -1.0), (1.0, np.inf))
    assert (envs.spec.num_actions, envs.spec.action_dim) == (0, 2)
    envs.reset()
    envs.step(np.array([[9.0, -9.0]], np.float32))
    envs.step(np.array([[-9.0, 9.0]], np.float32))


def test_an_end_that_meets_the_time_limit_is_an_end() -> None:
    envs = make_envs(maze(), 1, EnvConfig(max_episode_steps=3), seed=0)
    envs.reset()
    steps = [envs.step(np.array([0])) for _ in range(3)]
    assert [bool(step.terminated[0]) for step in steps] == [False, False, True]
    assert not steps[-1].truncated[0]


def test_large_pictures_are_reduced_and_show_the_new_episode_after_an_end() -> None:
    envs = make_envs(maze(), 2, EnvConfig(), seed=0)
    assert envs.recordable == 2
    envs.reset()
    captures = [envs.capture(1)]
    for _ in range(3):
        envs.step(np.array([0, 0]))
        captures.append(envs.capture(1))
    assert [capture[0, 0, 0] for capture in captures] == [0, 50, 100, 0]
    assert envs.painter().draw(np.stack(captures)).shape == (4, 266, 400, 3)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((210, 160), (210, 160)),
        ((480, 480), (480, 480)),
        ((400, 600), (266, 400)),
        ((500, 500), (400, 400)),
        ((900, 301), (400, 134)),
    ],
)
def test_pictures_are_reduced_to_even_sides(before: tuple[int, int], after: tuple[int, int]) -> None:
    assert reduced(np.zeros((*before, 3), np.uint8)).shape == (*after, 3)


def test_observed_pictures_are_made_grey_and_stacked() -> None:
    env_id = maze(observation=spaces.Box(0, 255, (96, 128, 3), np.uint8))
    envs = make_envs(env_id, 1, EnvConfig(frame_size=64, frame_stack=3), seed=0)
    assert (envs.spec.frame_shape, envs.spec.stack, envs.spec.is_image) == ((64, 64), 3, True)
    frames = envs.reset()
    assert frames.dtype == np.uint8
    assert (frames == 200).all()


def test_observations_of_any_rank_become_one_row() -> None:
    envs = make_envs(maze(observation=spaces.Box(-1, 1, (2, 3), np.float64)), 1, EnvConfig(), seed=0)
    frames = envs.reset()
    assert frames.shape == (1, 6)
    assert frames.dtype == np.float32
    assert envs.spec.stack == 1


@pytest.mark.parametrize(
    ("kind", "space"),
    [
        ("observation", spaces.Dict({"a": spaces.Discrete(2)})),
        ("observation", spaces.MultiBinary(3)),
        ("action", spaces.MultiDiscrete([2, 2])),
        ("action", spaces.Box(-1, 1, (2, 2))),
    ],
)
def test_other_kinds_of_spaces_are_named(kind: str, space: spaces.Space[Any]) -> None:
    with pytest.raises(UserError, match=rf"Maze-v0 has {kind}s of the kind .*{type(space).__name__}.*supported are"):
        make_envs(maze(**{kind: space}), 1, EnvConfig(), seed=0)


def test_an_environment_without_pictures_plays_and_says_that_it_cannot_be_filmed() -> None:
    envs = make_envs("BlindMaze-v0", 1, EnvConfig(), seed=0)
    assert envs.recordable == 0
    envs.reset()
    envs.step(np.array([0]))
    for ask in (lambda: envs.capture(0), envs.painter):
        with pytest.raises(UserError, match="BlindMaze-v0 has no pictures"):
            ask()


def test_a_missing_library_is_named() -> None:
    def needs_box2d(**options: Any) -> gymnasium.Env[Any, Any]:
        raise gymnasium.error.DependencyNotInstalled('run `pip install "gymnasium[box2d]"`')

    gymnasium.registry["Maze-v0"].entry_point = needs_box2d
    with pytest.raises(UserError, match=r"cannot make 'Maze-v0': .*gymnasium\[box2d\]"):
        make_envs("Maze-v0", 1, EnvConfig(), seed=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"third": np.nan}, "nan as dimension 2 of its observation"),
        ({"third": -np.inf}, "-inf as dimension 2 of its observation"),
        ({"second_reward": np.inf}, "inf as its reward"),
    ],
)
def test_what_is_not_finite_is_named_before_anything_learns_from_it(options: dict[str, float], message: str) -> None:
    gymnasium.registry["Broken-v0"].kwargs.update(options)
    envs = make_envs("Broken-v0", 2, EnvConfig(), seed=0)
    envs.reset()
    envs.step(np.zeros(2, np.int64))
    with pytest.raises(UserError, match=rf"Broken-v0: environment 0 gave {message} after 2 steps"):
        envs.step(np.zeros(2, np.int64))


def test_a_first_observation_that_is_not_finite_is_named_too() -> None:
    gymnasium.registry["Broken-v0"].kwargs.update(first=np.nan)
    envs = make_envs("Broken-v0", 1, EnvConfig(), seed=0)
    with pytest.raises(UserError, match="nan as dimension 2 of its observation after 0 steps"):
        envs.reset()
