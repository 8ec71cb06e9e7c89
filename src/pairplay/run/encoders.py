"""Clips encoded by processes of their own. Knows neither queries nor environments.

A clip takes a hundred short calls, and for each of them a thread would need Python's lock, which the loop needs too.
"""

from __future__ import annotations

import json
import math
import os
import sys
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

import numpy as np

from pairplay.cores import step_back, take_what_is_left
from pairplay.helper import Helper, serve, shared_memory
from pairplay.run.clips import encode, save_clip
from pairplay.types import Picture

FIRST = 16
"""Clips of each process that somebody may be waiting for. Those after them come beside the play, and take what is left
of the cores."""
PATIENCE_S = 0.5
"""What is left is enough for a clip, which takes some 15 ms, unless a foreign program is busy on all cores. One that
takes so long is encoded by whoever asked for it."""


class _Encoder(NamedTuple):
    helper: Helper
    memory: int
    """Where it finds the pictures."""


class Encoders:
    """So many processes that encode clips and save them. Any thread may call, and gets one for itself."""

    def __init__(self, directory: Path, processes: int) -> None:
        self._directory = directory
        self._free: SimpleQueue[_Encoder] = SimpleQueue()
        for _ in range(processes):
            memory = shared_memory()
            # Nobody waits for what is under way when they are closed, and they may still be importing their libraries.
            helper = Helper(__name__, memory, directory, memory=memory, does="encoded clips", patience_s=0.0)
            self._free.put(_Encoder(helper, memory))

    def __call__(self, pictures: Picture, fps: float) -> str:
        """The name of the clip of `[L, H, W, 3]` pictures, once it is on disk."""
        encoder = self._free.get()
        try:
            if encoder.helper.idle():
                os.pwrite(encoder.memory, np.ascontiguousarray(pictures).data, 0)
                encoder.helper.ask(json.dumps({"shape": pictures.shape, "fps": fps}).encode())
                if encoder.helper.idle(PATIENCE_S):
                    return encoder.helper.answer().decode()
        finally:
            self._free.put(encoder)
        return save_clip(self._directory, encode(pictures, fps))

    def close(self) -> None:
        """To be called when nobody calls any more."""
        while not self._free.empty():
            encoder = self._free.get()
            encoder.helper.close()
            os.close(encoder.memory)


def _encode(command: bytes, memory: int, directory: Path, number: int) -> bytes:
    if number > FIRST:
        take_what_is_left()
    told = json.loads(command)
    shape = told["shape"]
    pictures = np.frombuffer(os.pread(memory, math.prod(shape), 0), np.uint8).reshape(shape)
    return save_clip(directory, encode(pictures, told["fps"])).encode()


if __name__ == "__main__":
    step_back()
    numbers = count(1)
    serve(int(sys.argv[1]), lambda command: _encode(command, int(sys.argv[2]), Path(sys.argv[3]), next(numbers)))
