"""What a run's answers and its saved reward model say of each other, as plain numbers. Draws nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from pairplay.health.agreement import (
    Agreement,
    Calibration,
    Correlation,
    Interval,
    agreement,
    calibration,
    correlation,
    out_of_bag,
    wilson,
)
from pairplay.health.watch import agree, informed
from pairplay.labels.records import AnswerRow
from pairplay.labels.store import LabelStore
from pairplay.report.inspect_model import Judge
from pairplay.run.predictions import Prediction
from pairplay.types import ANSWERS, Comparison, FloatArray, Segment

# L segment length, D comparisons

MOST = 1_000
"""Latest answers that the model is asked about, more than any preset asks for: half a minute of one CPU on Atari, and
0.3 GB for their frames."""
SHOWN = 4
"""Best clips, and worst."""
DISAGREEMENTS = 6


@dataclass(frozen=True)
class Clip:
    """One segment with what the model makes of it."""

    segment_id: str
    clip: str
    """sha256: the film is `clips/<sha256>.mp4`."""
    step: int
    """When it was played."""
    reward: FloatArray
    """`[L]` predicted, in the unit that the policy is paid in."""
    spread: FloatArray
    """`[L]` its standard deviation over the ensemble."""
    true_reward: FloatArray
    """`[L]` the environment's own: audit only."""

    @property
    def value(self) -> float:
        """Predicted reward a step: clips that an episode's end cut short compare with whole ones."""
        return float(self.reward.mean())


@dataclass(frozen=True)
class Disagreement:
    """An answer that the model, having learnt from it, still holds to be unlikely."""

    query_id: int
    answer: str
    p_left: float
    labeler: str
    left: Clip
    right: Clip


@dataclass(frozen=True)
class Judged:
    """What the saved model says."""

    clips: tuple[Clip, ...]
    """By predicted reward, best first."""
    held_out: Agreement
    calibration: Calibration
    """On held-out answers, by the model as it is now."""
    correlation: Correlation
    """Predicted and true reward a step, over clips. Audit only."""
    disagreements: tuple[Disagreement, ...]
    """Newest first."""
    wrong: int
    """How many there are in all."""
    strict: int
    """Of how many answers: those that prefer a side."""


@dataclass(frozen=True)
class Group:
    """The answers of one labeler, or of one way to choose pairs."""

    name: str
    note: str
    counts: dict[str, int]
    left: Interval
    """Among answers that prefer a side, the share of the left: half, unless somebody has a habit."""
    seconds: float | None
    """Median time that a person took from seeing a pair to its answer; None where no person did."""
    foreseen: Agreement
    """Of those that were predicted before they were learnt."""

    @property
    def total(self) -> int:
        return sum(self.counts.values())


def judge_answers(judge: Judge, store: LabelStore, rows: Sequence[AnswerRow]) -> Judged | None:
    """Ask the model about the latest `MOST` of these answers; None when none of them can be learnt from."""
    rows = [row for row in rows if row.mu is not None][-MOST:]
    if not rows:
        return None
    clip_of = {id: clip for row in rows for id, clip in ((row.left_id, row.left_clip), (row.right_id, row.right_clip))}
    segments = {segment.id: segment for segment in store.segments(list(clip_of))}
    comparisons = [
        Comparison(row.query_id, segments[row.left_id], segments[row.right_id], row.mu)
        for row in rows
        if row.mu is not None
    ]
    p_ED = judge.probabilities(comparisons)
    mu_D = np.array([comparison.mu for comparison in comparisons])
    held_D = out_of_bag(p_ED, judge.held_out(comparisons))
    known = ~np.isnan(held_D)
    clips = {clip.segment_id: clip for clip in _clips(judge, store, segments, clip_of)}
    p_D = p_ED.mean(0)
    wrong = [i for i in range(len(rows)) if mu_D[i] != 0.5 and (p_D[i] > 0.5) != (mu_D[i] > 0.5)]
    newest = sorted(wrong, key=lambda i: rows[i].id, reverse=True)[:DISAGREEMENTS]
    values = list(clips.values())
    return Judged(
        clips=tuple(sorted(values, key=lambda clip: clip.value, reverse=True)),
        held_out=agreement(held_D[known], mu_D[known]),
        calibration=calibration(held_D[known], mu_D[known]),
        correlation=correlation(
            np.array([clip.value for clip in values]), np.array([clip.true_reward.mean() for clip in values])
        ),
        disagreements=tuple(
            Disagreement(
                query_id=rows[i].query_id,
                answer=rows[i].answer,
                p_left=float(p_D[i]),
                labeler=rows[i].labeler,
                left=clips[rows[i].left_id],
                right=clips[rows[i].right_id],
            )
            for i in newest
        ),
        wrong=len(wrong),
        strict=int((mu_D != 0.5).sum()),
    )


def group_answers(
    rows: Sequence[AnswerRow],
    predictions: Sequence[Prediction],
    key: Callable[[AnswerRow], tuple[str, str]],
) -> list[Group]:
    """The answers by `key`, a name and a note, the largest group first."""
    by_query = {prediction.query_id: prediction for prediction in informed(predictions)}
    groups: dict[tuple[str, str], list[AnswerRow]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return [
        Group(
            name=name,
            note=note,
            counts={answer: count[answer] for answer in ANSWERS},
            left=wilson(count["left"], count["left"] + count["right"]),
            seconds=_median_seconds(members),
            foreseen=agree([by_query[row.query_id] for row in members if row.query_id in by_query]),
        )
        for (name, note), members in sorted(groups.items(), key=lambda item: -len(item[1]))
        for count in [Counter(row.answer for row in members)]
    ]


def _clips(judge: Judge, store: LabelStore, segments: dict[str, Segment], clip_of: dict[str, str]) -> Iterable[Clip]:
    estimates = judge.segment_rewards(list(segments.values()))
    true_rewards = store.audit_rewards(list(segments))
    for segment, estimate, true_reward in zip(segments.values(), estimates, true_rewards, strict=True):
        yield Clip(segment.id, clip_of[segment.id], segment.step, estimate.mean, estimate.std, true_reward)


def _median_seconds(rows: Sequence[AnswerRow]) -> float | None:
    taken = [
        (row.answered_at - row.shown_at).total_seconds()
        for row in rows
        if row.kind == "human" and row.shown_at is not None and row.answered_at is not None
    ]
    return median(taken) if taken else None
