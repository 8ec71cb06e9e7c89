"""How many answers should have been asked for by now. A pure function of the time."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pairplay.types import UserError


@dataclass(frozen=True)
class LabelSchedule:
    """A budget of labels over a run: an initial share at once, the rest at a rate ∝ c / (T + c) that falls with time.

    Christiano et al. 2017, appendix A: what is learnt late is worth fewer questions than what is learnt early.
    """

    budget: int
    total_timesteps: int
    initial_share: float
    anneal_steps: float
    """c: after so many steps the rate has halved."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.initial_share <= 1.0:
            raise UserError(f"initial_share={self.initial_share} is no share: use a number from 0 to 1")
        if not 0.0 < self.anneal_steps < math.inf:
            raise UserError(f"anneal_steps={self.anneal_steps}: use a positive, finite number of steps")

    def target(self, timesteps: int) -> int:
        """Labels asked for in all by `timesteps`: above 0 from the start, never falling, all at the end."""
        if timesteps >= self.total_timesteps:
            return self.budget
        c = self.anneal_steps
        # ∫ c / (T + c) dT = c · log(1 + T / c), scaled to end at 1.
        elapsed = math.log1p(timesteps / c) / math.log1p(self.total_timesteps / c)
        initial = min(self.budget, max(1, math.ceil(self.initial_share * self.budget)))
        return initial + math.floor((self.budget - initial) * elapsed)

    def next_due(self, timesteps: int) -> int | None:
        """The first step after `timesteps` at which `target` is higher; None if it never is."""
        now = self.target(timesteps)
        if now >= self.budget:
            return None
        low, high = timesteps, self.total_timesteps
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.target(middle) <= now else (low, middle)
        return high
