"""Any other Gymnasium environment, played one by one in this process: classic control, MuJoCo, Box2D, your own.

Small simulators spend microseconds a step, so processes would cost more than they bring; where they spend more,
`pairplay.envs.parallel` has several groups of these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import cv2
import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec as Registration
from gymnasium.envs.registration import load_env_creator
from gymnasium.wrappers import OrderEnforcing, TimeLimit

from pairplay.config import EnvConfig
from pairplay.envs.base import Painter, PicturePainter
from pairplay.envs.fair import check_ends, play_on, simulator_options
from pairplay.seeding import int_seed
from pairplay.types import Array, BoolArray, EnvSpec, IntArray, Picture, Step, UserError

# N environments, A action dimensions, D numbers in a state vector, S side of a network frame

GymEnv = gymnasium.Env[Any, Any]

MAX_PICTURE_SIDE = 480
"""Pictures with a longer side are reduced to `REDUCED_WIDTH`: enough for a clip, a fraction of its size."""
REDUCED_WIDTH = 400
FALLBACK_FPS = 30.0


class Camera(Protocol):
    """How one family of environments is filmed."""

    render_mode: str | None
    """What the environments that are played must be made with."""

    def capture(self, env: GymEnv) -> Array: ...

    def painter(self, env: GymEnv) -> Painter: ...


class ControlEnvs:
    """`Envs` for any Gymnasium environment with plain observations and actions."""

    def __init__(
        self, registration: Registration, num_envs: int, config: EnvConfig, *, seed: int, first: int = 0
    ) -> None:
        """`first` is the number of the first of them, where they are some of a larger group."""
        self.num_envs = num_envs
        self._first = first
        self._limit = max(0, config.max_episode_steps or registration.max_episode_steps or 0)
        check_ends(registration.id, config, self._limit)
        options = simulator_options(registration.id, config)
        self._camera = _camera(registration)
        self.recordable = num_envs if self._camera else 0
        render_mode = self._camera.render_mode if self._camera else None
        made = [make_one(registration.id, config.max_episode_steps, render_mode, options) for _ in range(num_envs)]
        self._envs = [_bare(env) for env in made]
        self._plays_on = config.ends == "continue"
        self._play_on_steps = config.play_on_steps
        self._down: BoolArray = np.zeros(num_envs, np.bool_)
        self._past_end: IntArray = np.zeros(num_envs, np.int64)
        self._age: IntArray = np.zeros(num_envs, np.int64)
        one = self._envs[0]
        self._seeds: list[int | None] = [int_seed(seed, "environment", first + env) for env in range(num_envs)]
        frame_shape, self._dtype, self._frame = _frame_reader(registration.id, one.observation_space, config)
        num_actions, low, high, self._action = _action_reader(registration.id, one.action_space)
        self.spec = EnvSpec(
            env_id=registration.id,
            frame_shape=frame_shape,
            stack=config.frame_stack if len(frame_shape) == 2 else 1,
            num_actions=num_actions,
            action_low=low,
            action_high=high,
            clip_fps=_steps_per_second(one),
        )

    def reset(self) -> Array:
        self._age[:] = 0
        self._down[:] = False
        self._past_end[:] = 0
        frames = self._empty_frames()
        for i, env in enumerate(self._envs):
            frames[i] = self._frame(env.reset(seed=self._seeds[i])[0])
        self._must_be_finite(frames, "observation")
        return frames

    def step(self, action: Array) -> Step:
        frames = self._empty_frames()
        env_reward = np.empty(self.num_envs, np.float32)
        terminated = np.empty(self.num_envs, np.bool_)
        truncated = np.empty(self.num_envs, np.bool_)
        for i, (env, action_i) in enumerate(zip(self._envs, self._action(action), strict=True)):
            observation, env_reward[i], terminated[i], truncated[i], _ = env.step(action_i)
            frames[i] = self._frame(observation)
        self._age += 1
        self._must_be_finite(frames, "observation")
        self._must_be_finite(env_reward[:, None], "reward")
        lost = terminated
        if self._plays_on:
            lost, terminated = self._stay_up(terminated), np.zeros(self.num_envs, np.bool_)
            self._past_end += lost | (self._past_end > 0)
            if self._play_on_steps:
                truncated |= self._past_end > self._play_on_steps
        if self._limit:
            truncated |= self._age >= self._limit
        # Where both hold, the episode ended by itself: nothing is left to bootstrap from.
        truncated &= ~terminated
        final_frames = frames
        ended = np.flatnonzero(terminated | truncated)
        if len(ended):
            final_frames = frames.copy()
            for i in ended.tolist():
                frames[i] = self._frame(self._envs[i].reset()[0])
            self._age[ended] = 0
            self._down[ended] = False
            self._past_end[ended] = 0
            self._must_be_finite(frames, "observation")
        return Step(frames, env_reward, terminated, truncated, final_frames, lost=lost.copy())

    def _stay_up(self, down: BoolArray) -> BoolArray:
        """Where an episode that is played on would have ended now: once for each fall, not while it lies there."""
        lost: BoolArray = down & ~self._down
        for i in np.flatnonzero(lost).tolist():
            play_on(self._envs[i].unwrapped)
        self._down = down
        return lost

    def capture(self, env: int) -> Array:
        return self._film().capture(self._envs[env])

    def painter(self) -> Painter:
        return self._film().painter(self._envs[0])

    def close(self) -> None:
        for env in self._envs:
            env.close()
        self._envs = []

    def _film(self) -> Camera:
        if self._camera is None:
            raise UserError(
                f"{self.spec.env_id} has no pictures (render mode rgb_array), so nobody can compare its clips"
            )
        return self._camera

    def _must_be_finite(self, values: Array, what: str) -> None:
        """UserError where `values [N, D]` hold NaN or infinity: a network that has learnt from one is lost."""
        if np.isfinite(values).all():
            return
        env, dimension = np.argwhere(~np.isfinite(values))[0].tolist()
        where = f"dimension {dimension} of its observation" if what == "observation" else "its reward"
        value = values[env, dimension]
        raise UserError(
            f"{self.spec.env_id}: environment {self._first + env} gave {value} as {where} "
            f"after {self._age[env]} steps of its episode. Nothing has learnt from it. Mend the environment, or "
            "register one of your own that clips such values or ends the episode before"
        )

    def _empty_frames(self) -> Array:
        return np.empty((self.num_envs, *self.spec.frame_shape), self._dtype)


class RenderCamera:
    """Takes the environment's own rendered picture, at the moment of capture."""

    render_mode: str | None = "rgb_array"

    def capture(self, env: GymEnv) -> Picture:
        picture = env.render()
        if not isinstance(picture, np.ndarray) or picture.ndim != 3:
            raise UserError(f"{env} renders no picture, so it cannot be filmed: render() gave {type(picture).__name__}")
        return reduced(picture)

    def painter(self, env: GymEnv) -> PicturePainter:
        return PicturePainter()


