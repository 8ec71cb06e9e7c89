"""What a teacher knows of the run beside the two clips: what episodes earn now. Knows no trainer."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

LAST_EPISODES = 10
"""B-Pref's teachers judge what is usual by so many of the last episodes."""


@dataclass(frozen=True)
class TeacherContext:
    """How the agent fares by the true reward. Given anew each time, so a teacher has nothing to remember or forget."""

    mean_return: float | None = None
    """Mean true return of the last ten episodes; None until one has ended."""
    mean_length: float | None = None
    """Their mean length in agent steps."""

    @classmethod
    def of(cls, episodes: Iterable[tuple[float, int]]) -> TeacherContext:
        """From (return, length) of the finished episodes, oldest first: the last ten count."""
        last = list(episodes)[-LAST_EPISODES:]
        if not last:
            return cls()
        return cls(math.fsum(earned for earned, _ in last) / len(last), sum(length for _, length in last) / len(last))

    @property
    def step_reward(self) -> float | None:
        """What a usual step earns; None until an episode has ended."""
        if self.mean_return is None or not self.mean_length:
            return None
        return self.mean_return / self.mean_length
