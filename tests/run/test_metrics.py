"""What was recorded is read back; what will be played again is forgotten first."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
    EventAccumulator,
)

from pairplay.run.layout import RunDir
from pairplay.run.metrics import MetricsWriter, read_metrics
from pairplay.types import UserError


def new_run(path: Path) -> RunDir:
    return RunDir.create(path, "CartPole-v1", 1)


def record(run: RunDir, steps: list[int], resume_step: int | None = None, loss: float = 1.0) -> None:
    with MetricsWriter(run, resume_step=resume_step) as writer:
        for step in steps:
            writer.write(step, {"train/loss": loss})


def board(run: RunDir, tag: str) -> list[tuple[int, float]]:
    events: Any = EventAccumulator(str(run.tensorboard))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(tag)]


def test_lines_and_tensorboard_agree(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    with MetricsWriter(run) as writer:
        writer.write(100, {"rollout/ep_rew_mean": None, "train/loss": np.float64(0.5), "labels/total": 3})
        assert len(read_metrics(run.metrics_jsonl)) == 1  # at once, not when the file is closed
        writer.write(200, {"rollout/ep_rew_mean": math.nan, "train/loss": math.inf, "labels/total": 4})
    assert read_metrics(run.metrics_jsonl) == [
        {"time/total_timesteps": 100, "rollout/ep_rew_mean": None, "train/loss": 0.5, "labels/total": 3},
        {"time/total_timesteps": 200, "rollout/ep_rew_mean": None, "train/loss": None, "labels/total": 4},
    ]
    assert all(json.loads(line) for line in run.metrics_jsonl.read_text().splitlines())
    assert board(run, "train/loss") == [(100, 0.5)]
    assert board(run, "labels/total") == [(100, 3), (200, 4)]


def test_resuming_forgets_what_comes_after_the_checkpoint(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    record(run, [100, 200, 300, 400])
    record(run, [300, 400], resume_step=200, loss=2.0)
    rows = read_metrics(run.metrics_jsonl)
    assert [(row["time/total_timesteps"], row["train/loss"]) for row in rows] == [
        (100, 1),
        (200, 1),
        (300, 2),
        (400, 2),
    ]
    assert board(run, "train/loss") == [(100, 1), (200, 1), (300, 2), (400, 2)]


@pytest.mark.parametrize("torn", ['{"time/total_timesteps": 30', '{"time/total_timesteps": 300}', "\x00\x00\x00"])
def test_a_torn_last_line_is_dropped_by_reader_and_writer(tmp_path: Path, torn: str) -> None:
    run = new_run(tmp_path)
    record(run, [100])
    with run.metrics_jsonl.open("a") as file:
        file.write(torn)
    assert [row["time/total_timesteps"] for row in read_metrics(run.metrics_jsonl)] == [100]
    record(run, [200])
    assert [row["time/total_timesteps"] for row in read_metrics(run.metrics_jsonl)] == [100, 200]


@pytest.mark.parametrize("line", ["nonsense", "[]", "{}", '{"time/total_timesteps": "5"}'])
def test_any_other_damage_is_named_by_its_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{{"time/total_timesteps": 1}}\n{line}\n{{"time/total_timesteps": 3}}\n')
    with pytest.raises(UserError, match=r"metrics\.jsonl, line 2 is damaged"):
        read_metrics(path)


def test_no_file_is_no_metrics(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "metrics.jsonl") == []


def test_the_step_is_the_writers_word(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    with MetricsWriter(run) as writer:
        writer.write(100, {"time/total_timesteps": 99})
    assert read_metrics(run.metrics_jsonl) == [{"time/total_timesteps": 100}]
