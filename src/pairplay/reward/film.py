"""Steps of segments as the networks take them: by index in frames that are stored once. Knows no network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pairplay.compressed import Compressed
from pairplay.types import Array, Comparison, IntArray, Segment


class Film(NamedTuple):
    """States by index in frames that are stored once, as `stack_frames` takes them."""

    frames: Tensor
    age: Tensor
    step: Tensor
    env: Tensor
    action: Tensor

    def split(self, most: int, threads: int = 1) -> list[Film]:
        """In pieces of at most so many states: equally many for each thread and equally large, so that none waits."""
        pieces = math.ceil(len(self.step) / (most * threads)) * threads
        pieces = max(1, min(pieces, len(self.step)))
        parts = zip(*(torch.tensor_split(index, pieces) for index in (self.step, self.env, self.action)), strict=True)
        return [self._replace(step=step, env=env, action=action) for step, env, action in parts]


@dataclass(frozen=True)
class Inputs:
    """What the networks are given for every step of some segments: made once, and looked at by row."""

    obs: Tensor
    action: Tensor
    first: Mapping[str, int]
    """The row of each segment's first step."""


SHELF_BYTES = {"cpu": 64 * 2**20, "cuda": 2 * 2**30}
"""Frames that a `Shelf` keeps: on a GPU those of the 3,000 latest answers on Atari, which take 1.1 GB, in the
processor's memory those of some 250 of Enduro."""


class Shelf:
    """The frames of segments where the networks compute, ready for them: the same clips are asked for again and again.

    To a GPU they are sent once, for sending them takes longer than learning from them. On a CPU those that are kept
    compressed are expanded once.
    """

    def __init__(self, device: torch.device, *, most_bytes: int | None = None) -> None:
        self._device = device
        self._most_bytes = SHELF_BYTES[device.type] if most_bytes is None else most_bytes
        self._bytes = 0
        self._kept: dict[str, Tensor] = {}
        """By segment id, the longest unused first."""

    def frames(self, segments: Sequence[Segment]) -> list[Tensor]:
        """`[K-1 + L, *F]` of each."""
        found = [self._frames(segment) for segment in segments]
        while self._bytes > self._most_bytes:
            self._bytes -= self._kept.pop(next(iter(self._kept))).nbytes
        return found

    def _frames(self, segment: Segment) -> Tensor:
        if self._device.type == "cpu" and not isinstance(segment.held, Compressed):
            return as_tensor(segment.held, self._device)
        kept = self._kept.pop(segment.id, None)
        if kept is None:
            kept = as_tensor(segment.frames, self._device)
            self._bytes += kept.nbytes
        self._kept[segment.id] = kept
        return kept


def as_tensor(array: Array, device: torch.device) -> Tensor:
    """The same numbers, and on the CPU the same memory."""
    # Arrays that come out of a database are read-only, and torch warns of those.
    return torch.from_numpy(np.require(array, requirements=["C", "W"])).to(device)


def thinned(segments: Sequence[Segment], stride: int) -> list[IntArray]:
    """Every stride-th step of each segment."""
    return [np.arange(0, len(segment), stride) for segment in segments]


def unique(comparisons: Sequence[Comparison]) -> tuple[dict[str, int], list[Segment]]:
    """The different segments of these comparisons and where each stands: one that is in several is evaluated once."""
    place: dict[str, int] = {}
    segments: list[Segment] = []
    for segment in (side for comparison in comparisons for side in (comparison.left, comparison.right)):
        if place.setdefault(segment.id, len(segments)) == len(segments):
            segments.append(segment)
    return place, segments
