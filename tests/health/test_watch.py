"""The watch asks before the model learns, measures what it says it measures, and goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from pairplay.health.agreement import wilson
from pairplay.health.alarms import PATIENCE
from pairplay.health.watch import MEASURE_EVERY, Watch, evenly, no_metrics, pieces
from pairplay.labels.records import AnswerRow
from pairplay.reward.estimate import RewardEstimate
from pairplay.reward.film import unique
from pairplay.run.predictions import PredictionLog, read_predictions
from pairplay.types import Answer, BoolArray, Comparison, FloatArray, Rollout, Segment

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def segment(number: int) -> Segment:
    return Segment(f"s{number}", np.zeros((4, 1), np.float32), 0, np.zeros(4, np.int64), 0, 0, 0)


def comparison(key: int, mu: float = 1.0) -> Comparison:
    return Comparison(key, segment(2 * key), segment(2 * key + 1), mu)


def answer(key: int, mu: float = 1.0) -> AnswerRow:
    said: Answer = "left" if mu == 1 else "right" if mu == 0 else "tie"
    return AnswerRow(
        key, f"u{key}", key, 1, "ann", "human", said, mu, "l", "r", "l", "c", "d", "disagreement", 0.0, "?", 0,
        None, None, NOW, None, True,
    )  # fmt: skip


class Fixed:
    """Says what it is told to, and counts how often it is asked."""

    rewards: Sequence[float] = ()

    def __init__(self, *members: float, reward: float = 0.0, spread: float = 0.1) -> None:
        self.members = members or (0.8, 0.6)
        self.reward, self.spread = reward, spread
        self.asked: list[list[int]] = []
        self.measured = 0

    def probabilities(self, comparisons: Sequence[Comparison]) -> FloatArray:
        self.asked.append([comparison.key for comparison in comparisons])
        return np.repeat(np.array(self.members, np.float32)[:, None], len(comparisons), 1)

    def judge(self, comparisons: Sequence[Comparison]) -> tuple[FloatArray, list[RewardEstimate]]:
        self.measured += 1
        ramp = np.linspace(-1, 1, 101, dtype=np.float32)
        estimate = RewardEstimate(ramp + self.reward, np.full(101, self.spread, np.float32))
        return self.probabilities(comparisons), [estimate] * len(unique(comparisons)[1])

    def rollout_rewards(self) -> Sequence[float]:
        return self.rewards


def second_member(comparisons: Sequence[Comparison]) -> BoolArray:
    return np.repeat([[False], [True]], len(comparisons), axis=1)


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Watch]:
    watch = Watch(PredictionLog(tmp_path / "predictions.jsonl"), held_out=second_member, target_std=1.0, piece=2)
    yield watch
    watch.close()


def rollout(env_reward: FloatArray) -> Rollout:
    shape = env_reward.shape
    flags, zeros = np.zeros(shape, np.bool_), np.zeros(shape, np.float32)
    return Rollout(
        frames=np.zeros((shape[0] + 1, shape[1], 1), np.float32),
        age=np.zeros((shape[0] + 1, shape[1]), np.int64),
        action=np.zeros(shape, np.int64),
        log_prob=zeros,
        value=zeros,
        terminated=flags,
        truncated=flags,
        final_value=zeros,
        last_value=zeros[0],
        env_reward=env_reward,
        lost=flags,
    )


def look(
    watch: Watch, model: Fixed, comparisons: Sequence[Comparison], reward: FloatArray, visits: int | None = None
) -> dict[str, float | None]:
    """An iteration. The model visits each comparison once in it, or so many."""
    estimate = RewardEstimate(reward, np.full(reward.shape, 0.3, np.float32))
    watch.measure(model, comparisons, visits=len(comparisons) if visits is None else visits)
    return watch.look(model, estimate, rollout(2 * reward), step=7)


def codes(watch: Watch) -> list[str]:
    return [alarm.code for alarm in watch.alarms.in_force]


def given(rows: Iterable[AnswerRow]) -> Callable[[int], AnswerRow | None]:
    return {row.query_id: row for row in rows}.get


REWARD = np.random.default_rng(0).uniform(-0.9, 0.9, (8, 4)).astype(np.float32)


def test_each_answer_is_predicted_once_and_before(watch: Watch, tmp_path: Path) -> None:
    model, answers = Fixed(0.8, 0.6), [answer(1), answer(2, 0.0)]
    watch.predict(model, [comparison(1)], given(answers), step=5, trained=False)
    watch.predict(model, [comparison(1), comparison(2, 0.0)], given(answers), step=5, trained=False)
    watch.predict(
        Fixed(0.1, 0.1),
        [comparison(n) for n in (1, 2, 3)],
        given([answer(3)]),
        step=9,
        trained=True,
    )
    rows = read_predictions(tmp_path / "predictions.jsonl")
    assert [(row.query_id, row.step, row.mu, row.answers_before) for row in rows] == [
        (1, 5, 1.0, 0),
        (2, 5, 0.0, 0),
        (3, 9, 1.0, 2),
    ]
    assert rows[0].p == pytest.approx((0.8, 0.6))
    assert rows[2].p == pytest.approx((0.1, 0.1))
    assert (rows[0].strategy, rows[0].labeler, rows[0].kind, rows[1].answer) == (
        "disagreement",
        "ann",
        "human",
        "right",
    )


def test_without_new_answers_nothing_is_asked(watch: Watch) -> None:
    def never(query_id: int) -> AnswerRow | None:
        raise AssertionError("an answer was read")

    model = Fixed()
    watch.predict(model, [], never, step=0, trained=True)
    watch.predict(model, [comparison(1)], given([answer(1)]), step=0, trained=True)
    watch.predict(model, [comparison(1)], never, step=0, trained=True)
    assert model.asked == [[1]]


def test_an_answer_withdrawn_meanwhile_waits(watch: Watch) -> None:
    watch.predict(Fixed(), [comparison(1), comparison(2)], given([answer(2, 0.0)]), step=0, trained=True)
    assert len(watch.log) == 0


def test_the_figures_by_hand(watch: Watch) -> None:
    # Two answers before learning count for nothing; of the four after it, one is a tie and one was not foreseen.
    model, mus = Fixed(0.9, 0.5, spread=0.1), [1.0, 1.0, 1.0, 1.0, 0.0, 0.5]
    comparisons = [comparison(n, mu) for n, mu in enumerate(mus)]
    rows = [answer(n, mu) for n, mu in enumerate(mus)]
    watch.predict(model, comparisons[:2], given(rows), step=0, trained=False)
    watch.predict(model, comparisons, given(rows), step=1, trained=True)
    reward = REWARD.copy()
    reward[0] = (5, -5, 5, -5)
    got = look(watch, model, comparisons, reward)
    assert set(got) == set(no_metrics())
    assert got["watch/prequential_accuracy"] == pytest.approx(2 / 3)
    assert got["watch/prequential_accuracy_low"] == pytest.approx(wilson(2, 3).low)
    assert got["watch/prequential_claimed"] == pytest.approx(0.7), "what it expected of itself, beside what it reached"
    # Held out: the second member alone, which says ½ and is half right of five that prefer a side.
    assert got["watch/held_out_accuracy"] == 0.5
    assert got["watch/held_out_accuracy_high"] == wilson(2.5, 5).high
    assert got["watch/held_out_loss"] == pytest.approx(np.log(2))
    assert got["watch/outside_labelled_range"] == pytest.approx(4 / 32)
    assert got["watch/spread_ratio"] == pytest.approx(3.0)
    assert got["watch/return_correlation"] == pytest.approx(1.0)


def test_nothing_is_measured_without_answers(watch: Watch) -> None:
    got = look(watch, Fixed(), [], REWARD)
    measured = {name for name, value in got.items() if value is not None and not name.startswith("alarm/")}
    assert measured == {"watch/return_correlation"}


def test_labelled_clips_are_measured_now_and_then(watch: Watch) -> None:
    model, comparisons = Fixed(), [comparison(n) for n in range(5)]
    got = [look(watch, model, comparisons, REWARD) for _ in range(2 * MEASURE_EVERY)]
    assert model.measured == 2
    assert [row["watch/held_out_accuracy"] is None for row in got] == [False, True, True, True] * 2
    assert all(row["watch/outside_labelled_range"] is not None for row in got)


@pytest.mark.parametrize(
    ("comparisons", "visits", "expected"),
    [
        (300, 96, [0, 4, 8, 12, 16]),
        (300, 24, [0, 4, 8, 12, 16]),
        (300, 16, [0, 8, 16]),  # after eight fits it has visited 128, after four of them 64
        (60, 16, [0, 4, 8, 12, 16]),
        (300, 0, [0]),
    ],
)
def test_a_model_that_has_met_few_is_not_measured_yet(
    watch: Watch, comparisons: int, visits: int, expected: list[int]
) -> None:
    """It is much as it was; and to measure it takes longer than a fit so small."""
    model, found = Fixed(), list[int]()
    for iteration in range(18):
        before = model.measured
        look(watch, model, [comparison(n) for n in range(comparisons)], REWARD, visits)
        found += [iteration] * (model.measured - before)
    assert found == expected


def test_an_agent_that_leaves_the_labelled_range_raises_an_alarm(watch: Watch) -> None:
    comparisons = [comparison(n) for n in range(5)]
    for _ in range(9):
        look(watch, Fixed(), comparisons, REWARD)
    assert codes(watch) == []
    for _ in range(10):
        look(watch, Fixed(), comparisons, REWARD + 2)
    assert codes(watch) == ["out_of_range"]


def test_held_out_answers_judged_worse_while_predicted_reward_rises_raise_an_alarm(watch: Watch) -> None:
    comparisons = [comparison(n) for n in range(60)]
    good, bad = Fixed(0.9, 0.9), Fixed(0.9, 0.1)
    good.rewards = bad.rewards = range(10)
    for _ in range(2 * MEASURE_EVERY):
        look(watch, good, comparisons, REWARD)
    assert codes(watch) == []
    for _ in range(MEASURE_EVERY):
        look(watch, bad, comparisons, REWARD)
    assert codes(watch) == ["exploited"]


def test_a_constant_reward_and_a_collapsed_ensemble(watch: Watch) -> None:
    watch.predict(Fixed(), [comparison(1)], given([answer(1)]), step=0, trained=True)
    for _ in range(5):
        got = look(watch, Fixed(), [comparison(1)], np.zeros((8, 4), np.float32))
    assert codes(watch) == ["constant_reward"]
    alarms = {name: value for name, value in got.items() if name.startswith("alarm/")}
    assert alarms == {f"alarm/{code}": float(code == "constant_reward") for code in PATIENCE}, "metrics say the same"
    for _ in range(10):
        same = RewardEstimate(REWARD, np.zeros_like(REWARD))
        watch.look(Fixed(), same, rollout(REWARD), step=8)
    assert codes(watch) == ["collapsed_ensemble"]


def test_where_nothing_scales_rewards_narrow_is_what_is_narrow_beside_labelled_clips(tmp_path: Path) -> None:
    with closing(
        Watch(PredictionLog(tmp_path / "predictions.jsonl"), held_out=second_member, target_std=None, piece=2)
    ) as watch:
        for _ in range(5):  # labelled rewards deviate by 0.6
            look(watch, Fixed(), [comparison(1)], 0.01 * REWARD)
        assert codes(watch) == ["constant_reward"]
        for _ in range(5):
            look(watch, Fixed(), [comparison(1)], 0.02 * REWARD)
        assert codes(watch) == []


def test_a_single_member_has_no_spread_to_lose(watch: Watch) -> None:
    watch.predict(Fixed(0.9), [comparison(1)], given([answer(1)]), step=0, trained=True)
    for _ in range(10):
        same = RewardEstimate(REWARD, np.zeros_like(REWARD))
        watch.look(Fixed(0.9, 0.9), same, rollout(REWARD), step=8)
    assert watch.alarms.in_force == ()


def test_a_restored_watch_measures_when_the_other_does(watch: Watch, tmp_path: Path) -> None:
    comparisons = [comparison(n) for n in range(MEASURE_EVERY + 2)]
    for _ in range(2 * MEASURE_EVERY + 2):
        look(watch, Fixed(), comparisons, REWARD + 2, visits=1)
    other = Watch(PredictionLog(tmp_path / "other.jsonl"), held_out=second_member, target_std=1.0, piece=2)
    other.load(json.loads(json.dumps(watch.state())))
    assert (len(other.state()["measured"]), other.state()["visits"]) == (2, 1), (
        "what was measured before is compared with, too"
    )
    for _ in range(2 * MEASURE_EVERY):
        assert look(other, Fixed(), comparisons, REWARD + 2, 1) == look(watch, Fixed(), comparisons, REWARD + 2, 1)
    assert other.state() == watch.state()
    other.close()


def test_a_watch_that_counted_no_visits_is_restored(watch: Watch) -> None:
    """Checkpoints of before have none."""
    comparisons = [comparison(n) for n in range(5)]
    look(watch, Fixed(), comparisons, REWARD, visits=3)
    saved = watch.state()
    del saved["visits"]
    look(watch, Fixed(), comparisons, REWARD, visits=3)
    watch.load(json.loads(json.dumps(saved)))
    assert watch.state()["visits"] == 0


def test_pieces_and_choices() -> None:
    reward = np.arange(10, dtype=np.float32).reshape(5, 2)
    assert pieces(reward, 2).tolist() == [0 + 2, 1 + 3, 4 + 6, 5 + 7]
    assert pieces(reward, 99).tolist() == [20, 25]
    assert [one.key for one in evenly([comparison(n) for n in range(9)], 3)] == [0, 4, 8]
    assert [one.key for one in evenly([comparison(n) for n in range(2)], 3)] == [0, 1]
