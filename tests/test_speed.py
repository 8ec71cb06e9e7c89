"""Programs that take turns, and the speed benchmark made of them. Nothing is timed here but made-up programs."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import pairplay
from pairplay.cli import TrainCommand, _parse, main
from pairplay.hardware import Hardware

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))


def load(name: str) -> Any:
    return importlib.import_module(name)


Make = Callable[..., Any]


@pytest.fixture
def contender(tmp_path: Path) -> Make:
    """A program that plays so many steps every 20 ms, and ends after so many lines."""

    def make(name: str, *, steps: int, lines: int = 10_000, **options: Any) -> Any:
        run = tmp_path / name
        program = (
            "import json, pathlib, time\n"
            f"run = pathlib.Path({str(run)!r}); run.mkdir()\n"
            "file = (run / 'metrics.jsonl').open('w', buffering=1)\n"
            f"for i in range({lines}):\n"
            "    time.sleep(0.02)\n"
            f"    file.write(json.dumps({{'time/total_timesteps': {steps} * (i + 1), 'warm': i >= 3}}) + '\\n')\n"
        )
        words = (sys.executable, "-c", program)
        return load("turns").Contender(name, words, run / "metrics.jsonl", turn_s=0.2, **options)

    return make


def run(contenders: list[Any], rounds: int, cwd: Path) -> tuple[dict[str, list[float]], list[str]]:
    turns, said = load("turns"), list[str]()
    with turns.started(contenders, cwd, os.environ, said.append) as running:
        speeds: dict[str, list[float]] = turns.take_turns(running, rounds, said.append)
        return speeds, said


def test_speeds_are_steps_over_the_time_of_ones_own_turns(contender: Make, tmp_path: Path) -> None:
    """One that plays ten times as many steps in the same time is so much faster."""
    speeds, _ = run([contender("slow", steps=1), contender("fast", steps=10)], 3, tmp_path)
    assert len(speeds["slow"]) == len(speeds["fast"]) == 3
    # 50 a second and a line or two more: had it run on while it was held, it would be 100.
    assert all(0 < speed <= 75 for speed in speeds["slow"])
    assert all(speed > max(speeds["slow"]) for speed in speeds["fast"])


def test_a_turn_lasts_for_as_many_steps_as_it_should_hold(contender: Make, tmp_path: Path) -> None:
    turns = load("turns")
    with turns.started([contender("one", steps=1, turn_steps=30)], tmp_path, os.environ, lambda _: None) as running:
        before = running["one"].step
        running["one"].turn()
        assert running["one"].step >= before + 30  # 10 in the time that a turn lasts


def test_close_contenders_alternate_within_a_round(
    contender: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They run together where the first of them stands, and whoever is not close keeps a turn in one piece."""
    turns, order = load("turns"), list[tuple[str, int]]()
    whole = turns.Running.turn

    def turn(self: Any, parts: int = 1) -> Any:
        order.append((self.contender.name, parts))
        return whole(self, parts)

    monkeypatch.setattr(turns.Running, "turn", turn)
    monkeypatch.setattr(turns, "PARTS", 3)
    contenders = [contender(name, steps=1) for name in ("near", "far", "by")]
    with turns.started(contenders, tmp_path, os.environ, lambda _: None) as running:
        speeds = turns.take_turns(running, 2, lambda _: None, close=("by", "near"))
    together = [("near", 3), ("by", 3), ("by", 3), ("near", 3), ("near", 3), ("by", 3)]
    assert order == [*together, ("far", 1), ("far", 1), *together]
    assert all(len(speeds[name]) == 2 for name in ("near", "far", "by"))
    assert all(speed <= 75 for found in speeds.values() for speed in found)  # as in a turn of one piece


def test_close_contenders_whose_neighbour_fails_go_on(contender: Make, tmp_path: Path) -> None:
    turns, said = load("turns"), list[str]()
    contenders = [contender("short", steps=1, lines=6), contender("good", steps=1)]
    with turns.started(contenders, tmp_path, os.environ, said.append) as running:
        speeds = turns.take_turns(running, 2, said.append, close=("short", "good"))
    assert speeds["short"] == []
    assert len(speeds["good"]) == 2
    assert any("short ended with exit code 0" in line for line in said)


def test_close_contenders_are_other_processes_in_each_round(contender: Make, tmp_path: Path) -> None:
    """Warm before they are measured; what the earlier ones wrote stays. Whoever is not close goes on."""
    turns = load("turns")
    contenders = [contender(name, steps=1, warm=lambda line: line["warm"]) for name in ("one", "other", "alone")]
    with turns.started(contenders, tmp_path, os.environ, lambda _: None) as running:
        before = {name: one.process for name, one in running.items()}
        speeds = turns.take_turns(running, 3, lambda _: None, close=("one", "other"))
        assert [running[name].process is before[name] for name in running] == [False, False, True]
        assert [before[name].poll() for name in before] == [-9, -9, None]
    assert all(len(found) == 3 and max(found) <= 75 for found in speeds.values())
    for name in ("one", "one-1", "one-2", "other", "other-1", "other-2"):
        assert len((tmp_path / name / "metrics.jsonl").read_text().splitlines()) >= 4
    assert not (tmp_path / "alone-1").exists()


