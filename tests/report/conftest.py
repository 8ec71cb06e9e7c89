"""Runs that were never played: a configuration and the figures a test wants."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from pairplay.config import TrainConfig
from pairplay.run.config_file import write_config
from pairplay.run.layout import RunDir

MakeRun = Callable[..., RunDir]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    def make(
        name: str,
        config: TrainConfig,
        rewards: Sequence[float],
        *,
        returns: Sequence[float | None] | None = None,
        every: int = 100,
        answers: int = 10,
    ) -> RunDir:
        run = RunDir.create(tmp_path / "runs" / name, config.env_id, config.seed)
        write_config(run.config_toml, config)
        with run.metrics_jsonl.open("w") as file:
            for i, reward in enumerate(rewards):
                row = {
                    "time/total_timesteps": (i + 1) * every,
                    "time/time_elapsed": 60.0 * (i + 1),
                    "rollout/true_reward_accumulated": reward,
                    "rollout/ep_rew_mean": returns[i] if returns else reward / 2,
                    "labels/total": answers * (i + 1),
                }
                file.write(json.dumps(row) + "\n")
        return run

    return make