class StateCamera:
    """Classic control: keeps the few numbers of `state`, and draws them later in an environment of its own.

    A picture costs a thousand times a state, in time and in memory, and few of those filmed are ever shown.
    """

    render_mode: str | None = None

    def __init__(self, env_id: str) -> None:
        self._env_id = env_id

    def capture(self, env: GymEnv) -> Array:
        simulator: Any = env.unwrapped
        # The pendulum's picture shows its last torque too; NaN means none yet.
        torque = getattr(simulator, "last_u", None)
        return np.array([*simulator.state, np.nan if torque is None else torque], np.float64)

    def painter(self, env: GymEnv) -> Painter:
        return StatePainter(self._env_id)


class StatePainter:
    """Draws the captures of a StateCamera."""

    def __init__(self, env_id: str) -> None:
        self._env_id = env_id
        self._env: GymEnv | None = None

    def draw(self, captures: Array) -> Picture:
        if self._env is None:
            self._env = make_one(self._env_id, 0, "rgb_array")
            self._env.reset(seed=0)
        simulator: Any = self._env.unwrapped
        pictures = []
        for *state, torque in captures:
            simulator.state = np.array(state)
            if hasattr(simulator, "x_threshold"):
                # A cart that is played on rolls out of the picture, and out of the numbers that pygame can draw.
                simulator.state[0] = np.clip(state[0], -2 * simulator.x_threshold, 2 * simulator.x_threshold)
            if hasattr(simulator, "last_u"):
                simulator.last_u = None if np.isnan(torque) else torque
            pictures.append(reduced(simulator.render()))
        return np.stack(pictures)

    def close(self) -> None:
        if self._env is not None:
            self._env.close()
        self._env = None


