"""Steps of segments as the networks take them: by index in frames that are stored once. Knows no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from torch import Tensor

from pairplay.types import Comparison, IntArray, Segment


class Film(NamedTuple):
    """States by index in frames that are stored once, as `stack_frames` takes them."""

    frames: Tensor
    age: Tensor
    step: Tensor
    env: Tensor
    action: Tensor


@dataclass(frozen=True)
class Inputs:
    """What the networks are given for every step of some segments: made once, and looked at by row."""

    obs: Tensor
    action: Tensor
    first: Mapping[str, int]
    """The row of each segment's first step."""


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
