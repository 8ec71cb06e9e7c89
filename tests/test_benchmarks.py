"""The harness of benchmarks/: jobs, rows and tables. No benchmark is run here."""

from __future__ import annotations

import importlib
import json
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pairplay.cli import TrainCommand, _parse

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "benchmarks"
SCRIPTS = ["ablations", "enduro_long", "enduro_quick", "imitation_peer", "mujoco_tasks", "imperfect_teachers"]


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a script is run: its folder comes first on the path."""
    monkeypatch.syspath_prepend(str(FOLDER))


def load(name: str) -> Any:
    return importlib.import_module(name)


@pytest.fixture
def harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The harness at work in a directory of its own."""
    module = load("harness")
    for name, path in (("ROOT", tmp_path), ("RUNS", tmp_path / "runs"), ("RESULTS", tmp_path / "results")):
        monkeypatch.setattr(module, name, path)
    return module


def metrics(steps: int, *, mean: float | None = 2.0, count: int = 1) -> list[dict[str, Any]]:
    return [
        {
            "time/total_timesteps": steps * (i + 1) // count,
            "rollout/ep_rew_mean": mean,
            "rollout/true_reward_accumulated": 10.0 * (i + 1),
            "labels/total": 3.0 * (i + 1),
            "time/time_elapsed": 60.0 * (i + 1),
        }
        for i in range(count)
    ]


def origin(command: str = "pairplay train") -> Any:
    return load("rows").Origin(command, "abc", {"torch": "2"}, {"cpu": "x", "machine": "m"}, 1, 0, "2026-01-02")


# Rows


def test_a_row_holds_the_last_figures() -> None:
    row = load("rows").reduce(
        metrics(1000, count=4), benchmark="b", setting="s", env_id="E-v1", seed=7, origin=origin()
    )
    assert (row.steps, row.answers, row.seconds, row.accumulated, row.final_return) == (1000, 12, 240.0, 40.0, 2.0)
    assert row.curve == ((250, 2.0, 10.0, 3), (500, 2.0, 20.0, 6), (750, 2.0, 30.0, 9), (1000, 2.0, 40.0, 12))


def test_a_run_without_metrics_is_no_row() -> None:
    with pytest.raises(ValueError, match="no metrics"):
        load("rows").reduce([], benchmark="b", setting="s", env_id="E", seed=1, origin=origin())


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (2, 2), (59, 59), (60, 60), (61, 60), (5000, 60)])
def test_a_curve_is_thinned_and_keeps_its_ends(count: int, expected: int) -> None:
    kept = load("rows").thinned(count)
    assert len(kept) == expected
    assert (kept[0], kept[-1]) == (0, count - 1)


def test_a_row_comes_back_as_it_was_written(tmp_path: Path) -> None:
    rows = load("rows")
    row = rows.reduce(metrics(100, mean=None, count=3), benchmark="b", setting="s", env_id="E", seed=1, origin=origin())
    path = tmp_path / "deep" / "row.json"
    rows.write(row, path)
    assert rows.read(path) == row
    assert "last 100 episodes" in json.loads(path.read_text())["final_return_is"]
    assert list(path.parent.iterdir()) == [path]


def test_a_damaged_row_is_named(tmp_path: Path) -> None:
    path = tmp_path / "row.json"
    path.write_text('{"seed": 1}')
    with pytest.raises(ValueError, match=r"row\.json"):
        load("rows").read(path)


@pytest.mark.parametrize("path", sorted((FOLDER / "results").rglob("*.json")), ids=lambda p: p.name)
def test_committed_rows_can_be_read_and_lie_where_their_job_looks(path: Path) -> None:
    row = load("rows").read(path)
    job = load("harness").Job(row.benchmark, row.setting, row.env_id, row.seed, ())
    assert job.row_path == path
    assert len(row.curve) <= 60


@pytest.mark.parametrize(
    ("hardware", "name"),
    [
        ({"cpu": "AMD EPYC (family 25, model 17)", "machine": "x86_64"}, "amd-epyc"),
        ({"cpu": "Intel(R) Xeon(R) Processor (family 6, model 167)", "machine": "x86_64"}, "intel-xeon-processor"),
        ({"cpu": "AMD EPYC", "machine": "x86_64", "gpu": "NVIDIA H200"}, "nvidia-h200"),
        ({"cpu": "(?)", "machine": "arm64"}, "arm64"),
    ],
)
def test_the_page_of_another_machine_has_another_name(hardware: dict[str, str], name: str, tmp_path: Path) -> None:
    path = load("rows").page("speed", hardware, tmp_path)
    assert path.parent == tmp_path
    assert re.fullmatch(rf"speed_{name}_\d{{4}}-\d\d-\d\d\.md", path.name)


