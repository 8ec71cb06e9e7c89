"""All that watches the reward model during a run, and the one sentence that the person is told of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from pairplay.config import TrainConfig
from pairplay.health.enough import Enough
from pairplay.health.untaught import untaught
from pairplay.health.watch import Estimate, Metrics, Watch, no_metrics
from pairplay.labels.records import AnswerRow, Counts
from pairplay.reward.fit import split_of
from pairplay.reward.model import RewardModel
from pairplay.reward.split import Splitter
from pairplay.run.layout import RunDir
from pairplay.run.predictions import PredictionLog
from pairplay.types import Comparison, Rollout, Segment

RANKED = 48
"""Of the latest segments, whose ranking tells whether more answers change anything."""


class _Ranking(NamedTuple):
    """How a fitted model ranks behaviour: the returns that it predicts, by segment."""

    answers: int
    now: Mapping[str, float]
    """Of the segments that were ranked at the last look."""
    recent: Mapping[str, float]
    """Of the latest, which will be ranked at the next one."""


class Oversight:
    """Once an iteration: predict new answers, measure, raise alarms, and see whether more answers are of use."""

    def __init__(self, config: TrainConfig, run: RunDir, model: RewardModel, splitter: Splitter, piece: int) -> None:
        """`splitter` knows all pairs asked so far; it may learn of more. `piece` is the length of a segment."""
        self.model = model
        self.watch = Watch(
            PredictionLog(run.predictions_jsonl),
            held_out=lambda comparisons: split_of(model, comparisons, splitter).held_ED,
            target_std=config.reward_model.target_std if config.reward_model.normalise else None,
            piece=piece,
        )
        self.enough = Enough()
        self._ranked: list[Segment] = []
        self._found: _Ranking | None = None
        self._visits = 0  # since the last ranking
        self._untaught: str | None = None
        self._budget = config.labels

    def before_fit(
        self,
        comparisons: Sequence[Comparison],
        answer: Callable[[int], AnswerRow | None],
        rollout: Rollout,
        estimate: Estimate | None,
        *,
        step: int,
        counts: Counts,
    ) -> Metrics:
        """The figures of this iteration. `estimate` is the relabelled rollout; None before the model has learnt."""
        self._untaught = untaught(comparisons, counts, budget=self._budget)
        self.watch.predict(self.model, comparisons, answer, step=step, trained=estimate is not None)
        if estimate is None:
            return no_metrics()
        return self.watch.look(self.model, estimate, rollout, step=step)

    def measure(
        self, comparisons: Sequence[Comparison], answers: int, recent: Sequence[Segment], *, visits: int
    ) -> None:
        """Measure the model on labelled clips and let it rank `recent` behaviour, each if it is time.

        It has just been fitted with so many `visits` to comparisons, or was not to be (0 or less). In whichever thread
        has the model: what is found is read by the next `after_fit` and `before_fit`.
        """
        self.watch.measure(self.model, comparisons, visits=max(0, visits))
        self._visits += max(0, visits)
        if visits > 0 and self.enough.due(answers, self._visits):
            self._visits = 0
            recent = list(recent[-RANKED:])
            self._found = _Ranking(answers, self._returns(self._ranked), self._returns(recent))
            self._ranked = recent

    def after_fit(self) -> None:
        """See whether the answers since the last look have changed how the model ranks behaviour."""
        found, self._found = self._found, None
        if found is None:
            return
        held_out = self.watch.held_out
        self.enough.check(
            answers=found.answers,
            now=found.now,
            recent=found.recent,
            right=held_out.strict * (held_out.accuracy.value or 0.0) if held_out else 0.0,
            judged=held_out.strict if held_out else 0.0,
        )

    @property
    def notice(self) -> str | None:
        """What the person should know now, the most pressing first."""
        if self._untaught is not None:
            return self._untaught
        alarms = self.watch.alarms.in_force
        return alarms[-1].message if alarms else self.enough.sentence

    def _returns(self, segments: Sequence[Segment]) -> dict[str, float]:
        estimates = self.model.segment_rewards(segments, stride=self.model.config.fit_stride)
        return {segment.id: float(of.mean.sum()) for segment, of in zip(segments, estimates, strict=True)}

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, as JSON."""
        return {"watch": self.watch.state(), "enough": self.enough.state()}

    def load(self, state: Mapping[str, Any], at_hand: Sequence[Segment]) -> None:
        """The inverse of `state`; of the segments whose ranking was watched, those `at_hand` still are."""
        self.watch.load(state["watch"])
        self.enough.load(state["enough"])
        self._ranked = [segment for segment in at_hand if segment.id in self.enough.watched]

    def close(self) -> None:
        self.watch.close()
