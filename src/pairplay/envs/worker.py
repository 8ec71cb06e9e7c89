"""A process that plays some environments for `pairplay.envs.parallel`, until nobody can speak to it any more.

Started as `python -m pairplay.envs.worker CONNECTION MEMORY`, with the descriptors of both.
"""

from __future__ import annotations

import json
import logging
import sys

import numpy as np

from pairplay.config import EnvConfig
from pairplay.envs import headless
from pairplay.envs.control import ControlEnvs
from pairplay.envs.make import find_registration
from pairplay.envs.parallel import RESET, Block, put
from pairplay.helper import serve


class Part:
    """The environments of this process."""

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self.envs: ControlEnvs | None = None
        """None until it is told which."""

    def do(self, command: bytes) -> bytes:
        if self.envs is None:
            self._begin(command)
        elif command == RESET:
            self.block.frames[self.rows] = self.envs.reset()
            self._capture(self.envs)
        else:
            put(self.block, self.rows, self.envs.step(self.block.action[self.rows]))
            self._capture(self.envs)
        return b""

    def _begin(self, job: bytes) -> None:
        told = json.loads(job)
        first, count = told["first"], told["count"]
        registration, config = find_registration(told["env_id"]), EnvConfig(**told["config"])
        envs = ControlEnvs(registration, count, config, seed=told["seed"], first=first)
        self.rows = slice(first, first + count)
        self.block = Block.of(self.memory, told["num_envs"], envs.spec, len(envs.capture(0)))
        self.envs = envs

    def _capture(self, envs: ControlEnvs) -> None:
        self.block.captures[self.rows] = np.stack([envs.capture(env) for env in range(envs.num_envs)])


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    headless.prepare()
    serve(int(sys.argv[1]), Part(int(sys.argv[2])).do)
