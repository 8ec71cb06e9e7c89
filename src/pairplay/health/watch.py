"""Watch over one run: predict each answer before it is learnt, measure, and hold the alarms. Changes nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from pairplay.health.agreement import RECENT, Agreement, Interval, agreement, calibration, correlation, out_of_bag
from pairplay.health.alarms import PATIENCE, Alarms, Vitals
from pairplay.labels.records import AnswerRow
from pairplay.run.predictions import Prediction, PredictionLog
from pairplay.types import BoolArray, Comparison, FloatArray, Rollout

# T steps, N environments, L segment length, E ensemble members, D comparisons, P pieces of a rollout

Metrics = dict[str, float | None]

EARLIER = 200
"""Answers that the moving window is compared with, and those that decide whether anything was learnt."""
MEASURE_EVERY = 4
"""Iterations between two measurements on labelled clips, or more, until a model that learns from few comparisons in
each has met as many as are measured: one costs as much as some thirty visits of Enduro's fit."""
MEASURED = 96
"""Comparisons in one such measurement, spread evenly over all of them."""
REMEMBERED = 8
"""Measurements of late that are kept, to see whether what is held out is judged worse than it was."""


class Estimate(Protocol):
    """Rewards and how far the members disagree about them, in the unit that the policy is paid in."""

    @property
    def mean(self) -> FloatArray: ...

    @property
    def std(self) -> FloatArray: ...


class Model(Protocol):
    """What the watch asks of a reward model. Nothing of it may change by being asked."""

    def probabilities(self, comparisons: Sequence[Comparison]) -> FloatArray:
        """`[E, D]` each member's P[left]."""
        ...

    def judge(self, comparisons: Sequence[Comparison]) -> tuple[FloatArray, Sequence[Estimate]]:
        """The same, and the rewards of each different segment's steps, or of some of them."""
        ...

    def rollout_rewards(self) -> Sequence[float]:
        """The mean reward of each of the latest rollouts, oldest first, by the parameters of now."""
        ...


@dataclass(frozen=True)
class _Labelled:
    """The last measurement on labelled clips."""

    held_out: Agreement
    low: float
    """The 1 % and 99 % points of the rewards on labelled segments."""
    high: float
    std: float
    """Their standard deviation."""
    spread: float
    """Mean ensemble spread there."""


class Watch:
    """Called once an iteration: after the rollout was relabelled, and after the model was fitted."""

    def __init__(
        self,
        log: PredictionLog,
        *,
        held_out: Callable[[Sequence[Comparison]], BoolArray],
        target_std: float | None,
        piece: int,
    ) -> None:
        """`held_out` gives `[E, D]`: which member never trains on which comparison. `target_std` is the spread that
        rewards are scaled to, None where they are not. `piece` is how many steps of a rollout make one point of the
        correlation."""
        self.log = log
        self.alarms = Alarms()
        self._held_out = held_out
        self._target_std = target_std
        self._piece = piece
        self._looks = 0
        self._visits = 0  # since the last measurement
        self._measured: deque[_Labelled] = deque(maxlen=REMEMBERED)
        self._news = False  # whether the last of these is still to be told

    def predict(
        self,
        model: Model,
        comparisons: Sequence[Comparison],
        answer: Callable[[int], AnswerRow | None],
        *,
        step: int,
        trained: bool,
    ) -> None:
        """Record what the model expects of the answers it has not met. `trained` says whether it has met any.

        `answer` gives the one to a query that counts, if there is one.
        """
        new = [comparison for comparison in comparisons if comparison.key not in self.log]
        if not new:
            return
        before = len(self.log) if trained else 0
        p_ED = model.probabilities(new)
        self.log.write(
            Prediction(
                query_id=comparison.key,
                step=step,
                strategy=row.strategy,
                labeler=row.labeler,
                kind=row.kind,
                answer=row.answer,
                mu=comparison.mu,
                p=tuple(float(p) for p in p_E),
                answers_before=before,
            )
            # An answer may have been withdrawn since the comparisons were read: it is predicted when it comes back.
            for comparison, p_E in zip(new, p_ED.T, strict=True)
            if (row := answer(comparison.key)) is not None and row.mu == comparison.mu
        )

    def measure(self, model: Model, comparisons: Sequence[Comparison], *, visits: int) -> None:
        """Measure the model on labelled clips, before every fourth look, if it has met enough of them since.

        It has just been fitted with so many `visits` to comparisons.
        """
        self._visits += visits
        due = self._looks % MEASURE_EVERY == 0 and self._visits >= min(MEASURED, len(comparisons))
        if comparisons and (due or not self._measured):
            self._measured.append(self._measure(model, comparisons))
            self._visits, self._news = 0, True

    def look(
        self,
        model: Model,
        estimate: Estimate,
        rollout: Rollout,
        *,
        step: int,
    ) -> Metrics:
        """Decide on alarms, and give the figures of this iteration. `estimate` is the relabelled rollout.

        Reads `rollout.env_reward` for `watch/return_correlation`, and tells nobody who learns.
        """
        news, self._news = self._news, False
        self._looks += 1
        labelled, reward = self._labelled, estimate.mean
        outside = None if labelled is None else float(((reward < labelled.low) | (reward > labelled.high)).mean())
        spread = float(estimate.std.mean())
        # Where nothing scales rewards, narrow behaviour has narrow ones: clips of all kinds tell what none would be.
        unit = self._target_std if self._target_std is not None else labelled.std if labelled else None
        rewards = model.rollout_rewards()
        predictions = self.log.predictions
        known = informed(predictions)
        same = [prediction for prediction in known if prediction.strategy == known[-1].strategy]
        recent = agree(known[-RECENT:])
        self.alarms.look(
            Vitals(
                step=step,
                rewards=rewards,
                rewards_since=max(0, step - len(rewards) * reward.size),
                recent=agree(same[-RECENT:]),
                earlier=agree(same[-RECENT - EARLIER : -RECENT]),
                prequential=agree(known[-EARLIER:]),
                held_out=labelled.held_out if labelled else None,
                held_out_before=self._measured[0].held_out if labelled else None,
                outside_share=outside,
                reward_std=_part(float(reward.std()), unit),
                spread=_part(spread, unit) if predictions and len(predictions[-1].p) > 1 else None,
            )
        )
        predicted, true = (pieces(of, self._piece) for of in (reward, rollout.env_reward))
        p, mu = predictions_and_answers(known[-EARLIER:])
        return (
            no_metrics()
            | _named("prequential", recent)
            | (_named("held_out", labelled.held_out) if labelled and news else {})
            | {
                "watch/calibration_error": calibration(p, mu).error,
                "watch/return_correlation": correlation(predicted, true).spearman,
                "watch/outside_labelled_range": outside,
                "watch/spread_ratio": spread / labelled.spread if labelled and labelled.spread > 0 else None,
            }
            | {f"alarm/{alarm.code}": 1.0 for alarm in self.alarms.in_force}
        )

    @property
    def held_out(self) -> Agreement | None:
        """The last measurement by members that never train on what they judge; None before the first."""
        return self._labelled.held_out if self._labelled else None

    @property
    def _labelled(self) -> _Labelled | None:
        return self._measured[-1] if self._measured else None

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, as JSON. The predictions have a file of their own."""
        measured = [asdict(labelled) for labelled in self._measured]
        counts = {"looks": self._looks, "visits": self._visits}
        return {"alarms": self.alarms.state(), **counts, "measured": measured, "news": self._news}

    def load(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`."""
        self.alarms.load(state["alarms"])
        self._looks, self._visits = int(state["looks"]), int(state.get("visits", 0))
        self._measured.clear()
        for saved in state.get("measured", ()):  # not in checkpoints of before: then it is measured anew
            of = Agreement(**saved["held_out"] | {"accuracy": Interval(*saved["held_out"]["accuracy"])})
            self._measured.append(_Labelled(**saved | {"held_out": of}))
        self._news = bool(state.get("news"))

    def close(self) -> None:
        self.log.close()

    def _measure(self, model: Model, comparisons: Sequence[Comparison]) -> _Labelled:
        chosen = evenly(comparisons, MEASURED)
        p_ED, estimates = model.judge(chosen)
        p_D = out_of_bag(p_ED, self._held_out(chosen))
        known = ~np.isnan(p_D)
        mu_D = np.array([comparison.mu for comparison in chosen])
        rewards = np.concatenate([estimate.mean for estimate in estimates])
        low, high = np.quantile(rewards, (0.01, 0.99))
        spread = float(np.concatenate([estimate.std for estimate in estimates]).mean())
        held_out = agreement(p_D[known], mu_D[known])
        return _Labelled(held_out, float(low), float(high), float(rewards.std()), spread)