def test_generations_of_one_name_are_told_apart(tmp_path: Path) -> None:
    cores = "\n\n".join(
        f"processor\t: {core}\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\nflags\t: a" for core in (0, 1)
    )
    (tmp_path / "cpuinfo").write_text(cores + "\n")
    assert load("rows")._cpu(tmp_path / "cpuinfo") == "AMD EPYC (family 25, model 17)"
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: A: B\n")
    assert load("rows")._cpu(tmp_path / "cpuinfo") == "A: B"
    assert load("rows")._cpu(tmp_path / "missing"), "macOS has no such file"


# Jobs


def test_a_job_is_a_command_and_two_places(harness: Any) -> None:
    job = harness.Job("bench", "one member", "ALE/Pong-v5", 3, ("--labels", "9"))
    run = "runs/bench/one-member__ALE-Pong-v5__3"
    assert job.command == f"pairplay train --env-id ALE/Pong-v5 --labels 9 --seed 3 --run-dir {run} --no-open"
    assert job.row_path == harness.RESULTS / "bench" / "one-member__ALE-Pong-v5__3.json"


def test_a_shortened_job_never_gets_among_the_results(harness: Any) -> None:
    job = harness.Job("bench", "s", "E", 1, ("--total-timesteps", "500", "--labels", "9")).shortened(20)
    assert job.arguments == ("--total-timesteps", "20", "--labels", "9")
    assert harness.RESULTS not in job.row_path.parents
    assert harness.Job("bench", "s", "E", 1, ()).shortened(20).arguments == ("--total-timesteps", "20")


def test_a_row_of_another_command_is_not_taken_for_the_job(harness: Any) -> None:
    job = harness.Job("bench", "s", "E", 1, ("--labels", "9"))
    row = load("rows").reduce(
        metrics(5), benchmark="bench", setting="s", env_id="E", seed=1, origin=origin("pairplay train --labels 8")
    )
    load("rows").write(row, job.row_path)
    with pytest.raises(harness.JobError, match="another command"):
        harness.row_of(job)


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_say_what_they_claim_and_how_to_run_them(script: str) -> None:
    doc = load(script).__doc__
    assert doc.startswith("Claim: ")
    assert f"benchmarks/{script}.py" in doc


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_job_is_a_command_that_pairplay_understands(script: str) -> None:
    """A renamed option shows here, and not after a night of training."""
    jobs = load(script).jobs([1])
    assert len({job.name for job in jobs}) == len({job.command for job in jobs}) == len(jobs)
    for job in jobs:
        if job.peer is None:
            parsed = _parse(TrainCommand, job.words[2:], "train", TrainCommand())
            assert parsed.training.env_id == job.env_id


def test_a_peer_gets_steps_that_fill_its_iterations() -> None:
    """50 iterations of rollouts of 512 and 2,048 steps, 60 of 2,048, 6 of 1,024: others would be rounded up."""
    tasks = load("imitation_peer").TASKS
    assert {env_id: steps for env_id, (steps, _, _) in tasks.items()} == {
        "HalfCheetah-v5": 50 * 512 * 20,
        "Hopper-v5": 50 * 2048 * 5,
        "Pendulum-v1": 60 * 2048 * 2,
        "ALE/Enduro-v5": 6 * 1024 * 5,
    }


# Running


class FakeRun:
    """A peer that writes metrics, or fails, or waits to be stopped."""

    def __init__(self, harness: Any, folder: Path) -> None:
        self.harness = harness
        script = folder / "fake.py"
        script.write_text(
            "import json, pathlib, sys, time\n"
            "run = pathlib.Path(sys.argv[sys.argv.index('--run-dir') + 1])\n"
            "run.mkdir(parents=True)\n"
            "(run / 'clips').mkdir()\n"
            "(run / 'labels.db').touch()\n"
            "if 'fail' in sys.argv: sys.exit(3)\n"
            f"(run / 'metrics.jsonl').write_text({json.dumps(json.dumps(metrics(50)[0]))} + '\\n')\n"
            "if 'wait' in sys.argv: time.sleep(60)\n"
        )
        self.peer = harness.Peer(Path(sys.executable), script)

    def job(self, seed: int, *arguments: str) -> Any:
        return self.harness.Job("bench", "fake", "E-v1", seed, arguments, peer=self.peer)


@pytest.fixture
def fake(harness: Any, tmp_path: Path) -> FakeRun:
    return FakeRun(harness, tmp_path)


def test_jobs_leave_rows_and_little_else(harness: Any, fake: FakeRun) -> None:
    jobs = [fake.job(1), fake.job(2)]
    assert harness.run_jobs(jobs, beside=2) == []
    for job in jobs:
        row = harness.row_of(job)
        assert (row.steps, row.origin.command, row.origin.beside) == (50, job.command, 2)
        assert sorted(path.name for path in job.run_dir.iterdir()) == ["metrics.jsonl"]


