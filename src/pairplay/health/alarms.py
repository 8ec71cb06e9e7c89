"""When to warn a person that the reward model, or the agent's use of it, has gone wrong. Decides by numbers alone.

Each alarm needs evidence that chance does not give in a whole run, for it is looked for in every iteration; it stays
until its cause has been away for a few iterations, so that it does not flicker.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal, NamedTuple

from pairplay.health.agreement import Agreement

Code = Literal["exploited", "out_of_range", "constant_reward", "collapsed_ensemble", "chance"]

LEAST_ANSWERS = 50
"""Fewer cannot tell a model that knows something from a coin."""
GOOD = 0.7
"""An accuracy that a model which learnt from careful answers reaches; the test of `chance` is to rule it out."""
FALL_Z = 3.5
"""One-sided odds of 1 in 4,000 for each look, since a run has hundreds of looks."""
LEAST_RECENT = 20
"""Answers needed on either side of a fall."""
RISE_Z = 2.0
OUTSIDE = 0.25
"""Share of rewards outside the labelled 1–99 % range that is too many; 2 % are outside by definition."""
FLAT = 0.01
"""A spread below this part of its usual size is none."""
PATIENCE: Mapping[Code, int] = {
    "exploited": 1,  # its tests span many iterations already
    "out_of_range": 5,
    "constant_reward": 3,
    "collapsed_ensemble": 3,
    "chance": 3,
}
"""Iterations in a row before an alarm is raised."""
CALM = 5
"""Iterations in a row without the cause before it is taken back."""


class Alarm(NamedTuple):
    """Something a person should know and can act on."""

    code: Code
    message: str
    """One sentence: what is seen, what it may mean, what to do."""
    since_step: int


@dataclass(frozen=True)
class Vitals:
    """What one iteration showed. None is for what could not be measured."""

    step: int
    rewards: Sequence[float] = ()
    """Mean predicted reward of each of the latest rollouts, oldest first, all by one set of parameters."""
    rewards_since: int = 0
    """The step at which the first of those rollouts began."""
    recent: Agreement | None = None
    """Answers of the moving window, predicted before training."""
    earlier: Agreement | None = None
    """The same for the answers before those, pairs chosen in the same way: other pairs may be harder."""
    prequential: Agreement | None = None
    """The same for all of late, as many as are worth asking whether the model has learnt anything at all."""
    held_out: Agreement | None = None
    """Answers as predicted by the members that never train on them."""
    held_out_before: Agreement | None = None
    """The same some measurements ago."""
    outside_share: float | None = None
    """Share of on-policy rewards outside the 1–99 % range of those on labelled segments."""
    reward_std: float | None = None
    """Of the predicted rewards of the rollout, as a part of the spread they are scaled to, or of that on labelled
    clips where nothing scales them."""
    spread: float | None = None
    """Mean ensemble spread in the same unit; None for a single member, which has none."""


class Alarms:
    """Looks at each iteration and holds the alarms in force. Its state goes into a checkpoint."""

    def __init__(self) -> None:
        self._streak: dict[str, int] = {}
        self._calm: dict[str, int] = {}
        self._in_force: dict[str, Alarm] = {}

    @property
    def in_force(self) -> tuple[Alarm, ...]:
        """Oldest first."""
        return tuple(self._in_force.values())

    def look(self, vitals: Vitals) -> tuple[Alarm, ...]:
        """Take in one iteration; the alarms in force after it."""
        seen = self._seen(vitals)
        for code, patience in PATIENCE.items():
            if (message := seen.get(code)) is not None:
                self._calm[code] = 0
                self._streak[code] = self._streak.get(code, 0) + 1
                old = self._in_force.get(code)
                if old is not None or self._streak[code] >= patience:
                    since = old.since_step if old else vitals.step
                    self._in_force[code] = Alarm(code, message, since)
            else:
                self._streak[code] = 0
                self._calm[code] = self._calm.get(code, 0) + 1
                if self._calm[code] >= CALM:
                    self._in_force.pop(code, None)
        return self.in_force

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, as JSON."""
        return {
            "streak": dict(self._streak),
            "calm": dict(self._calm),
            "in_force": [list(alarm) for alarm in self.in_force],
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`."""
        self._streak, self._calm = dict(state["streak"]), dict(state["calm"])
        alarms = [Alarm(code, str(message), int(step)) for code, message, step in state["in_force"] if code in PATIENCE]
        self._in_force = {alarm.code: alarm for alarm in alarms}

    def _seen(self, vitals: Vitals) -> dict[Code, str]:
        found: dict[Code, str | None] = {
            "exploited": _exploited(vitals),
            "out_of_range": _out_of_range(vitals),
            "constant_reward": _constant_reward(vitals),
            "collapsed_ensemble": _collapsed_ensemble(vitals),
            "chance": _chance(vitals),
        }
        return {code: message for code, message in found.items() if message is not None}


def _exploited(vitals: Vitals) -> str | None:
    # New answers tell of new play; once nobody answers any more, only those that members hold out can.
    pairs = (vitals.earlier, vitals.recent), (vitals.held_out_before, vitals.held_out)
    fallen = next(((before, now) for before, now in pairs if before and now and fell(before, now)), None)
    if fallen is None or kendall_z(vitals.rewards) < RISE_Z:
        return None
    before, now = fallen
    return (
        f"Predicted reward has risen since step {vitals.rewards_since:,} while its agreement with the answers fell "
        f"from {_percent(before.accuracy.value)} to {_percent(now.accuracy.value)}: the agent may exploit "
        "mistakes of the reward model, so answer more pairs of its newest clips before you trust what it does."
    )


def fell(earlier: Agreement, recent: Agreement) -> bool:
    """Whether the model is right less often than before, by more than chance and more than harder pairs explain.

    What is compared is accuracy less the accuracy that the model itself expected: on pairs that are harder, and
    known to be, both go down together.
    """
    if min(earlier.strict, recent.strict) < LEAST_RECENT:
        return False
    return _surplus(earlier)[0] - _surplus(recent)[0] > FALL_Z * math.sqrt(_surplus(earlier)[1] + _surplus(recent)[1])


def _surplus(of: Agreement) -> tuple[float, float]:
    """Accuracy less what was claimed, and its variance."""
    assert of.accuracy.value is not None
    assert of.claimed is not None
    # Two more right and two more wrong: no run of luck has variance 0 (Agresti & Coull 1998).
    share = (of.accuracy.value * of.strict + 2.0) / (of.strict + 4.0)
    return of.accuracy.value - of.claimed, share * (1.0 - share) / of.strict


def kendall_z(series: Sequence[float]) -> float:
    """How surely a series rises: the statistic of Mann and Kendall, normal under no trend. 0 for fewer than six."""
    n = len(series)
    if n < 6:
        return 0.0
    score = sum((later > sooner) - (later < sooner) for sooner, later in combinations(series, 2))
    return (score - (score > 0) + (score < 0)) / math.sqrt(n * (n - 1) * (2 * n + 5) / 18)


def _out_of_range(vitals: Vitals) -> str | None:
    if vitals.outside_share is None or vitals.outside_share <= OUTSIDE:
        return None
    return (
        f"{_percent(vitals.outside_share)} of the rewards that the agent gets now lie outside the range of those in "
        "the clips you judged: it is where the answers do not reach, so answer some pairs of its newest clips."
    )


def _constant_reward(vitals: Vitals) -> str | None:
    if vitals.reward_std is None or vitals.reward_std > FLAT:
        return None
    return (
        "The reward model gives every step the same reward, so the agent has nothing to learn from: check that the "
        "answers are not nearly all ties, and begin again with a smaller --reward-model.learning-rate if it stays so."
    )


def _collapsed_ensemble(vitals: Vitals) -> str | None:
    if vitals.spread is None or vitals.reward_std is None or vitals.reward_std <= FLAT:
        return None
    if vitals.spread > FLAT * vitals.reward_std:
        return None
    return (
        "All members of the reward ensemble predict the same, so its doubt says nothing and pairs are chosen blindly: "
        "begin again with --reward-model.bootstrap if it was off, or choose pairs with --queries.strategy uniform."
    )


def _chance(vitals: Vitals) -> str | None:
    of = vitals.prequential
    if of is None or of.strict < LEAST_ANSWERS or not _like_a_coin(of):
        return None
    held = vitals.held_out
    if held is not None and held.strict >= LEAST_ANSWERS // 2 and not _like_a_coin(held):
        return None
    return (
        f"Of {of.strict} answers the reward model foresaw {_percent(of.accuracy.value)}, no more than a coin would: "
        "check that the question is clear and that left and right were answered with care, then undo or add answers."
    )


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f} %"


def _like_a_coin(of: Agreement) -> bool:
    """Chance cannot be ruled out, and a good model can."""
    low, high = of.accuracy.low, of.accuracy.high
    return low is not None and high is not None and low <= 0.5 and high < GOOD
