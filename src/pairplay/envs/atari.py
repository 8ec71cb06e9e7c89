"""Atari games on ale-py's C++ vector environment: grey frames for the networks, colour pictures for people.

The vector environment shows either grey or colour, so there are several of them: a small group in
full-size colour, whose grey frames are made here and which alone can be filmed, and the others in
native grey. All emulate identically under the same seed.

Like Gymnasium's `ALE/*-v5`, a reset does not press FIRE: launching the ball is the agent's business.
"""

from __future__ import annotations

import math
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import cache
from itertools import pairwise

import cv2
import numpy as np
from ale_py.vector_env import AtariVectorEnv
from gymnasium.vector import AutoresetMode

from pairplay.config import EnvConfig
from pairplay.cores import available_cores
from pairplay.envs.base import PicturePainter
from pairplay.envs.score_masks import Mask, rectangles, rows_to_see
from pairplay.seeding import int_seed
from pairplay.types import Array, BoolArray, EnvSpec, FloatArray, IntArray, Picture, Step

# N environments, M of them in colour, H x W the emulator's screen, S side of a network's frame, R of its rows kept

FRAMES_PER_SECOND = 60
MAX_EPISODE_FRAMES = 108_000
"""Half an hour of play, the limit of `ALE/*-v5`."""
SCREEN_WIDTH = 160
SCREEN_HEIGHT = 210
TALL_SCREENS = {
    **dict.fromkeys(("adventure", "air_raid", "keystone_kapers", "king_kong", "klax", "laser_gates"), 250),
    **dict.fromkeys(("mr_do", "pacman", "sir_lancelot", "space_war"), 250),
    "journey_escape": 230,
    "pooyan": 220,
    "carnival": 214,
}
_NO_LIMIT = 2**30
MANY = 64
"""Environments that keep a machine's cores busy for a while with half of them, beside those in colour."""
ENOUGH = 16
"""The same where none is in colour: some of them must play while others are looked at."""
AT_ONCE = 4
"""Pictures made grey together. What lies between colour and grey is then small enough to be had again and again without
asking the system for it, which for sixteen takes three times as long as the work."""


@dataclass(frozen=True)
class _Group:
    """Consecutive environments that share one C++ vector environment."""

    envs: slice
    colour: bool
    vector: AtariVectorEnv


