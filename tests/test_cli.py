"""The command line as others script it: names, exit codes, one clear line for each mistake, stop and resume."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pairplay.cli import COMMANDS, main
from pairplay.labels.store import LabelStore

QUICK = [
    "--env-id", "Pendulum-v1", "--num-envs", "2", "--no-open", "--ppo.num-steps", "32", "--ppo.minibatch-size", "32",
    "--queries.segment-length", "6", "--queries.windows", "4", "--queries.min-answers", "4",
    "--queries.explore-steps", "64", "--reward-model.pretrain-pairs", "16", "--reward-model.fit-pairs", "16",
]  # fmt: skip


@contextlib.contextmanager
def pairplay(*words: str, cwd: Path) -> Iterator[subprocess.Popen[str]]:
    """A pairplay command as a process of its own; killed if the test leaves it running."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pairplay", *words],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def steps_recorded(run: Path) -> int:
    path = run / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return int(json.loads(lines[-1])["time/total_timesteps"]) if lines else 0


def wait_until(condition: object, *, timeout_s: float = 90.0) -> None:
    assert callable(condition)
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tarin"], "unknown command 'tarin'. Did you mean 'train'?"),
        (["train", "--env-id", "ALE/Endruo-v5"], "Did you mean 'ALE/Enduro-v5'?"),
        (["train", "--total-timestep", "5"], "Did you mean '--total-timesteps'?"),
        (["train", "--teacher", "orcale"], "Did you mean 'oracle'?"),
        (["train", "--preset", "quik"], "Did you mean 'quick'?"),
        (["train", "--num-envs", "0"], "--num-envs 0: must be at least 1"),
        (["train", "--config", "nowhere.toml"], "nowhere.toml"),
        (["train", "--env-id", "Pendulum-v1", "--teacher", "no.such.module:judge"], "no.such.module"),
        (["resume", "nowhere"], "nowhere"),
        (["label", "nowhere"], "nowhere"),
        (["play", "nowhere"], "nowhere"),
        (["compare", "nowhere"], "nowhere"),
        (["export", "nowhere", "--out", "x"], "nowhere"),
    ],
)
def test_a_mistake_is_one_clear_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    said = capsys.readouterr().err
    assert message in said
    assert len(said.strip().splitlines()) == 1
    assert "Traceback" not in said
    assert not (tmp_path / "runs").exists()


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(command in said for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_teaches_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([command, "--help"])
    assert exit_.value.code == 0
    assert f"pairplay {command}" in capsys.readouterr().out


def test_help_into_head_ends_without_a_word() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    words = [sys.executable, "-m", "pairplay", "train", "--help"]
    done = subprocess.run(words, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def test_presets_fill_in_and_options_override(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", *QUICK, "--teacher", "oracle", "--total-timesteps", "128", "--labels", "8", "--run-dir"]
    assert main([*words, str(tmp_path / "first")]) == 0
    text = (tmp_path / "first" / "config.toml").read_text()
    assert "num_steps = 32" in text
    assert "target_std = 1.0" in text  # from the control preset
    # The file alone reproduces the run; an option beside it still wins.
    again = ["train", "--config", str(tmp_path / "first" / "config.toml"), "--seed", "5", "--no-open", "--run-dir"]
    assert main([*again, str(tmp_path / "second")]) == 0
    changed = (tmp_path / "second" / "config.toml").read_text().replace("seed = 5", "seed = 1")
    assert changed == text
    assert "Done: 128 steps" in capsys.readouterr().out


def test_a_synthetic_teacher_answers_through_the_store(tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = [
        "train",
        *QUICK,
        "--teacher",
        "oracle",
        "--total-timesteps",
        "256",
        "--labels",
        "12",
        "--run-dir",
        str(run),
    ]
    assert main(words) == 0
    with LabelStore.open(run / "labels.db") as store:
        rows = list(store.iter_answers())
        assert len(rows) == 12
        assert {(row.labeler, row.kind) for row in rows} == {("oracle", "synthetic")}
    assert (run / "config.toml").exists()
    assert list((run / "clips").glob("*.mp4"))
    assert list((run / "tensorboard").iterdir())
    assert list((run / "checkpoints").iterdir())


def test_ctrl_c_saves_and_resume_goes_on(tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ["train", *QUICK, "--teacher", "oracle", "--total-timesteps", "1000000", "--run-dir", str(run)]
    with pairplay(*words, cwd=tmp_path) as process:
        wait_until(lambda: steps_recorded(run) >= 128 or process.poll() is not None)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert f"pairplay resume {run}" in said
    assert "Traceback" not in said
    stopped_at = steps_recorded(run)
    assert main(["resume", str(run), "--total-timesteps", str(stopped_at + 64), "--no-open"]) == 0
    assert steps_recorded(run) == stopped_at + 64


def test_killing_the_trainer_loses_no_answer_and_resume_uses_them(tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ["train", *QUICK, "--teacher", "oracle", "--total-timesteps", "1000000", "--labels", "30"]
    with pairplay(*words, "--run-dir", str(run), cwd=tmp_path) as process:
        wait_until(lambda: steps_recorded(run) >= 256 or process.poll() is not None)
        process.kill()
        process.wait()
    with LabelStore.open(run / "labels.db") as store:
        kept = store.counts().answered
    assert kept >= 8
    # No checkpoint was due yet: training begins at step 0 again, but with every answer.
    assert main(["resume", str(run), "--total-timesteps", "128", "--no-open"]) == 0
    with LabelStore.open(run / "labels.db") as store:
        assert store.counts().answered >= kept


def test_resume_refuses_what_train_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    words = ["train", *QUICK, "--teacher", "oracle", "--total-timesteps", "128", "--labels", "8"]
    assert main([*words, "--run-dir", str(run)]) == 0
    assert main(["resume", str(run), "--labels", "-1", "--no-open"]) != 0
    captured = capsys.readouterr()
    assert "--labels -1: must be at least 0" in captured.out + captured.err


def test_a_person_labels_while_it_trains_and_either_side_may_die(tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ["train", *QUICK, "--total-timesteps", "1000000", "--run-dir", str(run)]
    with pairplay(*words, cwd=tmp_path) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("Label at http://127.0.0.1:")
        assert "/#token=" in line
        info = json.loads((run / "label-server.json").read_text())
        wait_until(lambda: steps_recorded(run) >= 64 or process.poll() is not None)
        os.kill(info["pid"], signal.SIGKILL)
        before = steps_recorded(run)
        wait_until(lambda: steps_recorded(run) >= before + 128)
        # The trainer brings the label server back on the same port.
        wait_until(lambda: _pid(run) not in (None, info["pid"]))
        assert json.loads((run / "label-server.json").read_text())["port"] == info["port"]
        process.kill()
        process.wait()
    server = _pid(run)
    assert server is not None
    try:
        os.kill(server, 0)  # still there: killing the trainer does not stop answering
    finally:
        os.kill(server, signal.SIGTERM)


def _pid(run: Path) -> int | None:
    with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
        return int(json.loads((run / "label-server.json").read_text())["pid"])
    return None
