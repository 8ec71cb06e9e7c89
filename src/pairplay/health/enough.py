"""When more answers no longer change how the model ranks what the agent does: "you can stop now". Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pairplay.health.agreement import correlation, wilson
from pairplay.types import Array

# S segments

LEAST_SEGMENTS = 20
"""A ranking of fewer says nothing."""


@dataclass(frozen=True)
class Check:
    """What one comparison of two rankings found."""

    answers: int
    correlation: float
    """Spearman's, of the returns predicted at the last check and now."""
    top: float
    """Share of the best quarter of then that is in the best quarter of now."""
    accuracy: float
    """Lower end of the 95 % interval of the accuracy on held-out answers."""


class Enough:
    """Watches a ranking. `due`, then `check`; `is_enough` says what follows from the checks so far."""

    def __init__(
        self, *, least: int = 100, checks: int = 3, steady: float = 0.95, top: float = 0.8, share: float = 0.05
    ) -> None:
        self.least = least
        """Answers before which it is never enough."""
        self.checks = checks
        """Checks in a row that have to pass."""
        self.steady = steady
        self.top = top
        self.share = share
        """From one check to the next come this share more answers, and ten at least."""
        self.watched: dict[str, float] = {}
        """The segments whose rank is compared at the next check, with their returns as they were predicted."""
        self.last: Check | None = None
        self._answers = 0
        self._passed = 0
        self._since = 0

    def due(self, answers: int, visits: int) -> bool:
        """Whether there are enough new answers for a check, and it says something: with `visits` to answers since the
        last one, the model has met each about once. Before that it ranks as it did, whatever the answers say.
        """
        new = not self.watched or answers >= self._answers + max(10, math.ceil(self.share * self._answers))
        return new and visits >= answers

    def check(
        self, *, answers: int, now: Mapping[str, float], recent: Mapping[str, float], right: float, judged: float
    ) -> bool:
        """Compare, and watch `recent` from here on. Whether it is enough.

        `now` holds the returns that the model predicts at present for the segments of `watched`, as far as they are
        still at hand; `recent` those of the latest behaviour. `right` of `judged` held-out answers were predicted: a
        model that has learnt nothing ranks steadily too.
        """
        both = sorted(self.watched.keys() & now.keys())
        if len(both) < LEAST_SEGMENTS:
            # Too few to compare: of a run that was resumed most are gone. That is no news of what the answers do.
            self.watched, self._answers = dict(recent), answers
            return self.is_enough
        before_S, now_S = (np.array([returns[id] for id in both]) for returns in (self.watched, now))
        found = Check(
            answers,
            correlation(before_S, now_S).spearman or 0.0,
            top_agreement(before_S, now_S),
            wilson(right, judged).low or 0.0,
        )
        is_steady = found.correlation >= self.steady and found.top >= self.top and found.accuracy > 0.5
        if is_steady and self._passed == 0:
            self._since = self._answers
        self._passed = self._passed + 1 if is_steady else 0
        self.last = found
        self.watched = dict(recent)
        self._answers = answers
        return self.is_enough

    @property
    def is_enough(self) -> bool:
        return self._passed >= self.checks and self._answers >= self.least

    @property
    def sentence(self) -> str | None:
        """For the person, when it is enough."""
        if not self.is_enough:
            return None
        latest = self._answers - self._since
        return f"You can stop now: the last {latest} answers changed little in what the agent aims at."

    def state(self) -> dict[str, Any]:
        """JSON for a checkpoint."""
        return {
            "watched": dict(self.watched),
            "answers": self._answers,
            "passed": self._passed,
            "since": self._since,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` described. `last` is for watching only and is not kept."""
        self.watched = {id: float(value) for id, value in state["watched"].items()}
        self._answers, self._passed, self._since = state["answers"], state["passed"], state["since"]
        self.last = None


def top_agreement(before_S: Array, now_S: Array) -> float:
    """Share of the best quarter of then, rounded up, that is in the best quarter of now; 0 of nothing."""
    quarter = math.ceil(len(before_S) / 4)
    best = [set(np.argsort(-value_S, kind="stable")[:quarter].tolist()) for value_S in (before_S, now_S)]
    return len(best[0] & best[1]) / quarter if quarter else 0.0
