"""A process that plays some environments for `pairplay.envs.parallel`, until nobody can speak to it any more.

Started as `python -m pairplay.envs.worker CONNECTION MEMORY`, with the descriptors of both.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection

import numpy as np

from pairplay.config import EnvConfig
from pairplay.envs import headless
from pairplay.envs.control import ControlEnvs
from pairplay.envs.make import find_registration
from pairplay.envs.parallel import RESET, Block, put
from pairplay.types import UserError


class Part:
    """The environments of this process."""

    def __init__(self, job: bytes, memory: int) -> None:
        told = json.loads(job)
        first, count = told["first"], told["count"]
        self.envs = ControlEnvs(
            find_registration(told["env_id"]), count, EnvConfig(**told["config"]), seed=told["seed"], first=first
        )
        self.rows = slice(first, first + count)
        self.block = Block.of(memory, told["num_envs"], self.envs.spec, len(self.envs.capture(0)))

    def do(self, command: bytes) -> None:
        if command == RESET:
            self.block.frames[self.rows] = self.envs.reset()
        else:
            put(self.block, self.rows, self.envs.step(self.block.action[self.rows]))
        self.block.captures[self.rows] = np.stack([self.envs.capture(env) for env in range(self.envs.num_envs)])


def serve(connection: Connection, memory: int) -> None:
    """Do what is asked, and answer when it is done: with nothing, or with what went wrong."""
    part: Part | None = None
    while True:
        command = connection.recv_bytes()
        wrong = b""
        try:
            if part is None:
                part = Part(command, memory)
            else:
                part.do(command)
        except UserError as error:
            wrong = json.dumps({"users": True, "text": str(error)}).encode()
        except Exception:  # noqa: BLE001 - whatever it is, the run has to hear of it
            wrong = json.dumps({"users": False, "text": traceback.format_exc()}).encode()
        connection.send_bytes(wrong)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    headless.prepare()
    # The other side is gone: it may have ended, or have been killed, in the middle of a step.
    with suppress(EOFError, ConnectionError):
        serve(Connection(int(sys.argv[1])), int(sys.argv[2]))
