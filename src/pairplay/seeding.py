"""Randomness as an argument: every generator is a function of (seed, stream, counter).

So the state of all randomness in a run is a few integers, and a resumed run draws what the
uninterrupted one would have drawn.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # seconds, which whoever needs no generator of torch's need not wait for
    import torch


def _entropy(seed: int, stream: str, counter: int) -> np.random.SeedSequence:
    # crc32 rather than hash(): Python salts string hashes anew in every process.
    return np.random.SeedSequence((seed, zlib.crc32(stream.encode()), counter))


def rng(seed: int, stream: str, counter: int = 0) -> np.random.Generator:
    """A NumPy generator for one purpose (`stream`) at one point (`counter`)."""
    return np.random.default_rng(_entropy(seed, stream, counter))


def int_seed(seed: int, stream: str, counter: int = 0) -> int:
    """A seed below 2³¹, for libraries that want an integer."""
    return int(_entropy(seed, stream, counter).generate_state(1)[0] >> 1)


def torch_rng(seed: int, stream: str, counter: int = 0, device: str | torch.device = "cpu") -> torch.Generator:
    """The same for torch."""
    import torch

    return torch.Generator(device=device).manual_seed(int_seed(seed, stream, counter))
