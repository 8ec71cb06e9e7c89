"""Environments whose frames count their own steps, so that a test can say what every stack must hold."""

from __future__ import annotations

import numpy as np

from pairplay.envs.base import Painter, PicturePainter
from pairplay.types import Array, EnvSpec, Step


class CountingEnvs:
    """Episode e of environment n shows `100 n + 10 e + age` on every pixel; episodes last `length` steps."""

    def __init__(self, num_envs: int = 2, *, length: int = 3, truncates: bool = False, stack: int = 3) -> None:
        self.num_envs = num_envs
        self.length = length
        self.truncates = truncates
        self.spec = EnvSpec(
            env_id="Counting-v0",
            frame_shape=(2, 2),
            stack=stack,
            num_actions=4,
            action_low=(),
            action_high=(),
            clip_fps=10.0,
        )
        self.recordable = num_envs
        self.age = np.zeros(num_envs, np.int64)
        self.episode = np.zeros(num_envs, np.int64)

    def _frames(self) -> Array:
        number = 100 * np.arange(self.num_envs) + 10 * self.episode + self.age
        return np.broadcast_to(number[:, None, None], (self.num_envs, 2, 2)).astype(np.uint8)

    def reset(self) -> Array:
        self.age[:], self.episode[:] = 0, 0
        return self._frames()

    def step(self, action: Array) -> Step:
        self.age += 1
        final = self._frames()
        ended = self.age == self.length
        self.age[ended] = 0
        self.episode[ended] += 1
        nothing = np.zeros(self.num_envs, np.bool_)
        return Step(
            frames=self._frames(),
            env_reward=action.astype(np.float32),
            terminated=nothing if self.truncates else ended,
            truncated=ended if self.truncates else nothing,
            final_frames=final,
            lost=ended,
        )

    def capture(self, env: int) -> Array:
        picture: Array = self._frames()[env]
        return picture

    def painter(self) -> Painter:
        return PicturePainter()

    def close(self) -> None:
        pass
