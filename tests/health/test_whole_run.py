"""The watch in a whole run: what is wrong with the answers is said to the person while it can still be mended."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pairplay.config import PPOConfig, QueryConfig, RewardModelConfig, TrainConfig
from pairplay.hardware import Hardware
from pairplay.run.layout import RunDir
from pairplay.trainer import Snapshot, Trainer

CONFIG = TrainConfig(
    env_id="Pendulum-v1",
    total_timesteps=24 * 256,
    labels=240,
    num_envs=4,
    checkpoint_every=10**9,
    ppo=PPOConfig(num_steps=64, minibatch_size=128, hidden=16, update_epochs=2),
    reward_model=RewardModelConfig(hidden=16, fit_pairs=64, pretrain_pairs=256, learning_rate=1e-3, target_std=1.0),
    queries=QueryConfig(segment_length=10, windows=20, initial_share=0.3, anneal_steps=1e6, clips="none"),
)


@pytest.mark.parametrize(("teacher", "told"), [("random", True), ("oracle", False)])
def test_a_person_who_answers_by_tossing_a_coin_is_told(tmp_path: Path, teacher: str, told: bool) -> None:
    config = replace(CONFIG, teacher=teacher)
    run = RunDir.create(tmp_path / "run", config.env_id, config.seed)
    trainer = Trainer(config, run, Hardware(torch.device("cpu"), "fp32", 1))
    notices: list[str | None] = []

    def watch(snapshot: Snapshot) -> None:
        notices.append(snapshot.notice)

    trainer.train(watch)
    trainer.close()
    assert any("no more than a coin would" in notice for notice in notices if notice) == told
    assert (notices[-1] is not None and "no more than a coin would" in notices[-1]) == told


def test_behaviour_is_ranked_beside_the_play_as_it_would_be_in_turn(tmp_path: Path) -> None:
    found = []
    for threads in (1, 2):  # with two, the fit and what follows it have a thread of their own
        config = replace(CONFIG, teacher="oracle", total_timesteps=16 * 256)
        run = RunDir.create(tmp_path / str(threads), config.env_id, config.seed)
        trainer = Trainer(config, run, Hardware(torch.device("cpu"), "fp32", threads))
        trainer.train(lambda snapshot: None)
        trainer.close()
        assert trainer.oversight is not None
        enough = trainer.oversight.enough
        assert enough.last is not None, "nothing was ever compared"
        assert enough.last.answers > 10
        assert len(enough.watched) >= 20
        found.append(enough.state())
    assert found[0] == found[1]