def make_one(
    env_id: str, max_episode_steps: int, render_mode: str | None, options: Mapping[str, float] | None = None
) -> GymEnv:
    """One environment; 0 keeps its own limit. A missing library is a UserError that says which."""
    # Passed on to the environment as it is, and one without pictures need not know the word.
    drawing = {} if render_mode is None else {"render_mode": render_mode}
    try:
        return gymnasium.make(
            env_id,
            max_episode_steps=max_episode_steps or None,
            disable_env_checker=True,
            **drawing,
            **(options or {}),
        )
    except (gymnasium.error.Error, ImportError) as error:
        raise UserError(f"cannot make {env_id!r}: {error}") from error


def _bare(env: GymEnv) -> GymEnv:
    """`env` without the two layers that `gymnasium.make` puts around each: their work is done here, for all at once."""
    for layer in (TimeLimit, OrderEnforcing):
        if type(env) is layer:
            env = env.env
    return env


def reduced(picture: Picture) -> Picture:
    """The picture itself, or a smaller copy with even sides when it is larger than a clip should be."""
    height, width = picture.shape[:2]
    if max(height, width) <= MAX_PICTURE_SIDE:
        return picture
    scale = REDUCED_WIDTH / max(height, width)
    size = (round(width * scale / 2) * 2, round(height * scale / 2) * 2)
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def _camera(registration: Registration) -> Camera | None:
    """How this environment is best filmed; None when it has no pictures."""
    creator: Any = registration.entry_point
    if isinstance(creator, str):
        try:
            creator = load_env_creator(creator)
        except (gymnasium.error.Error, ImportError) as error:
            raise UserError(f"cannot make {registration.id!r}: {error}") from error
    modules = [base.__module__ for base in getattr(creator, "__mro__", ())]
    if "gymnasium.envs.mujoco.mujoco_env" in modules:
        # Not before it is needed: MuJoCo takes long to import.
        from pairplay.envs import mujoco

        mujoco.log_warnings()
        return mujoco.MujocoCamera()
    if modules and modules[0].startswith("gymnasium.envs.classic_control"):
        return StateCamera(registration.id)
    if "rgb_array" in getattr(creator, "metadata", {}).get("render_modes", ("rgb_array",)):
        return RenderCamera()
    return None


def _frame_reader(env_id: str, space: gymnasium.Space[Any], config: EnvConfig) -> tuple[tuple[int, ...], type, Any]:
    """The shape and dtype of a frame, and the function that makes one of an observation."""
    if isinstance(space, spaces.Box) and len(space.shape) == 3 and space.dtype == np.uint8 and space.shape[2] == 3:
        size = config.frame_size

        def grey(observation: Array) -> Array:
            picture = cv2.cvtColor(observation, cv2.COLOR_RGB2GRAY)
            return np.asarray(cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA))

        return (size, size), np.uint8, grey
    if isinstance(space, spaces.Box):
        return (int(np.prod(space.shape)),), np.float32, np.ravel
    if isinstance(space, spaces.Discrete):

        def one_hot(observation: int) -> Array:
            return np.asarray(np.arange(space.start, space.start + space.n) == observation, np.float32)

        return (int(space.n),), np.float32, one_hot
    raise UserError(
        f"{env_id} has observations of the kind {type(space).__name__}: supported are Box and Discrete. "
        "Wrap the environment with gymnasium.wrappers.FlattenObservation and register it under an id of your own."
    )


def _action_reader(
    env_id: str, space: gymnasium.Space[Any]
) -> tuple[int, tuple[float, ...], tuple[float, ...], Callable[[Array], Any]]:
    """The number of discrete actions, the bounds of continuous ones, and how the environments want them."""
    if isinstance(space, spaces.Discrete):
        start = int(space.start)
        return int(space.n), (), (), lambda action: (action + start).tolist()
    if isinstance(space, spaces.Box) and len(space.shape) == 1:
        low, high, dtype = space.low, space.high, space.dtype
        bounds = tuple(map(float, low)), tuple(map(float, high))
        return 0, *bounds, lambda action: np.clip(action, low, high).astype(dtype)
    raise UserError(
        f"{env_id} has actions of the kind {space}: supported are Discrete and Box with one dimension. "
        "Wrap the environment so that it takes one of these and register it under an id of your own."
    )


def _steps_per_second(env: GymEnv) -> float:
    dt = getattr(env.unwrapped, "dt", None)
    fps = env.metadata.get("render_fps") or (1 / dt if isinstance(dt, float) and dt > 0 else FALLBACK_FPS)
    return float(fps)