def no_metrics() -> Metrics:
    """Every name with nothing measured and no alarm: what an iteration records before the model has learnt anything."""
    nothing = Agreement(0, Interval(None, None, None), None, 0, None)
    names = ("calibration_error", "return_correlation", "outside_labelled_range", "spread_ratio")
    quiet = {f"alarm/{code}": 0.0 for code in PATIENCE}
    return (
        _named("prequential", nothing) | _named("held_out", nothing) | {f"watch/{name}": None for name in names} | quiet
    )


def informed(predictions: Iterable[Prediction]) -> list[Prediction]:
    """Those of a model that had learnt something: what it says before that is noise, and right half of the time."""
    return [prediction for prediction in predictions if prediction.answers_before > 0]


def predictions_and_answers(predictions: Sequence[Prediction]) -> tuple[FloatArray, FloatArray]:
    """P[left] averaged over the members, and μ; `[D]` each."""
    p_D = np.array([sum(prediction.p) / len(prediction.p) for prediction in predictions], np.float32)
    return p_D, np.array([prediction.mu for prediction in predictions], np.float32)


def agree(predictions: Sequence[Prediction]) -> Agreement:
    """How these fared."""
    return agreement(*predictions_and_answers(predictions))


def pieces(reward_TN: FloatArray, length: int) -> FloatArray:
    """`[P]` sums over whole pieces of `length` steps (or of a rollout that is shorter), what is left over left out."""
    length = min(length, len(reward_TN))
    whole = len(reward_TN) // length * length
    sums: FloatArray = reward_TN[:whole].reshape(-1, length, reward_TN.shape[1]).sum(1).ravel()
    return sums


def evenly(comparisons: Sequence[Comparison], most: int) -> list[Comparison]:
    """At most `most`, from the first to the last: labels of all ages, and the same ones whenever asked."""
    if len(comparisons) <= most:
        return list(comparisons)
    return [comparisons[i] for i in np.linspace(0, len(comparisons) - 1, most).round().astype(int)]


def _part(value: float, whole: float | None) -> float | None:
    """How much of the whole it is; 0 of nothing, None of what is not known."""
    return None if whole is None else value / whole if whole > 0 else 0.0


def _named(name: str, of: Agreement) -> Metrics:
    return {
        f"watch/{name}_accuracy": of.accuracy.value,
        f"watch/{name}_accuracy_low": of.accuracy.low,
        f"watch/{name}_accuracy_high": of.accuracy.high,
        f"watch/{name}_claimed": of.claimed,
        f"watch/{name}_loss": of.loss,
    }