def test_who_fails_when_started_anew_is_left_out(contender: Make, tmp_path: Path) -> None:
    """Its process is ended, and the other one goes on alone."""
    turns, said, seen = load("turns"), list[str](), list[int]()

    def once(line: Any) -> bool:
        seen.append(1)
        return len(seen) == 1

    contenders = [contender("once", steps=1, warm=once, patience_s=0.5), contender("good", steps=1)]
    with turns.started(contenders, tmp_path, os.environ, said.append) as running:
        speeds = turns.take_turns(running, 3, said.append, close=("once", "good"))
        assert running["once"].process.poll() == -9
    assert [len(speeds[name]) for name in ("once", "good")] == [1, 3]
    assert any("once has ended no cycle" in line for line in said)


def test_the_parts_of_a_turn_hold_the_steps_of_it(contender: Make, tmp_path: Path) -> None:
    turns = load("turns")
    with turns.started([contender("one", steps=1, turn_steps=30)], tmp_path, os.environ, lambda _: None) as running:
        played = [running["one"].turn(3) for _ in range(3)]
    assert all(10 <= turn.steps < 30 for turn in played)


def test_whoever_is_held_does_nothing(contender: Make, tmp_path: Path) -> None:
    turns = load("turns")
    with turns.started([contender("one", steps=1)], tmp_path, os.environ, lambda _: None) as running:
        metrics = running["one"].contender.metrics
        time.sleep(0.05)  # the signal is on its way
        before = metrics.stat().st_size
        time.sleep(0.3)
        assert metrics.stat().st_size == before
        running["one"].turn()
        assert metrics.stat().st_size > before


def test_the_first_cycles_are_not_measured(contender: Make, tmp_path: Path) -> None:
    turns = load("turns")
    warm = contender("one", steps=1, warm=lambda line: line["warm"])
    with turns.started([warm], tmp_path, os.environ, lambda _: None) as running:
        assert running["one"].step >= 4


def test_programs_end_with_the_block(contender: Make, tmp_path: Path) -> None:
    turns = load("turns")
    with turns.started([contender("one", steps=1)], tmp_path, os.environ, lambda _: None) as running:
        process = running["one"].process
    assert process.returncode == -9


def test_held_programs_end_with_a_holder_that_is_terminated(contender: Make, tmp_path: Path) -> None:
    words = contender("one", steps=1).words
    program = (
        "import os, pathlib, sys, time, turns\n"
        f"run = pathlib.Path({str(tmp_path / 'one')!r})\n"
        f"one = turns.Contender('one', {words!r}, run / 'metrics.jsonl')\n"
        "with turns.started([one], run.parent, os.environ, lambda said: None) as running:\n"
        "    print(running['one'].process.pid, flush=True)\n"
        "    time.sleep(60)\n"
    )
    words = (sys.executable, "-c", program)
    environment = os.environ | {"PYTHONPATH": str(FOLDER)}
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        held = int(holder.stdout.readline())
        holder.terminate()
        assert holder.wait(30) == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(held, 0)


def test_who_fails_is_left_out_and_the_log_is_named(contender: Make, tmp_path: Path) -> None:
    missing = load("turns").Contender(
        "missing", (sys.executable, "-c", "raise SystemExit(3)"), tmp_path / "m" / "metrics.jsonl"
    )
    speeds, said = run([missing, contender("short", steps=1, lines=8), contender("good", steps=1)], 2, tmp_path)
    assert set(speeds) == {"short", "good"}
    assert len(speeds["good"]) == 2
    assert speeds["short"] == []
    assert any("missing ended with exit code 3" in line and "m.log" in line for line in said)
    assert any("short ended with exit code 0" in line for line in said)


def test_who_never_ends_a_cycle_is_left_out(tmp_path: Path) -> None:
    words = (sys.executable, "-c", "import time; time.sleep(60)")
    idle = load("turns").Contender("idle", words, tmp_path / "idle" / "metrics.jsonl", patience_s=0.2)
    speeds, said = run([idle], 1, tmp_path)
    assert speeds == {}
    assert any("idle has ended no cycle" in line for line in said)


