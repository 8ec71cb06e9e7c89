"""The whole loop on a small environment: what it may see, what it must keep, and that it goes on."""

from __future__ import annotations

import gc
import json
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pairplay.config import PPOConfig, QueryConfig, RewardModelConfig, TrainConfig, preset
from pairplay.hardware import Hardware
from pairplay.labels.store import LabelStore
from pairplay.reward.fit import FitMetrics, fit
from pairplay.run.checkpoint import save
from pairplay.run.layout import RunDir
from pairplay.run.metrics import read_metrics
from pairplay.trainer import Snapshot, Trainer
from pairplay.types import Array, FloatArray, Rollout, Step, Window

HARDWARE = Hardware(torch.device("cpu"), "fp32", 1)
CONFIG = TrainConfig(
    env_id="Pendulum-v1",
    teacher="random",
    total_timesteps=4 * 128,
    labels=16,
    num_envs=4,
    checkpoint_every=10**9,
    ppo=PPOConfig(num_steps=32, minibatch_size=64, hidden=16, update_epochs=2),
    reward_model=RewardModelConfig(hidden=16, fit_pairs=32, pretrain_pairs=64),
    queries=QueryConfig(segment_length=6, windows=20, explore_steps=128, initial_share=0.5, min_answers=8),
)


def silent(snapshot: Snapshot) -> None:
    pass


def make_trainer(path: Path, config: TrainConfig = CONFIG) -> Trainer:
    run = RunDir(path) if path.exists() else RunDir.create(path, config.env_id, config.seed)
    return Trainer(config, run, HARDWARE)


def learnt(trainer: Trainer) -> dict[str, torch.Tensor]:
    state = trainer.ppo.state() | {f"reward.{k}": v for k, v in trainer.reward_model.state().items()}
    return {name: tensor.clone() for name, tensor in state.items()}


def tampering(play: Callable[..., Step], tamper: Callable[[FloatArray], FloatArray]) -> Callable[..., Step]:
    def tampered(what: Array | int) -> Step:
        answer = play(what)
        return replace(answer, env_reward=tamper(answer.env_reward))

    return tampered


def train(
    path: Path, config: TrainConfig = CONFIG, *, tamper: Callable[[FloatArray], FloatArray] | None = None
) -> Trainer:
    trainer = make_trainer(path, config)
    if tamper is not None:
        # Played all at once, or in parts.
        for name in ("step", "receive"):
            if hasattr(trainer.envs, name):
                setattr(trainer.envs, name, tampering(getattr(trainer.envs, name), tamper))
    trainer.train(silent)
    trainer.close()
    return trainer


ENDURO = replace(
    preset("ALE/Enduro-v5", "quick"),
    teacher="random",
    total_timesteps=3 * 4 * 32,
    labels=4,
    num_envs=4,
    env=replace(preset("ALE/Enduro-v5", "quick").env, colour_envs=2, max_episode_steps=40),
    ppo=replace(preset("ALE/Enduro-v5", "quick").ppo, num_steps=32, minibatch_size=64, update_epochs=1),
    reward_model=replace(preset("ALE/Enduro-v5", "quick").reward_model, fit_pairs=4, pretrain_pairs=4),
    queries=QueryConfig(windows=4, explore_steps=128, initial_share=0.5, min_answers=1, clips="still"),
)
"""Pictures, shaped, with ends hidden, two environments in colour and two in grey."""


@pytest.mark.parametrize("config", [CONFIG, ENDURO], ids=["vectors", "pictures"])
def test_the_agent_never_sees_the_true_reward(tmp_path: Path, config: TrainConfig) -> None:
    honest = train(tmp_path / "honest", config)
    noise = np.random.default_rng(0)
    scrambled = train(
        tmp_path / "scrambled", config, tamper=lambda reward: noise.normal(0, 1e3, reward.shape).astype(np.float32)
    )
    assert honest.learning
    assert honest.true_return.total != scrambled.true_return.total
    for name, tensor in learnt(honest).items():
        assert torch.equal(tensor, learnt(scrambled)[name]), name