class AtariEnvs:
    """`Envs` for one Atari game."""

    def __init__(self, env_id: str, game: str, num_envs: int, config: EnvConfig, *, seed: int) -> None:
        self.num_envs = num_envs
        self.recordable = min(config.colour_envs, num_envs)
        self._size = config.frame_size
        self._max_steps = config.max_episode_steps or MAX_EPISODE_FRAMES // config.frame_skip
        self._seeds = np.array([int_seed(seed, "emulator", env) for env in range(num_envs)])
        self._age: IntArray = np.zeros(num_envs, np.int64)
        self._lives: IntArray = np.zeros(num_envs, np.int64)
        self._masks: list[Mask] = []
        if config.mask_score:
            height = TALL_SCREENS.get(game, SCREEN_HEIGHT)
            self._masks = [rectangle.scaled(height, SCREEN_WIDTH, self._size) for rectangle in rectangles(game)]
        # OpenCV's own threads would each wait for a core behind the emulators'.
        cv2.setNumThreads(1)
        self._rows = rows_to_see(self._masks, self._size) if config.cut_black_rows else slice(0, self._size)
        self._groups = [
            _Group(
                envs,
                envs.start < self.recordable,
                _vector_env(game, envs.stop - envs.start, config, envs.start < self.recordable),
            )
            for envs in _split(num_envs, self.recordable)
        ]
        self.parts = tuple(group.envs for group in self._groups)
        self._pictures: Picture = np.zeros((0, 0, 0, 3), np.uint8)
        actions = self._groups[0].vector.ale.get_action_set()
        self.spec = EnvSpec(
            env_id=env_id,
            frame_shape=(self._rows.stop - self._rows.start, self._size),
            stack=config.frame_stack,
            num_actions=len(actions),
            action_low=(),
            action_high=(),
            clip_fps=FRAMES_PER_SECOND / config.frame_skip,
            action_names=tuple(action.name for action in actions),
        )
        # A seed makes each emulator load its game anew, some 0.2 s: that goes on while the caller makes networks.
        self._background = ThreadPoolExecutor(1, thread_name_prefix="first-reset")
        self._first: Future[Array] | None = self._background.submit(self._reset)

    def reset(self) -> Array:
        first, self._first = self._first, None
        return self._reset() if first is None else first.result()

    def _reset(self) -> Array:
        self._age[:] = 0
        frames = np.empty((self.num_envs, *self.spec.frame_shape), np.uint8)
        for group in self._groups:
            screens, info = group.vector.reset(seed=self._seeds[group.envs])
            self._lives[group.envs] = info["lives"]
            frames[group.envs] = self._see(group, screens)
        return frames

    def step(self, action: Array) -> Step:
        self._check(action, self.num_envs)
        for part, envs in enumerate(self.parts):
            self.send(part, action[envs])
        # Colour first: its grey frames are made while the other group still plays.
        answers = [self.receive(part) for part in range(len(self.parts))]
        if len(answers) == 1:
            return answers[0]
        joined = {field.name: [getattr(answer, field.name) for answer in answers] for field in fields(Step)}
        return Step(**{name: np.concatenate(arrays) for name, arrays in joined.items()})

    def send(self, part: int, action: Array) -> None:
        group = self._groups[part]
        self._check(action, group.envs.stop - group.envs.start)
        group.vector.send(action)

    def receive(self, part: int) -> Step:
        group = self._groups[part]
        envs = group.envs
        screens, env_reward, over, _, info = group.vector.recv()
        # Copies: the vector environment writes its next answer to the same place.
        frames, terminated, lives = np.array(self._see(group, screens)), np.array(over, np.bool_), info["lives"]
        # After a game over these are already the lives of the new game.
        lost = terminated | (lives < self._lives[envs])
        self._lives[envs] = lives
        self._age[envs] += 1
        truncated = (self._age[envs] >= self._max_steps) & ~terminated
        final_frames = frames
        if (terminated | truncated).any():
            final_frames = frames.copy()
            if "final_obs" in info:
                final_frames[terminated] = self._grey(group, info["final_obs"][terminated])
            self._restart(group, truncated, frames)
            self._age[envs][terminated | truncated] = 0
        return Step(frames, env_reward.astype(np.float32), terminated, truncated, final_frames, lost)

    def _check(self, action: Array, count: int) -> None:
        # The emulator's worker threads die of an unknown action, and the step would then never return.
        if action.shape != (count,) or action.min() < 0 or action.max() >= self.spec.num_actions:
            raise ValueError(f"actions must be [{count}] integers in 0..{self.spec.num_actions - 1}: {action}")

    def capture(self, env: int) -> Picture:
        picture: Picture = self._pictures[env]
        picture.flags.writeable = False  # the emulator's own memory
        return picture

    def painter(self) -> PicturePainter:
        return PicturePainter()

    def close(self) -> None:
        self._background.shutdown(wait=True)
        for group in self._groups:
            group.vector.close()
        self._groups = []

    def _restart(self, group: _Group, truncated: BoolArray, frames: Array) -> None:
        """Begin new episodes where the time was up.

        Not left to the vector environment: at its own time limit the last observation is two moments
        laid over each other, and that observation is what truncated episodes bootstrap from.
        """
        if truncated.any():
            screens, info = group.vector.reset(options={"reset_mask": truncated})
            self._lives[group.envs] = info["lives"]
            frames[:] = self._see(group, screens)

    def _see(self, group: _Group, screens: Array) -> Array:
        """The network's frames `[n, R, S]` of the current screens `[n, 1, ...]`; remembers those in colour."""
        if group.colour:
            self._pictures = screens[:, 0]
        return self._grey(group, screens)

    def _grey(self, group: _Group, screens: Array) -> Array:
        frames = screens[:, 0]
        if group.colour:
            frames = np.empty((len(screens), self._size, self._size), np.uint8)
            frames[:, self._rows] = grey_frames(screens[:, 0], self._size, self._rows)
        for rows, columns in self._masks:
            frames[:, rows, columns] = 0
        return frames[:, self._rows]


