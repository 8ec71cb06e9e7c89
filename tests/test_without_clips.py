"""`--queries.clips none`: synthetic teachers alone, no pictures, and otherwise the same run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from pairplay.cli import main
from pairplay.compressed import Compressed
from pairplay.config import EnvConfig, PPOConfig, QueryConfig, RewardModelConfig, TrainConfig
from pairplay.hardware import Hardware
from pairplay.labels.records import NO_CLIP
from pairplay.labels.store import LabelStore
from pairplay.report.export import export
from pairplay.report.inspect import inspect
from pairplay.run.config_file import write_config
from pairplay.run.layout import RunDir
from pairplay.teachers.panel import check_teachers
from pairplay.trainer import Snapshot, Trainer
from pairplay.types import Array, UserError

CONFIG = TrainConfig(
    env_id="Pendulum-v1",
    teacher="oracle",
    total_timesteps=4 * 128,
    labels=16,
    num_envs=4,
    ppo=PPOConfig(num_steps=32, minibatch_size=64, hidden=16, update_epochs=2),
    reward_model=RewardModelConfig(hidden=16, fit_pairs=32, pretrain_pairs=64),
    queries=QueryConfig(
        segment_length=6, windows=20, explore_steps=128, initial_share=0.5, min_answers=8, clips="none"
    ),
)


class Dark(gymnasium.Env[Array, Any]):
    """Pays for going right; has no pictures."""

    metadata = {"render_modes": []}  # noqa: RUF012
    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        super().reset(seed=seed)
        self.place = 0.0
        return self._seen(), {}

    def step(self, action: int) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        self.place = float(np.clip(self.place + (0.1 if action else -0.1), -1, 1))
        return self._seen(), self.place, False, False, {}

    def _seen(self) -> Array:
        return np.array([self.place, 1.0], np.float32)


@pytest.fixture(autouse=True)
def _dark() -> Iterator[None]:
    gymnasium.register("Dark-v0", entry_point=Dark, max_episode_steps=50)  # type: ignore[arg-type]
    yield
    gymnasium.registry.pop("Dark-v0")


def silent(snapshot: Snapshot) -> None:
    pass


def train(path: Path, config: TrainConfig) -> Trainer:
    run = RunDir(path) if path.exists() else RunDir.create(path, config.env_id, config.seed)
    trainer = Trainer(config, run, Hardware(torch.device("cpu"), "fp32", 1))
    try:
        trainer.train(silent)
    finally:
        trainer.close()
    return trainer


def seeing(config: TrainConfig) -> TrainConfig:
    return replace(config, queries=replace(config.queries, clips="still"))


def test_nothing_is_drawn_and_everything_is_learnt_as_with_pictures(tmp_path: Path) -> None:
    blind, sighted = train(tmp_path / "blind", CONFIG), train(tmp_path / "sighted", seeing(CONFIG))
    assert not list((tmp_path / "blind" / "clips").iterdir())
    assert list((tmp_path / "sighted" / "clips").iterdir())
    with LabelStore.open(tmp_path / "blind" / "labels.db") as store:
        rows = list(store.iter_answers())
    assert len(rows) == CONFIG.labels
    assert {clip for row in rows for clip in (row.left_clip, row.right_clip)} == {NO_CLIP}
    assert blind.learning
    for name, tensor in blind.ppo.state().items():
        assert torch.equal(tensor, sighted.ppo.state()[name]), name


def test_it_resumes(tmp_path: Path) -> None:
    train(tmp_path / "run", replace(CONFIG, total_timesteps=256))
    trainer = train(tmp_path / "run", CONFIG)
    assert trainer.step == CONFIG.total_timesteps
    assert trainer.inquiry is not None
    assert len(trainer.inquiry.pool) > 0


def test_an_environment_without_pictures_can_be_taught(tmp_path: Path) -> None:
    config = replace(CONFIG, env_id="Dark-v0")
    with pytest.raises(UserError, match=r"Dark-v0 draws no pictures .* --queries\.clips none.*--reward env"):
        train(tmp_path / "sighted", seeing(config))
    assert train(tmp_path / "blind", config).learning


def test_atari_plays_in_grey_alone(tmp_path: Path) -> None:
    config = replace(
        CONFIG,
        env_id="ALE/Pong-v5",
        num_envs=2,
        total_timesteps=64,
        env=EnvConfig(ends="hide", colour_envs=1),
        queries=replace(CONFIG.queries, explore_steps=32, min_answers=1),
    )
    trainer = train(tmp_path / "run", config)
    assert trainer.envs.recordable == 0
    assert trainer.inquiry is not None
    kept = trainer.inquiry.comparisons()
    assert kept
    assert all(isinstance(side.held, Compressed) for pair in kept for side in (pair.left, pair.right))
    with LabelStore.open(tmp_path / "run" / "labels.db") as store:
        assert store.counts().answered == len(kept)


def test_a_person_has_nothing_to_look_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for teacher in ("human", "human+oracle"):
        with pytest.raises(UserError, match="nothing to look at"):
            check_teachers(replace(CONFIG, teacher=teacher))
    run = tmp_path / "run"
    words = ["--env-id", "Dark-v0", "--teacher", "oracle", "--labels", "4", "--total-timesteps", "64"]
    assert main(["train", *words, "--queries.clips", "none", "--run-dir", str(run), "--no-open"]) == 0
    assert main(["label", str(run), "--no-open"]) == 2
    assert "nothing to compare" in capsys.readouterr().err


def test_a_teacher_that_looks_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="looks at pictures"):
        train(tmp_path / "run", replace(CONFIG, teacher="pairplay.teachers.road:progress"))


def test_reports_do_without_films(tmp_path: Path) -> None:
    train(tmp_path / "run", CONFIG)
    run = RunDir(tmp_path / "run")
    write_config(run.config_toml, CONFIG)
    summary = export(run, tmp_path / "data")
    assert (summary.clips, summary.missing_clips) == (0, ())
    assert summary.answers == CONFIG.labels
    assert inspect(run, None).html.exists()
