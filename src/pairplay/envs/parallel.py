"""Environments spread over processes: for simulators that take longer over a step than another process to hear of it.

The first few are played here, the others by `pairplay.envs.worker`. What they did lies in memory that all share, so a
step costs each worker one word and its answer. Each environment plays what it would play in a single process.
"""

from __future__ import annotations

import json
import mmap
import os
from dataclasses import asdict
from typing import NamedTuple, Self

import numpy as np
from gymnasium.envs.registration import EnvSpec as Registration

from pairplay.config import EnvConfig
from pairplay.envs.base import Painter
from pairplay.envs.control import ControlEnvs
from pairplay.helper import Helper, shared_memory
from pairplay.types import Array, EnvSpec, Step

# N environments, A action dimensions, S numbers in a simulator state

STEP, RESET = b"step", b"reset"
"""What a worker is told; its first word is which environments are its own. It has nothing to say."""
GRACE_S = 5.0
"""How long a worker may take to notice that nobody needs it any more."""


class Block(NamedTuple):
    """All environments, field by field: `[N, ...]` each, in shared memory."""

    action: Array
    frames: Array
    final_frames: Array
    captures: Array
    """`[N, S]` simulator states, what a person would see."""
    env_reward: Array
    terminated: Array
    truncated: Array
    lost: Array

    @classmethod
    def of(cls, memory: int, num_envs: int, spec: EnvSpec, capture_size: int) -> Self:
        """In the file of that descriptor, which is made large enough."""
        shapes = {
            "action": ((), np.int64) if spec.discrete else ((spec.action_dim,), np.float32),
            "frames": (spec.frame_shape, np.float32),
            "final_frames": (spec.frame_shape, np.float32),
            "captures": ((capture_size,), np.float64),
            "env_reward": ((), np.float32),
            "terminated": ((), np.bool_),
            "truncated": ((), np.bool_),
            "lost": ((), np.bool_),
        }
        dtypes = [np.dtype((dtype, shape)) for shape, dtype in shapes.values()]
        # Whole cache lines: fields begin where numbers of any kind may.
        sizes = [-(-num_envs * dtype.itemsize // 64) * 64 for dtype in dtypes]
        os.ftruncate(memory, sum(sizes))
        buffer = mmap.mmap(memory, sum(sizes))
        starts = np.cumsum([0, *sizes[:-1]]).tolist()
        return cls(
            *(
                np.ndarray((num_envs, *dtype.shape), dtype.base, buffer, start)
                for dtype, start in zip(dtypes, starts, strict=True)
            )
        )


class ParallelEnvs:
    """`Envs` for a simulator whose captures are states, in so many processes."""

    def __init__(
        self, registration: Registration, num_envs: int, config: EnvConfig, *, seed: int, processes: int
    ) -> None:
        firsts = [num_envs * part // processes for part in range(processes + 1)]
        memory = shared_memory()
        try:
            # They import their libraries while this process makes its own environments.
            self._workers = [_worker(memory) for _ in range(processes - 1)]
            self._own = ControlEnvs(registration, firsts[1], config, seed=seed)
            self.num_envs = self.recordable = num_envs
            self.spec = self._own.spec
            capture_size = len(self._own.capture(0))
            self._block = Block.of(memory, num_envs, self.spec, capture_size)
            job = {"env_id": registration.id, "num_envs": num_envs, "config": asdict(config), "seed": seed}
            for worker, first, end in zip(self._workers, firsts[1:], firsts[2:], strict=False):
                worker.ask(json.dumps(job | {"first": first, "count": end - first}).encode())
        finally:
            os.close(memory)

    def reset(self) -> Array:
        for worker in self._workers:
            worker.ask(RESET)
        self._block.frames[: self._own.num_envs] = self._own.reset()
        self._wait()
        return np.array(self._block.frames)

    def step(self, action: Array) -> Step:
        own, block = self._own.num_envs, self._block
        block.action[:] = action
        for worker in self._workers:
            worker.ask(STEP)
        put(block, slice(0, own), self._own.step(action[:own]))
        self._wait()
        return Step(
            block.frames.copy(),
            block.env_reward.copy(),
            block.terminated.copy(),
            block.truncated.copy(),
            block.final_frames.copy(),
            block.lost.copy(),
        )

    def capture(self, env: int) -> Array:
        return self._own.capture(env) if env < self._own.num_envs else self._block.captures[env]

    def painter(self) -> Painter:
        return self._own.painter()

    def close(self) -> None:
        self._own.close()
        for worker in self._workers:
            worker.close()
        self._workers = []

    def _wait(self) -> None:
        for worker in self._workers:
            worker.answer()


def _worker(memory: int) -> Helper:
    """A process that plays some of the environments, once it is told which."""
    does = "played some of the environments (--env.processes 1 plays all of them in one)"
    return Helper("pairplay.envs.worker", memory, memory=memory, does=does, patience_s=GRACE_S)


def put(block: Block, envs: slice, step: Step) -> None:
    """Write down what these environments did."""
    block.frames[envs] = step.frames
    block.final_frames[envs] = step.final_frames
    block.env_reward[envs] = step.env_reward
    block.terminated[envs] = step.terminated
    block.truncated[envs] = step.truncated
    block.lost[envs] = step.lost