def test_the_test_above_can_fail(tmp_path: Path) -> None:
    # The same scrambling of a learner that does see the true reward, and of an oracle that judges by it, shows.
    for change in (replace(CONFIG, reward="env"), replace(CONFIG, teacher="oracle")):
        honest = train(tmp_path / change.reward / change.teacher / "honest", change)
        tampered = train(tmp_path / change.reward / change.teacher / "tampered", change, tamper=lambda reward: -reward)
        different = [name for name, tensor in learnt(honest).items() if not torch.equal(tensor, learnt(tampered)[name])]
        assert any(name.startswith("policy.") for name in different)


def test_what_was_there_before_is_not_walked_over_for_garbage(tmp_path: Path) -> None:
    def frozen(snapshot: Snapshot) -> None:
        counts.append(gc.get_freeze_count())

    counts, before = list[int](), gc.get_freeze_count()
    with closing(make_trainer(tmp_path / "run")) as trainer:
        trainer.train(frozen)
        assert min(counts) > before + 10_000
        assert gc.get_freeze_count() == 0, "afterwards it is again"


def test_how_an_episode_ends_can_be_asked_about(tmp_path: Path) -> None:
    # The second rollout has the 50th step of every episode in its middle: its clips, of 25 steps, are cut short there.
    env = replace(ENDURO.env, max_episode_steps=50)
    trainer = train(tmp_path / "run", replace(ENDURO, total_timesteps=2 * 4 * 32, env=env))
    assert trainer.inquiry is not None
    lengths = [len(segment) for segment in trainer.inquiry.pool.segments()]
    assert 25 in lengths
    assert min(lengths) in range(12, 25), "half of a clip is enough to judge by"


def test_the_same_seed_learns_the_same(tmp_path: Path) -> None:
    first, second = train(tmp_path / "1"), train(tmp_path / "2")
    for name, tensor in learnt(first).items():
        assert torch.equal(tensor, learnt(second)[name]), name


def test_metrics_have_the_promised_names(tmp_path: Path) -> None:
    train(tmp_path / "run")
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [row["time/total_timesteps"] for row in rows] == [128, 256, 384, 512]
    promised = {
        "time/total_timesteps", "time/fps", "rollout/ep_rew_mean", "rollout/ep_rew_pred_mean",
        "rollout/true_reward_accumulated", "labels/total", "labels/pending", "reward_model/loss",
        "reward_model/val_accuracy",
    }  # fmt: skip
    assert all(promised <= row.keys() for row in rows)
    assert {"train/approx_kl", "train/clip_fraction", "train/entropy_loss", "train/value_loss"} <= rows[-1].keys()
    assert rows[-1]["labels/total"] == CONFIG.labels
    assert rows[-1]["reward_model/loss"] is not None


def test_resume_continues_everything(tmp_path: Path) -> None:
    half = replace(CONFIG, total_timesteps=256)
    first = train(tmp_path / "run", half)
    again, beginning = make_trainer(tmp_path / "run"), make_trainer(tmp_path / "new")
    assert (again.step, again.iteration, again.learning) == (256, 2, True)
    assert first.oversight is not None
    assert again.oversight is not None
    assert again.oversight.state() == first.oversight.state()
    assert (again.fitted_pairs, again.seconds) == (first.fitted_pairs, first.seconds)
    assert again.fitted_pairs > 0
    assert again.true_return.state() == first.true_return.state()
    assert again.predicted_return.state() == first.predicted_return.state() != beginning.predicted_return.state()
    assert again.inquiry is not None
    assert first.inquiry is not None
    assert [f.segment.id for f in again.inquiry.pool] == [f.segment.id for f in first.inquiry.pool]
    assert set(again.inquiry.asked) == set(first.inquiry.asked)
    for name, tensor in learnt(first).items():
        assert torch.equal(tensor, learnt(again)[name]), name
    assert not np.array_equal(again.standing.frames, beginning.standing.frames), (
        "new episodes, not the first ones again"
    )
    beginning.close()
    again.train(silent)
    again.close()
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [row["time/total_timesteps"] for row in rows] == [128, 256, 384, 512]
    accumulated = [row["rollout/true_reward_accumulated"] for row in rows]
    assert all(a > b for a, b in pairwise(accumulated) if a is not None and b is not None)


