"""`--profile`: a table whose shares are the run's, and a trace in which the phases can be found."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from pairplay.cli import main
from pairplay.profiling import MEANINGS, Profiler
from pairplay.run.metrics import read_metrics
from pairplay.stopwatch import OTHER, Stopwatch

RUN = [
    "train", "--env-id", "Pendulum-v1", "--teacher", "oracle", "--labels", "8", "--num-envs", "2", "--no-open",
    "--ppo.num-steps", "32", "--ppo.minibatch-size", "32", "--queries.segment-length", "6", "--queries.windows", "4",
    "--queries.explore-steps", "64", "--queries.clips", "still",
    "--reward-model.pretrain-pairs", "16", "--reward-model.fit-pairs", "16",
]  # fmt: skip


def test_a_profiled_run_shows_its_phases(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert main([*RUN, "--total-timesteps", "512", "--run-dir", str(run), "--profile"]) == 0
    said = capsys.readouterr().out
    assert "Where the time went" in said
    assert "trace.json" in said
    events = {event["name"] for event in json.loads((run / "trace.json").read_text())["traceEvents"]}
    assert {"act", "step", "update", "relabel", "ask", "fit", "watch", "record"} <= events

    rows = read_metrics(run / "metrics.jsonl")
    phases = {name.removeprefix("seconds/") for row in rows for name in row if name.startswith("seconds/")}
    assert phases - {OTHER} <= set(MEANINGS), "a phase without an explanation"
    assert {"act", "step", "update", "fit"} <= phases
    for row in rows[1:]:
        spent = sum(value or 0.0 for name, value in row.items() if name.startswith("seconds/"))
        # Saving and showing come on top of the iteration itself, recording is what the last one left.
        assert spent >= 0.9 * 64 / (row["time/fps"] or 1)


def test_a_run_that_never_learns_has_no_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert main([*RUN, "--total-timesteps", "64", "--run-dir", str(run), "--profile"]) == 0
    assert "No trace" in capsys.readouterr().out
    assert not (run / "trace.json").exists()


def test_the_longest_phase_comes_first(tmp_path: Path) -> None:
    now = 0.0
    stopwatch = Stopwatch(lambda: now)
    for name, seconds in (("act", 10.0), ("update", 30.0)):
        with stopwatch.phase(name):
            now += seconds
    paper = io.StringIO()
    Console(file=paper, width=100).print(Profiler(stopwatch, tmp_path / "trace.json").finish())
    lines = [line.split() for line in paper.getvalue().splitlines() if "%" in line]
    assert [(line[1], line[5]) for line in lines] == [("update", "75.0%"), ("act", "25.0%"), ("other", "0.0%")]
