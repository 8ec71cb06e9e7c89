"""The recipe as the loop carries it out: what comes before what, who is waited for, and what is written down."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pairplay import session
from pairplay.config import EnvConfig, PPOConfig, QueryConfig, RewardModelConfig, TeacherConfig, TrainConfig
from pairplay.hardware import Hardware
from pairplay.inquiry import default_segment_length
from pairplay.labels.store import LabelStore
from pairplay.queries.segments import cut
from pairplay.reward.estimate import RewardEstimate
from pairplay.reward.fit import FitMetrics, fit
from pairplay.reward.model import RewardModel
from pairplay.reward.normaliser import Affine
from pairplay.run.checkpoint import load_newest
from pairplay.run.layout import RunDir
from pairplay.run.metrics import read_metrics
from pairplay.run.predictions import read_predictions
from pairplay.trainer import Snapshot, Trainer
from pairplay.types import Comparison, FloatArray, Footage, Rollout, UserError

CONFIG = TrainConfig(
    env_id="Pendulum-v1",
    teacher="oracle",
    total_timesteps=5 * 128,
    labels=24,
    num_envs=4,
    checkpoint_every=10**9,
    ppo=PPOConfig(num_steps=32, minibatch_size=64, hidden=16, update_epochs=2),
    reward_model=RewardModelConfig(hidden=16, fit_pairs=32, pretrain_pairs=64),
    queries=QueryConfig(segment_length=6, windows=20, explore_steps=128, initial_share=0.5, clips="still"),
)


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[Trainer]]:
    """Trainers to be closed after the test."""
    trainers: list[Trainer] = []
    yield trainers
    for trainer in trainers:
        trainer.close()


def start(started: list[Trainer], path: Path, config: TrainConfig) -> Trainer:
    trainer = Trainer(config, RunDir.create(path, config.env_id, 1), Hardware(torch.device("cpu"), "fp32", 1))
    started.append(trainer)
    return trainer


def silent(snapshot: Snapshot) -> None:
    pass


def test_the_initial_share_comes_from_random_play_and_is_fitted_before_the_policy_learns(
    tmp_path: Path, started: list[Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = start(started, tmp_path / "run", CONFIG)
    update = trainer.ppo.update
    fitted_at_first_update: list[int] = []

    def spy(*args: object, **kwargs: object) -> dict[str, float | None]:
        fitted_at_first_update.append(trainer.fitted_pairs)
        return update(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(trainer.ppo, "update", spy)
    phases: list[tuple[str, int]] = []
    trainer.train(lambda snapshot: phases.append((snapshot.phase, snapshot.counts.answered)))
    # Half of 24 answers are due at once, and a rollout holds 20 segments: ten pairs of fresh ones, so two rollouts.
    assert trainer.inquiry is not None
    due = trainer.inquiry.schedule.target(256)
    assert phases[:3] == [("exploring", 10), ("exploring", due), ("learning", phases[2][1])]
    assert fitted_at_first_update[0] == CONFIG.reward_model.pretrain_pairs
    rows = list(trainer.store.iter_answers())
    assert {row.strategy for row in rows if row.step <= 256} == {"uniform"}
    assert {row.strategy for row in rows if row.step > 256} == {"disagreement"}


def test_while_exploring_no_segment_is_shown_twice(tmp_path: Path, started: list[Trainer]) -> None:
    trainer = start(started, tmp_path / "run", replace(CONFIG, total_timesteps=256))
    trainer.train(silent)
    shown = [id for row in trainer.store.iter_answers() for id in (row.left_id, row.right_id)]
    assert len(shown) == len(set(shown)) > 20


def test_every_answer_is_predicted_before_it_trains(
    tmp_path: Path, started: list[Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = start(started, tmp_path / "run", CONFIG)
    fits: list[int] = []

    def checked(model: RewardModel, comparisons: Sequence[Comparison], **options: Any) -> FitMetrics:
        assert trainer.oversight is not None
        assert all(comparison.key in trainer.oversight.watch.log for comparison in comparisons)
        fits.append(len(comparisons))
        return fit(model, comparisons, **options)

    monkeypatch.setattr("pairplay.reward.refit.fit", checked)
    trainer.train(silent)
    assert fits[-1] > fits[0] > 0
    predictions = read_predictions(tmp_path / "run" / "predictions.jsonl")
    answered = {row.query_id: row for row in trainer.store.iter_answers() if row.mu is not None}
    assert {prediction.query_id for prediction in predictions} == answered.keys()
    assert all(len(prediction.p) == 3 for prediction in predictions)
    last = read_metrics(tmp_path / "run" / "metrics.jsonl")[-1]
    for name in ("prequential_accuracy", "prequential_accuracy_low", "return_correlation", "outside_labelled_range"):
        assert last[f"watch/{name}"] is not None, name
    assert last["reward_model/l2"] is not None


def test_a_refit_carries_the_value_function_along(
    tmp_path: Path, started: list[Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    obs = torch.randn(5, 1, 3)
    moved = Affine(2.0, 0.5)
    for carry in (True, False):
        config = replace(CONFIG, reward_model=replace(CONFIG.reward_model, carry_value=carry))
        trainer = start(started, tmp_path / str(carry), config)
        monkeypatch.setattr(trainer.reward_model, "renormalise", lambda: moved)
        while not trainer.learning:
            trainer.iterate()
        _, before = trainer.ppo.policy(obs)
        rollout = trainer._collect()
        said = rollout.value.copy()
        trainer._finish_fit(rollout)
        _, after = trainer.ppo.policy(obs)
        shift = 0.5 / (1.0 - config.ppo.gamma)
        torch.testing.assert_close(after, 2.0 * before + shift if carry else before)
        # What it said while the fit was under way moves along.
        np.testing.assert_allclose(rollout.value, 2.0 * said + shift if carry else said, rtol=1e-6)


def paid_and_predicted(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch, iterations: int
) -> list[tuple[FloatArray, RewardEstimate]]:
    """What the policy is paid, and the estimate it is made of, in so many iterations once it learns."""
    while not trainer.learning:
        trainer.iterate()
    paid: list[FloatArray] = []
    predicted: list[RewardEstimate] = []
    update, relabel = trainer.ppo.update, trainer.reward_model.relabel

    def spy_on_update(rollout: Rollout, reward: FloatArray, **rest: Any) -> dict[str, float | None]:
        paid.append(reward)
        return update(rollout, reward, **rest)

    def spy_on_relabel(rollout: Rollout) -> RewardEstimate:
        predicted.append(relabel(rollout))
        return predicted[-1]

    monkeypatch.setattr(trainer.ppo, "update", spy_on_update)
    monkeypatch.setattr(trainer.reward_model, "relabel", spy_on_relabel)
    for _ in range(iterations):
        trainer.iterate()
    return list(zip(paid, predicted, strict=True))


def test_shaping_enters_what_the_policy_is_paid_and_fades(
    tmp_path: Path, started: list[Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(CONFIG, reward_model=replace(CONFIG.reward_model, shaping=1.0, shaping_steps=3 * 128))
    trainer = start(started, tmp_path / "run", config)
    (first, of_first), (second, of_second) = paid_and_predicted(trainer, monkeypatch, 2)
    assert trainer.step == 4 * 128
    kappa = (1.0 / 3.0) / (1.0 - config.ppo.gamma)  # a third of the shaping is left
    change = kappa * (config.ppo.gamma * of_first.mean[1:] - of_first.mean[:-1])
    np.testing.assert_allclose(first[1:], of_first.mean[1:] + change, rtol=1e-4, atol=1e-4)
    # Once it has gone, only the last potential is still taken away, as it was given.
    np.testing.assert_array_equal(second[1:], of_second.mean[1:])
    assert not np.allclose(second[0], of_second.mean[0])


def test_disagreement_is_paid_for_until_half_of_the_run(
    tmp_path: Path, started: list[Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(CONFIG, total_timesteps=8 * 128, reward_model=replace(CONFIG.reward_model, uncertainty_bonus=2.0))
    trainer = start(started, tmp_path / "run", config)
    found = paid_and_predicted(trainer, monkeypatch, 3)
    assert trainer.step == 5 * 128
    assert all(estimate.std.min() > 0 for _, estimate in found)
    for (paid, estimate), deviations in zip(found, (1.0, 0.5, 0.0), strict=True):
        np.testing.assert_allclose(paid, estimate.mean + deviations * estimate.std, rtol=1e-5, atol=1e-6)


def test_a_slow_teacher_answers_late_and_an_absent_one_not_at_all(tmp_path: Path, started: list[Trainer]) -> None:
    slow = replace(CONFIG, teaching=TeacherConfig(delay_steps=256))
    counts: list[int] = []
    start(started, tmp_path / "slow", slow).train(lambda snapshot: counts.append(snapshot.counts.answered))
    assert counts[:2] == [0, 0]
    assert counts[2] > 0
    away = replace(CONFIG, teaching=TeacherConfig(absent_every=256, absent_for=255))
    counts.clear()
    start(started, tmp_path / "away", away).train(lambda snapshot: counts.append(snapshot.counts.answered))
    assert counts[0] == 10
    assert counts[1] == 10, "away from step 256 on"


def test_what_nobody_answers_is_withdrawn_and_asked_anew(tmp_path: Path, started: list[Trainer]) -> None:
    queries = replace(CONFIG.queries, expire_steps=128, min_answers=4)
    trainer = start(started, tmp_path / "run", replace(CONFIG, teacher="human", queries=queries))
    assert trainer.inquiry is not None
    publisher = trainer.inquiry.publisher
    trainer.train(lambda snapshot: publisher.flush())  # on a busy machine all of it is played before a clip is drawn
    counts = trainer.store.counts()
    assert counts.expired > 0
    assert 0 < counts.open <= queries.max_pending
    assert counts.asked == counts.expired + counts.open


def test_a_person_who_never_comes_leaves_the_teachers_their_work(tmp_path: Path, started: list[Trainer]) -> None:
    queries = replace(CONFIG.queries, max_pending=2, min_answers=4)
    config = replace(CONFIG, teacher="human+oracle", labels=40, queries=queries)
    waiting: list[int] = []
    trainer = start(started, tmp_path / "run", config)
    trainer.train(lambda snapshot: waiting.append(snapshot.counts.open))
    counts = trainer.store.counts()
    assert counts.answered > 2 * queries.max_pending + queries.min_answers, "it went on with the person's queue full"
    assert counts.expired > 0, "the oldest that were the person's made room"
    assert {row.kind for row in trainer.store.iter_answers()} == {"synthetic"}


def test_pause_waits_for_the_person_and_says_so(tmp_path: Path, started: list[Trainer]) -> None:
    queries = replace(CONFIG.queries, behind="pause", min_answers=4)
    trainer = start(started, tmp_path / "run", replace(CONFIG, teacher="human", queries=queries))
    steps: list[int] = []
    running = threading.Thread(target=trainer.train, args=(lambda snapshot: steps.append(snapshot.step),))
    running.start()
    try:
        with LabelStore.open(tmp_path / "run" / "labels.db") as store:
            said = _wait_for_notice(store)
            assert said.startswith("Paused until")
            assert steps == [128], "nothing is played while it waits"
            person = store.labeler("ann", "human")
            deadline = time.monotonic() + 60
            while running.is_alive() and time.monotonic() < deadline:
                for query in store.lease(person, limit=8):
                    store.answer(person, query.id, "left", client_uuid=str(query.id), shown_at=None, answered_at=None)
                time.sleep(0.05)
    finally:
        trainer.stop()
        running.join(30)
    assert steps[-1] == CONFIG.total_timesteps


def test_slow_plays_on_at_a_quarter_of_the_speed(tmp_path: Path, started: list[Trainer]) -> None:
    queries = replace(CONFIG.queries, behind="slow", min_answers=4)
    trainer = start(started, tmp_path / "run", replace(CONFIG, teacher="human", queries=queries))
    played: list[tuple[float, float]] = []

    def watch(snapshot: Snapshot) -> None:
        played.append((trainer.last_iteration_s, snapshot.metrics.get("seconds/wait") or 0.0))

    trainer.train(watch)
    assert trainer.step == CONFIG.total_timesteps, "nobody ever answers, and it goes on all the same"
    # What was waited after an iteration is in the metrics of the next. A wait can be too long, but never too short.
    for (worked, _), (_, waited) in pairwise(played):
        assert waited >= 2.99 * worked
    progress = trainer.store.progress()
    assert progress is not None
    assert progress.phase == "finished"


def test_pause_does_not_wait_for_what_teachers_will_answer(tmp_path: Path, started: list[Trainer]) -> None:
    queries = replace(CONFIG.queries, behind="pause", min_answers=4)
    config = replace(CONFIG, teacher="human+oracle", labels=60, queries=queries)
    trainer = start(started, tmp_path / "run", config)
    running = threading.Thread(target=trainer.train, args=(silent,))
    running.start()
    try:
        with LabelStore.open(tmp_path / "run" / "labels.db") as store:
            person = store.labeler("ann", "human")
            deadline = time.monotonic() + 60
            while running.is_alive() and time.monotonic() < deadline:
                assert trainer.inquiry is not None
                theirs = trainer.inquiry.panel.of_the_person(store.open_steps())
                for query in store.lease(person, limit=8, only=theirs):
                    store.answer(person, query.id, "left", client_uuid=str(query.id), shown_at=None, answered_at=None)
                time.sleep(0.05)
            assert not running.is_alive(), "it waits although the person has answered all that is theirs"
    finally:
        trainer.stop()
        running.join(30)
    assert trainer.step == CONFIG.total_timesteps
    assert {row.kind for row in trainer.store.iter_answers()} == {"human", "synthetic"}


def _wait_for_notice(store: LabelStore) -> str:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        progress = store.progress()
        if progress is not None and progress.phase == "waiting" and progress.notice:
            return progress.notice
        time.sleep(0.05)
    raise AssertionError("it never said that it waits")


def test_ends_that_tell_the_task_are_warned_of(tmp_path: Path, started: list[Trainer]) -> None:
    trainer = start(started, tmp_path / "keep", replace(CONFIG, env_id="CartPole-v1"))
    trainer.train(silent)
    assert trainer.horizon is not None
    assert "--env.ends hide" in trainer.horizon
    hidden = replace(CONFIG, env_id="CartPole-v1", env=replace(CONFIG.env, ends="hide"))
    trainer = start(started, tmp_path / "hide", hidden)
    trainer.train(silent)
    assert trainer.horizon is None


def test_a_run_without_any_useful_answer_explores_to_its_end(tmp_path: Path, started: list[Trainer]) -> None:
    config = replace(CONFIG, teacher=f"{__name__}:silent_teacher")
    trainer = start(started, tmp_path / "run", config)
    notices: list[str | None] = []
    trainer.train(lambda snapshot: notices.append(snapshot.notice))
    assert not trainer.learning
    assert trainer.store.counts().skipped == trainer.store.counts().answered > 0
    assert notices[0] == (
        "All 10 answers so far are skips, which teach nothing: the agent explores until some pairs are answered left, "
        "right or about the same."
    )
    assert notices[-1] is not None
    assert "go on with `pairplay resume` and more --labels" in notices[-1]


def test_the_end_penalty_reaches_what_teachers_judge_by(
    tmp_path: Path, started: list[Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    charged: list[float] = []

    def noted(*what: Any, end_penalty: float, **options: Any) -> Footage | None:
        charged.append(end_penalty)
        return cut(*what, end_penalty=end_penalty, **options)

    monkeypatch.setattr("pairplay.inquiry.cut", noted)
    trainer = start(started, tmp_path / "run", replace(CONFIG, env=EnvConfig(end_penalty=2.5)))
    trainer.iterate()
    assert set(charged) == {2.5}


def test_who_only_skips_is_told_so_at_the_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = replace(CONFIG, teacher=f"{__name__}:silent_teacher")
    assert session.start(config, tmp_path / "run", port=0, open_page=False) == 0
    told = capsys.readouterr().out
    assert "never began to learn" in told
    assert "Done" not in told


def test_who_sees_no_difference_is_told_that_nothing_can_be_learnt(tmp_path: Path, started: list[Trainer]) -> None:
    trainer = start(started, tmp_path / "run", replace(CONFIG, teacher=f"{__name__}:fair_teacher"))
    notices: list[str | None] = []
    trainer.train(lambda snapshot: notices.append(snapshot.notice))
    assert trainer.learning
    assert all(notice is not None and "both clips equally good" in notice for notice in notices)


def fair_teacher(left: object, right: object, rng: np.random.Generator) -> str:
    return "tie"


def test_a_buffer_of_a_few_answers_ends_neither_the_beginning_nor_the_fitting(
    tmp_path: Path, started: list[Trainer]
) -> None:
    model = replace(CONFIG.reward_model, buffer=6, max_visits=6, fit_pairs=16, pretrain_pairs=16)
    trainer = start(started, tmp_path / "run", replace(CONFIG, reward_model=model))
    losses: list[float | None] = []
    trainer.train(lambda snapshot: losses.append(snapshot.metrics["reward_model/loss"]))
    assert trainer.inquiry is not None
    assert trainer.inquiry.first_answers == 12 > model.buffer
    assert None not in losses[2:], "visits are counted by all answers so far, of which the buffer holds some"
    assert trainer.fitted_pairs > model.max_visits * model.buffer
    assert len(trainer.inquiry.comparisons()) == model.buffer


def test_a_spent_budget_is_enough_to_begin_with(tmp_path: Path, started: list[Trainer]) -> None:
    config = replace(CONFIG, labels=6, queries=replace(CONFIG.queries, min_answers=10))
    trainer = start(started, tmp_path / "run", config)
    trainer.train(silent)
    assert trainer.learning


def silent_teacher(left: object, right: object, rng: np.random.Generator) -> str:
    return "skip"


def test_what_a_mistake_interrupts_is_saved_first(tmp_path: Path) -> None:
    # A teacher whose answer is none; an environment that gives NaN is the same kind of mistake.
    config = replace(CONFIG, teacher=f"{__name__}:confused_teacher")
    assert session.start(config, tmp_path / "run", port=0, open_page=False) == 1
    assert load_newest(tmp_path / "run" / "checkpoints") is not None


def confused_teacher(left: object, right: object, rng: np.random.Generator) -> str:
    return "perhaps"


def test_an_unknown_teacher_among_several_is_named(tmp_path: Path, started: list[Trainer]) -> None:
    with pytest.raises(UserError, match="oracl"):
        start(started, tmp_path / "run", replace(CONFIG, teacher="oracle+oracl"))


@pytest.mark.parametrize(
    ("env_id", "clip_fps", "length"),
    [
        ("ALE/Enduro-v5", 15.0, 25),
        ("Pendulum-v1", 20.0, 30),
        ("Hopper-v5", 125.0, 60),
        ("Slow-v0", 4.0, 15),
        ("InvertedPendulum-v5", 25.0, 10),
    ],
)
def test_segments_last_as_long_as_a_person_needs(env_id: str, clip_fps: float, length: int) -> None:
    assert default_segment_length(env_id, clip_fps) == length


@pytest.mark.parametrize(
    ("teacher", "alarms", "sentence"),
    [("random", ["chance"], "no more than a coin would"), ("oracle", [], "You can stop now")],
)
def test_a_whole_run_says_whether_its_answers_taught_anything(
    tmp_path: Path, started: list[Trainer], teacher: str, alarms: list[str], sentence: str
) -> None:
    """The planted failure is a teacher who tosses a coin; the same run with careful answers is well."""
    queries = replace(CONFIG.queries, initial_share=0.1, anneal_steps=1e9, windows=32, pool=64)
    model = replace(CONFIG.reward_model, fit_pairs=240)  # every fit meets all answers
    config = replace(CONFIG, teacher=teacher, labels=240, total_timesteps=24 * 128, queries=queries, reward_model=model)
    trainer = start(started, tmp_path / "run", config)
    notices: list[str | None] = []

    def watch(snapshot: Snapshot) -> None:
        notices.append(snapshot.notice)
        if snapshot.step >= 16 * 128:
            trainer.stop()

    trainer.train(watch)
    assert trainer.oversight is not None
    assert [alarm.code for alarm in trainer.oversight.watch.alarms.in_force] == alarms
    assert sentence in (notices[-1] or "")
    assert notices[0] is None