def test_a_resumed_baseline_keeps_the_scale_of_its_rewards(tmp_path: Path) -> None:
    config = replace(CONFIG, reward="env", total_timesteps=256)
    first, again = (train(tmp_path / "run", config), make_trainer(tmp_path / "run", config))
    again.close()
    before, after = first.return_scale.state(), again.return_scale.state()
    assert {name: tensor.tolist() for name, tensor in after.items()} == {n: t.tolist() for n, t in before.items()}
    assert before["return_scale.count"] > 1


def test_without_answers_it_explores_and_never_waits(tmp_path: Path) -> None:
    trainer = train(tmp_path / "run", replace(CONFIG, teacher="human"))
    assert trainer.step == CONFIG.total_timesteps
    assert not trainer.learning
    assert trainer.ppo.updates == 0
    with LabelStore.open(tmp_path / "run" / "labels.db") as store:
        counts = store.counts()
    assert 0 < counts.pending <= CONFIG.queries.max_pending


def test_play_goes_on_while_a_checkpoint_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, steps = threading.Event(), list[int]()

    def slow(*args: Any) -> Path:
        assert go_on.wait(20), "the loop waited for it"
        return save(*args)

    def watch(snapshot: Snapshot) -> None:
        steps.append(snapshot.step)
        if len(steps) == 2:
            go_on.set()

    monkeypatch.setattr("pairplay.run.saving.save", slow)
    trainer = make_trainer(tmp_path / "run", replace(CONFIG, checkpoint_every=128))
    trainer.train(watch)
    trainer.close()
    saved = sorted(int(path.name) for path in trainer.run.checkpoints.iterdir())
    assert saved == steps[-3:]


