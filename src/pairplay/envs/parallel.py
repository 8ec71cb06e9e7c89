"""Environments spread over processes: for simulators that take longer over a step than another process to hear of it.

The first few are played here, the others by `pairplay.envs.worker`. What they did lies in memory that all share, so a
step costs each worker one word and its answer. Each environment plays what it would play in a single process.
"""

from __future__ import annotations

import json
import mmap
import os
import socket
import subprocess
import sys
import tempfile
import weakref
from dataclasses import asdict
from multiprocessing.connection import Connection
from typing import NamedTuple, Self

import numpy as np
from gymnasium.envs.registration import EnvSpec as Registration

from pairplay.config import EnvConfig
from pairplay.envs.base import Painter
from pairplay.envs.control import ControlEnvs
from pairplay.types import Array, EnvSpec, Step, UserError

# N environments, A action dimensions, S numbers in a simulator state

STEP, RESET = b"step", b"reset"
"""What a worker is told; its first word is which environments are its own. It answers nothing, or what went wrong."""
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
        memory = _memory()
        try:
            # They import their libraries while this process makes its own environments.
            self._workers = [_Worker(memory) for _ in range(processes - 1)]
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
        return self._own.capture(env) if env < self._own.num_envs else self._block.captures[env].copy()

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


def put(block: Block, envs: slice, step: Step) -> None:
    """Write down what these environments did."""
    block.frames[envs] = step.frames
    block.final_frames[envs] = step.final_frames
    block.env_reward[envs] = step.env_reward
    block.terminated[envs] = step.terminated
    block.truncated[envs] = step.truncated
    block.lost[envs] = step.lost


class _Worker:
    """A process that plays some of the environments, as seen from here. It ends when nobody can speak to it any more.

    Not by `multiprocessing`: its children import the program that was started, which need not expect that.
    """

    def __init__(self, memory: int) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            words = [sys.executable, "-m", "pairplay.envs.worker", str(theirs.fileno()), str(memory)]
            # In a session of its own: Ctrl-C is for the run, which ends its workers when it has saved.
            self._process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(), memory), start_new_session=True
            )
        self._connection = Connection(ours.detach())
        self._asked = False
        # Whoever forgets to close environments should not be left with their processes.
        self._end = weakref.finalize(self, _end, self._connection, self._process)

    def ask(self, command: bytes) -> None:
        """Give it something to do, once it has done what it was asked before."""
        self.answer()
        try:
            self._connection.send_bytes(command)
        except OSError as error:
            raise self._death() from error
        self._asked = True

    def answer(self) -> None:
        """Wait until it has done what it was asked. Raises what went wrong there."""
        if not self._asked:
            return
        self._asked = False
        try:
            wrong = self._connection.recv_bytes()
        except (EOFError, OSError) as error:
            raise self._death() from error
        if wrong:
            said = json.loads(wrong)
            raise UserError(said["text"]) if said["users"] else RuntimeError(said["text"])

    def close(self) -> None:
        self._end()

    def _death(self) -> ChildProcessError:
        return ChildProcessError(
            f"a process that played some of the environments has ended (exit code {self._process.wait(GRACE_S)}). "
            "Resume the run; with --env.processes 1 all are played in one process"
        )


def _end(connection: Connection, process: subprocess.Popen[bytes]) -> None:
    connection.close()
    try:
        process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _memory() -> int:
    """The descriptor of a file that no folder shows, in memory where the system can."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("pairplay-envs")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
