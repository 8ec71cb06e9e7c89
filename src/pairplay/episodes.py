"""Add up what each episode earned, across rollouts. Knows no learning."""

from __future__ import annotations

from collections import deque

import numpy as np

from pairplay.types import BoolArray, FloatArray

# T steps, N environments


class EpisodeReturns:
    """Returns and lengths of the last 100 finished episodes, and the sum over everything seen."""

    def __init__(self, num_envs: int) -> None:
        self.running = np.zeros(num_envs, np.float64)
        self.length = np.zeros(num_envs, np.int64)
        self.finished: deque[tuple[float, int]] = deque(maxlen=100)
        self.total = 0.0

    def add(self, reward_TN: FloatArray, ended_TN: BoolArray) -> None:
        """Take in one rollout."""
        self.total += float(reward_TN.sum(dtype=np.float64))
        for reward_N, ended_N in zip(reward_TN, ended_TN, strict=True):
            self.running += reward_N
            self.length += 1
            for env in np.flatnonzero(ended_N):
                self.finished.append((float(self.running[env]), int(self.length[env])))
            self.running[ended_N] = 0.0
            self.length[ended_N] = 0

    @property
    def mean_return(self) -> float | None:
        """Mean return of the last 100 episodes; None before the first has ended."""
        return float(np.mean([r for r, _ in self.finished])) if self.finished else None

    @property
    def mean_length(self) -> float | None:
        """Mean length in steps of the last 100 episodes."""
        return float(np.mean([n for _, n in self.finished])) if self.finished else None

    def state(self) -> dict[str, object]:
        """What a checkpoint keeps. Running episodes are not among it: a resumed run begins new ones."""
        return {"finished": [list(episode) for episode in self.finished], "total": self.total}

    def load(self, state: dict[str, object]) -> None:
        """The inverse of `state`."""
        finished, total = state["finished"], state["total"]
        assert isinstance(finished, list)
        assert isinstance(total, float | int)
        self.finished.extend((float(r), int(n)) for r, n in finished)
        self.total = float(total)