def test_play_begins_beside_the_fit_whether_or_not_a_checkpoint_is_due(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(CONFIG, checkpoint_every=128)
    run = RunDir.create(tmp_path / "run", config.env_id, config.seed)
    with closing(Trainer(config, run, replace(HARDWARE, threads=2))) as trainer:
        plays, fits = threading.Event(), list[int]()
        play, begin = trainer.envs.step, trainer.refit.begin

        def step(action: Array) -> Step:
            plays.set()
            return play(action)

        def slow(*args: Any, **options: Any) -> FitMetrics:
            if trainer.step < config.total_timesteps:  # after the last fit nothing is played
                assert plays.wait(20), "play waited for the fit"
            fits.append(trainer.step)
            return fit(*args, **options)

        def begin_anew(*args: Any, **options: Any) -> None:
            plays.clear()
            begin(*args, **options)

        monkeypatch.setattr(trainer.envs, "step", step)
        monkeypatch.setattr(trainer.refit, "begin", begin_anew)
        monkeypatch.setattr("pairplay.reward.refit.fit", slow)
        trainer.train(silent)
        saved = sorted(int(path.name) for path in run.checkpoints.iterdir())
    assert len(fits) >= 3
    assert saved == [2 * 128, 3 * 128, 4 * 128]


def test_the_learning_rate_falls_from_all_of_it_to_the_last_iteration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(make_trainer(tmp_path / "run", replace(CONFIG, reward="env"))) as trainer:
        scales, update = list[float](), trainer.ppo.update

        def noting(*args: Any, **options: Any) -> dict[str, float | None]:
            scales.append(options["lr_scale"])
            return update(*args, **options)

        monkeypatch.setattr(trainer.ppo, "update", noting)
        trainer.train(silent)
    assert scales == [1.0, 0.75, 0.5, 0.25]


def test_what_is_learnt_and_asked_is_the_same_with_and_without_a_thread_for_it(tmp_path: Path) -> None:
    learnt_by, metrics, asked = [], [], []
    for threads in (1, 2):
        run = RunDir.create(tmp_path / str(threads), CONFIG.env_id, CONFIG.seed)
        with closing(Trainer(CONFIG, run, replace(HARDWARE, threads=threads))) as trainer:
            trainer.train(silent)
            learnt_by.append(learnt(trainer))
            asked.append(trainer.store.asked_pairs(after=0))
        timed = ("time/", "seconds/")
        metrics.append(
            [{k: v for k, v in row.items() if not k.startswith(timed)} for row in read_metrics(run.metrics_jsonl)]
        )
    assert len(asked[0]) > 8
    assert asked[0] == asked[1]
    assert metrics[0] == metrics[1]
    for name, tensor in learnt_by[0].items():
        torch.testing.assert_close(learnt_by[1][name], tensor, rtol=1e-5, atol=1e-7, equal_nan=True, msg=name)


def test_a_checkpoint_of_the_midst_is_that_of_a_run_which_stopped_there(tmp_path: Path) -> None:
    found = []
    for name, every in (("on", 256), ("stopped", 10**9)):
        trainer = make_trainer(tmp_path / name, replace(CONFIG, checkpoint_every=every))

        def watch(snapshot: Snapshot, trainer: Trainer = trainer) -> None:
            if snapshot.step == 256 and trainer.config.checkpoint_every > 256:
                trainer.stop()

        trainer.train(watch)
        trainer.close()
        path = trainer.run.checkpoints / f"{256:012d}"
        found.append((load_file(path / "tensors.safetensors"), json.loads((path / "state.json").read_text())))
    assert sorted(int(path.name) for path in (tmp_path / "on" / "checkpoints").iterdir()) == [256, 512]
    (tensors, state), (others, other) = found
    assert state["fitted_pairs"] > 0
    # What was filmed until the moment of saving is among the candidates.
    candidates = {piece["id"] for piece in other.pop("pool")}
    assert candidates < {piece["id"] for piece in state.pop("pool")}
    for changing in (state, other):
        del changing["seconds"]
    assert state == other
    learnt = {name for name in others if not name.startswith("pool.")}
    assert learnt == {name for name in tensors if not name.startswith("pool.")}
    for name in learnt:
        assert torch.equal(tensors[name], others[name]), name


def test_stop_ends_after_the_iteration_and_saves(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path / "run")
    trainer.train(lambda snapshot: trainer.stop())
    trainer.close()
    assert trainer.step == 128
    again = make_trainer(tmp_path / "run")
    again.close()
    assert again.step == 128


def test_the_baseline_asks_nothing(tmp_path: Path) -> None:
    trainer = train(tmp_path / "run", replace(CONFIG, reward="env", teacher="human"))
    assert trainer.ppo.updates > 0
    with LabelStore.open(tmp_path / "run" / "labels.db") as store:
        assert store.counts().asked == 0


def test_the_baseline_plays_in_grey_for_nobody_looks(tmp_path: Path) -> None:
    for config, recordable in ((ENDURO, 2), (replace(ENDURO, reward="env"), 0)):
        with closing(make_trainer(tmp_path / config.reward, config)) as trainer:
            assert trainer.envs.recordable == recordable


def test_once_it_learns_fewer_segments_are_filmed(tmp_path: Path) -> None:
    queries = replace(ENDURO.queries, segment_length=6, windows=8, candidates=3)
    filmed: list[tuple[bool, int]] = []
    with closing(make_trainer(tmp_path / "run", replace(ENDURO, queries=queries))) as trainer:
        assert trainer.inquiry is not None
        keep = trainer.inquiry.keep

        def noting(rollout: Rollout, windows: Sequence[Window], *rest: Any, **more: Any) -> None:
            filmed.append((trainer.learning, len(windows)))
            keep(rollout, windows, *rest, **more)

        trainer.inquiry.keep = noting  # type: ignore[method-assign]
        trainer.train(silent)
    assert filmed == [(False, 8), (True, 3), (True, 3)]


def test_teachers_answer_while_the_agent_plays_on(tmp_path: Path) -> None:
    """What an iteration asks is drawn during the next one and answered in it; at the end nothing is left open."""
    config = replace(CONFIG, total_timesteps=8 * 128, labels=40, queries=replace(CONFIG.queries, initial_share=0.2))
    trainer = make_trainer(tmp_path / "run", config)
    seen: list[tuple[bool, int, set[int]]] = []

    def watch(snapshot: Snapshot) -> None:
        trainer.inquiry.publisher.flush()  # type: ignore[union-attr]
        seen.append((trainer.learning, snapshot.counts.answered, set(trainer.store.open_steps().values())))

    trainer.train(watch)
    trainer.close()
    *before, (_, total, left) = seen
    assert (total, left) == (config.labels, set())
    learning = [(number * 128, steps) for number, (learns, _, steps) in enumerate(before, 1) if learns]
    # The iteration in which learning begins has answered at once.
    assert learning[0][1] == set()
    assert all(steps == {now} for now, steps in learning[1:])
    assert len(learning) > 3