@pytest.mark.parametrize("together", [False, True])
def test_one_after_the_other_or_together(contender: Make, tmp_path: Path, together: bool) -> None:
    turns, begun = load("turns"), list[bool]()
    first, second = (contender(name, steps=1, warm=lambda line: line["warm"]) for name in ("first", "second"))

    def say(line: str) -> None:
        begun.append((tmp_path / "second.log").exists())

    with turns.started([first, second], tmp_path, os.environ, say, together=together) as running:
        assert list(running) == ["first", "second"]
    # Said of the first, and then of the second, when it begins to get warm.
    assert begun == [together, True]


# The benchmark


def test_every_program_of_ours_is_a_command_that_pairplay_understands() -> None:
    speed = load("speed")
    ours = [contender for contender in speed.contenders() if "pairplay" in contender.words]
    assert len(ours) == 3
    for contender in ours:
        parsed = _parse(TrainCommand, contender.words[4:], "train", TrainCommand())
        assert parsed.run_dir == contender.metrics.parent


def test_claims_name_programs_that_there_are() -> None:
    speed = load("speed")
    names = {contender.name for contender in speed.contenders()}
    assert {name for claim in speed.CLAIMS for name in (claim.ours, claim.theirs)} == names
    for contender in speed.contenders():
        for word in contender.words:
            if word.startswith("benchmarks/"):
                assert (FOLDER.parent / word).exists(), word
    for library in speed.PEERS:
        assert (FOLDER.parent / speed.libraries.needs_of(library)).exists()


def test_the_page_has_ratios_of_the_same_round(tmp_path: Path) -> None:
    speed = load("speed")
    # By hand: 3, 2 and 5 times as fast.
    speeds = {"preferences-enduro": [300.0, 400.0, 500.0], "sb3-enduro": [100.0, 200.0, 100.0]}
    text = speed.report(speeds, minutes=3.0, rounds=3, folder=tmp_path).read_text()
    assert "| 400 | 100 | **3.00×** (2.00 to 5.00) | 3× |" in text
    assert "| 400 | not run | – | 12× |" in text


def test_the_page_names_no_place_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speed = load("speed")
    elsewhere, here = Path("/elsewhere/.venv/bin/python"), FOLDER.parent / ".venv" / "bin" / "python"
    for interpreter, shown in ((elsewhere, "python"), (here, ".venv/bin/python")):
        monkeypatch.setattr(sys, "executable", str(interpreter))
        text = speed.report({}, minutes=3.0, rounds=3, folder=tmp_path).read_text()
        assert f"# {shown} -m pairplay train --env-id ALE/Enduro-v5 --teacher oracle" in text
        assert f"# {shown} benchmarks/speed.py --fit" in text
        assert "/elsewhere" not in text
        assert str(FOLDER.parent) not in text


def test_our_fit_writes_visits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speed = load("speed")
    monkeypatch.setattr(speed, "FIT_PAIRS", 2)
    monkeypatch.setattr(speed, "FIT_ROUNDS", 2)
    speed.fit_for_ever(tmp_path / "run")
    lines = load("pairplay.run.metrics").read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [line["time/total_timesteps"] for line in lines] == [2, 4]


def test_the_ceiling_is_that_of_as_many_environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ceiling = load("ceiling")
    widths = (32, 64, 256)
    steps_an_epoch = {32: 16, 64: 32, 256: 32}
    for contender in ceiling.contenders(widths):
        if "pairplay" in contender.words:
            defaults = replace(TrainCommand(), training=ceiling.PRESET)
            training = _parse(TrainCommand, contender.words[4:], "train", defaults).training
            assert training.num_envs == int(contender.name.rsplit("-", 1)[1])
            steps, rest = divmod(training.num_envs * training.ppo.num_steps, training.ppo.minibatch_size)
            assert (steps, rest) == (steps_an_epoch[training.num_envs], 0)
    monkeypatch.setattr(ceiling, "ROOT", tmp_path)
    monkeypatch.setattr(ceiling, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(ceiling, "choose_hardware", lambda *_, **__: Hardware(torch.device("cpu"), "fp32", 1))
    (tmp_path / "benchmarks").mkdir()
    emulators = {"emulators-32": [100.0, 200.0, 100.0], "emulators-64": [200.0, 150.0, 90.0]}
    speeds = emulators | {"preferences-32": [50.0, 60.0, 70.0]}
    text = ceiling.report(speeds, (32, 64), minutes=2.0).read_text()
    # By hand: 0.5, 0.3 and 0.7 of the ceiling of the same round, and 0.25, 0.3 and 0.7 of its higher one.
    assert "| 32 | preferences | 60 | **0.50** (0.30 to 0.70) | **0.30** (0.25 to 0.70) |" in text
    assert "| 64 | preferences | not run | not run | not run |" in text


def test_without_a_checkout_the_command_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pairplay, "__file__", str(tmp_path / "a" / "b" / "pairplay" / "__init__.py"))
    assert main(["bench"]) == 2
    assert "make bench" in capsys.readouterr().err
