"""Keep from the learner that and why an episode ended: every end looks like the time limit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pairplay.envs.base import Envs, Painter, Parted, Together
from pairplay.types import Array, Step


class HiddenEnds:
    """`Envs` that plays on another's, and reports its terminations as truncations.

    So the end of an episode is valued like the observation at which it happened, as if the episode had gone on: neither
    dying nor surviving is worth anything by itself. `Step.lost` still says what happened, to synthetic teachers.
    """

    def __init__(self, envs: Envs) -> None:
        self._envs = envs
        self.spec = envs.spec
        self.num_envs = envs.num_envs
        self.recordable = envs.recordable
        self._parted: Parted = envs if isinstance(envs, Parted) else Together(envs)
        self.parts = self._parted.parts

    def reset(self) -> Array:
        return self._envs.reset()

    def step(self, action: Array) -> Step:
        return _hidden(self._envs.step(action))

    def send(self, part: int, action: Array) -> None:
        self._parted.send(part, action)

    def receive(self, part: int) -> Step:
        return _hidden(self._parted.receive(part))

    def capture(self, env: int) -> Array:
        return self._envs.capture(env)

    def painter(self) -> Painter:
        return self._envs.painter()

    def close(self) -> None:
        self._envs.close()


def _hidden(step: Step) -> Step:
    return replace(
        step, terminated=np.zeros_like(step.terminated), truncated=np.logical_or(step.terminated, step.truncated)
    )