def test_a_finished_job_is_not_run_again(harness: Any, fake: FakeRun) -> None:
    job = fake.job(1)
    harness.run_jobs([job])
    before = job.row_path.stat().st_mtime_ns
    harness.run_jobs([job])
    assert job.row_path.stat().st_mtime_ns == before


def test_a_failed_job_does_not_stop_the_others(harness: Any, fake: FakeRun) -> None:
    bad, good = fake.job(1, "fail"), fake.job(2)
    failures = harness.run_jobs([bad, good])
    assert len(failures) == 1
    assert "exit code 3" in failures[0]
    assert harness.row_of(bad) is None
    assert harness.row_of(good) is not None


def test_the_end_of_the_hours_stops_the_runs(harness: Any, fake: FakeRun) -> None:
    began = time.monotonic()
    job = fake.job(1, "wait")
    handler = signal.getsignal(signal.SIGINT)
    harness.run_jobs([job], hours=1.5 / 3600)
    assert time.monotonic() - began < 30
    assert harness.row_of(job) is None
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_run_of_another_command_is_not_resumed(harness: Any) -> None:
    job = harness.Job("bench", "s", "CartPole-v1", 1, ())
    job.run_dir.mkdir(parents=True)
    (job.run_dir / "config.toml").touch()
    (failure,) = harness.run_jobs([job])
    assert "holds another run" in failure


# Tables


def test_normalised_is_0_for_random_and_1_for_the_true_reward() -> None:
    normalised = load("mujoco_tasks").normalised
    assert normalised([-40.0, -5.0, -22.5], random=-40.0, true=-5.0) == [0.0, 1.0, 0.5]
    assert str(normalised([1.0], random=2.0, true=2.0)) == "[nan]"


def test_figures_are_short() -> None:
    figure = load("intervals").figure
    assert [figure(v) for v in (0.01234, 1.234, 12.34, 1234.5, -1234.5)] == [
        "0.0123",
        "1.23",
        "12.3",
        "1,234",
        "-1,234",
    ]


def test_summaries_of_many_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand: of 0…7 the mean is 3.5, the middle half is 2…5, and equal runs have no spread."""
    intervals = load("intervals")
    monkeypatch.setattr(intervals, "REPS", 200)
    np = load("numpy")
    summary = intervals.summarise(np.arange(8.0)[:, None])
    assert (summary.mean.value, summary.median.value, summary.iqm.value) == (3.5, 3.5, 3.5)
    assert summary == intervals.summarise(np.arange(8.0)[:, None])
    assert summary.mean.low < 3.5 < summary.mean.high
    same = intervals.summarise(np.full((4, 2), 5.0))
    assert (same.iqm.low, same.iqm.high) == (5.0, 5.0)
    assert intervals.improvement(np.array([[2.0], [3.0]]), np.array([[1.0], [2.0]])).value == 0.875
    skewed = intervals.summarise(np.array([[0.0], [0.0], [9.0]]))
    assert (skewed.mean.value, skewed.median.value) == (3.0, 0.0)


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_page_is_written_from_rows_alone(script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, module, pages = load("rows"), load(script), load("pages")
    if hasattr(module, "intervals"):
        monkeypatch.setattr(module.intervals, "REPS", 50)
    monkeypatch.setattr(pages, "HERE", tmp_path)
    jobs = module.jobs([1, 2])
    hardware = {"cpu": "abacus", "machine": "m", "system": "s", "cores": 2, "threads": 1, "load_15min": 1.0}
    found = [
        rows.reduce(
            metrics(100, mean=float(i), count=5),
            benchmark=job.benchmark,
            setting=job.setting,
            env_id=job.env_id,
            seed=job.seed,
            origin=rows.Origin(job.command, "abc", {"torch": "2"}, hardware, 2, 0, "2026-01-02"),
        )
        for i, job in enumerate(jobs[:-1])
    ]
    path = module.report(found, jobs)
    assert path == tmp_path / f"{script}_m_2026-01-02.md"
    text = path.read_text()
    assert f"**Incomplete:** {len(found)} of {len(jobs)}" in text
    assert "abacus" in text
    assert path.with_suffix(".png").stat().st_size > 5000
    assert module.report(found, jobs).read_text() == text


# The networks of the reward


def test_every_reward_network_is_the_one_it_is_called() -> None:
    """Whatever the run that is asked about, and whatever the default, has."""
    networks = load("reward_networks").NETWORKS
    assert {name: change["network"] for name, change in networks.items()} == {
        name: name.partition(",")[0] for name in networks
    }


# What answers and steps cost


def test_repeated_figures_show_the_middle_one_and_all() -> None:
    together = load("costs").together
    runs = [{"growth": (value, f"{{:.2f}}× (of {value})")} for value in (1.25, 1.0, 1.125)]
    assert together(runs) == {"growth": "1.12× (of 1.125); 3 runs: 1.00, 1.12, 1.25"}
    assert together(runs[:1]) == {"growth": "1.25× (of 1.25)"}
