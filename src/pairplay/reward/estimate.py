"""What an ensemble says of the reward of some steps."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from dataclasses import dataclass

import numpy as np

from pairplay.types import FloatArray

# T steps, N environments, L segment length


@dataclass(frozen=True)
class RewardEstimate:
    """The reward that the policy learns from, and how far the members disagree about it."""

    mean: FloatArray
    """`[T, N]` of a rollout or `[L]` of a segment: normalised predictions averaged over the members."""
    std: FloatArray
    """Their standard deviation over the members, in the same unit."""

    def split(self, pieces: Sequence[Sized]) -> list[RewardEstimate]:
        """Those of consecutive pieces, as long as these. Split when all are here, they cost a GPU a single wait."""
        ends = np.cumsum([len(piece) for piece in pieces])[:-1]
        return [RewardEstimate(*of) for of in zip(np.split(self.mean, ends), np.split(self.std, ends), strict=True)]

    def optimistic(self, deviations: float) -> FloatArray:
        """The mean, and so many standard deviations more."""
        return self.mean + np.float32(deviations) * self.std