def _split(num_envs: int, colour_envs: int) -> list[slice]:
    """Those in colour, and the others: two halves of them where they are many, so that one can play at any time."""
    rest = num_envs - colour_envs
    many = rest >= (MANY if colour_envs else ENOUGH)
    bounds = [0, colour_envs, *([colour_envs + rest // 2] if many else []), num_envs]
    return [slice(first, last) for first, last in pairwise(bounds) if last > first]


def grey_frames(pictures: Picture, size: int, rows: slice = slice(None)) -> Picture:
    """`[n, H, W, 3]` pictures as the networks see them, `[n, size, size]` or `rows` of that.

    Agrees with the emulator's own grey, but where it lays two moments over each other: the lightest red, green and blue
    of both make another grey than the lighter of two greys. In Enduro 3 pixels of 10,000 differ, by at most 4. And of
    the means that lie halfway between two bytes a few are rounded otherwise.
    """
    n, height = pictures.shape[:2]
    # So many rows of a picture become so many of a frame, again and again: what lies outside is not looked at.
    step = math.gcd(height, size)
    seen, made = height // step, size // step
    start, stop, _ = rows.indices(size)
    first, last = start // made, -(-stop // made)
    frames = np.empty((n, (last - first) * made, size), np.uint8)
    if frames.size:
        for i in range(0, n, AT_ONCE):
            frames[i : i + AT_ONCE] = _few_grey(pictures[i : i + AT_ONCE, first * seen : last * seen], seen, made, size)
    return frames[:, start - first * made : stop - first * made]


def _few_grey(pictures: Picture, seen: int, made: int, size: int) -> Picture:
    """`[n, b · seen, W, 3]` as `[n, b · made, S]`."""
    n, height, width, _ = pictures.shape
    grey = np.empty((n, height, width), np.uint8)
    for picture, to in zip(pictures, grey, strict=True):
        cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY, dst=to)
    if width == 2 * size:
        return _shrunk(grey.reshape(-1, seen, width), made).reshape(n, -1, size)
    # As one tall picture: no area that a pixel is the mean of reaches from one of them into the next.
    tall = (size, n * (height // seen) * made)
    frames: Picture = cv2.resize(grey.reshape(-1, width), tall, interpolation=cv2.INTER_AREA)
    return frames.reshape(n, -1, size)


def _shrunk(blocks: Picture, made: int) -> Picture:
    """`[b, seen, 2 S]` as `[b, made, S]`, each pixel the mean of what it covers: OpenCV takes three times as long."""
    seen = blocks.shape[1]
    two = blocks.view(np.uint16)
    pairs = ((two & 0xFF) + (two >> 8)).astype(np.float32)
    # Whole numbers, exact in any order, until they are divided: then halves are halves, and go to the even number.
    shrunk: Picture = np.rint(np.matmul(_cover(seen, made), pairs) / np.float32(2 * seen)).astype(np.uint8)
    return shrunk


@cache
def _cover(seen: int, made: int) -> FloatArray:
    """`[made, seen]`: how much each of `made` pixels covers of each of `seen`; a whole one counts `made`."""
    edge = np.arange(made + 1)[:, None] * seen
    cover: FloatArray = np.diff(np.clip(edge - np.arange(seen) * made, 0, made), axis=0).astype(np.float32)
    return cover


def _vector_env(game: str, num_envs: int, config: EnvConfig, colour: bool) -> AtariVectorEnv:
    return AtariVectorEnv(
        game,
        num_envs,
        num_threads=min(num_envs, available_cores()),
        max_num_frames_per_episode=_NO_LIMIT,
        repeat_action_probability=config.sticky_actions,
        full_action_space=config.full_action_space,
        autoreset_mode=AutoresetMode.SAME_STEP,
        img_height=TALL_SCREENS.get(game, SCREEN_HEIGHT) if colour else config.frame_size,
        img_width=SCREEN_WIDTH if colour else config.frame_size,
        grayscale=not colour,
        stack_num=1,
        frameskip=config.frame_skip,
        noop_max=config.noop_max + 1,  # ale-py draws from 0..noop_max-1
        reward_clipping=False,
        use_fire_reset=False,
    )
