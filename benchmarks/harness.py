"""Run the jobs of a benchmark and keep one row of each. Knows no statistics and draws nothing.

A job is one `pairplay train` (or one run of a peer) as a child process. Its row in `benchmarks/results/` is its only
lasting trace: a job with a row is done, a job with a run directory goes on from there, any other begins. So the same
command can be interrupted and given again until nothing is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import rows
from rows import ROOT, Origin, Row

from pairplay.run.config_file import read_config
from pairplay.run.layout import is_run, safe_name
from pairplay.run.metrics import STEP, read_metrics

RESULTS = ROOT / "benchmarks" / "results"
RUNS = ROOT / "runs"
SAY_EVERY_S = 60.0
GRACE_S = 180.0
"""How long an interrupted run may take to finish its iteration and save."""
ATTEMPTS = 3
"""Starts and resumptions of one job in one sitting: a run that dies again and again needs a person."""


class JobError(Exception):
    """A job that cannot be run as things stand; the message says what to mend."""


@dataclass(frozen=True)
class Peer:
    """A program to compare with: it takes --env-id, --seed and --run-dir, and writes our metrics.jsonl there."""

    python: Path
    """The interpreter of its own virtual environment."""
    script: Path
    """Both from the repository's root."""


@dataclass(frozen=True)
class Job:
    """One run of a benchmark."""

    benchmark: str
    setting: str
    env_id: str
    seed: int
    arguments: tuple[str, ...]
    """Beside --env-id, --seed and --run-dir."""
    peer: Peer | None = None
    trial: bool = False
    """A shortened run: its row stays in runs/ and never gets among the results."""

    @property
    def name(self) -> str:
        return f"{safe_name(self.setting)}__{safe_name(self.env_id)}__{self.seed}"

    @property
    def run_dir(self) -> Path:
        return RUNS / self.benchmark / self.name

    @property
    def row_path(self) -> Path:
        return (RUNS / "trials" if self.trial else RESULTS) / self.benchmark / f"{self.name}.json"

    @property
    def words(self) -> list[str]:
        """The command as a reader would type it at the repository's root."""
        program = ["pairplay", "train"] if self.peer is None else [str(self.peer.python), str(self.peer.script)]
        where = ["--env-id", self.env_id, *self.arguments, "--seed", str(self.seed)]
        run_dir = ["--run-dir", str(self.run_dir.relative_to(ROOT))]
        return [*program, *where, *run_dir, *([] if self.peer else ["--no-open"])]

    @property
    def command(self) -> str:
        return shlex.join(self.words)

    def shortened(self, steps: int) -> Job:
        """The same in so many steps, to try a benchmark out."""
        words = list(self.arguments)
        if "--total-timesteps" in words:
            words[words.index("--total-timesteps") + 1] = str(steps)
        else:
            words += ["--total-timesteps", str(steps)]
        return replace(self, benchmark=f"{self.benchmark}-{steps}", arguments=tuple(words), trial=True)


def row_of(job: Job) -> Row | None:
    """The row of `job`, None where it is missing. JobError for the row of another command under its name."""
    if not job.row_path.exists():
        return None
    row = rows.read(job.row_path)
    if row.origin.command != job.command:
        raise JobError(
            f"{job.row_path.relative_to(ROOT)} is the result of another command:\n  {row.origin.command}\n"
            f"  {job.command}\nDelete it to run the job anew, or restore the arguments."
        )
    return row


@dataclass
class Child:
    """A job under way."""

    job: Job
    process: subprocess.Popen[bytes]
    log: Path
    began: float
    told: bool = False


def run_jobs(jobs: Sequence[Job], *, beside: int = 1, keep_runs: bool = False, hours: float | None = None) -> list[str]:
    """Run all jobs without a row, `beside` at a time. Returns what failed, one line each.

    SIGINT, SIGTERM and the end of `hours` let the runs under way save and return; a second signal ends them at once.
    """
    todo = [job for job in jobs if row_of(job) is None]
    done, total, failures = len(jobs) - len(todo), len(jobs), list[str]()
    attempts: dict[str, int] = {}
    running: dict[int, Child] = {}  # by slot
    stop = _Stop(running)
    deadline = None if hours is None else time.monotonic() + hours * 3600
    said = time.monotonic()
    say(f"{done} of {total} runs are done; {len(todo)} to go, {beside} at a time.")
    with stop:
        while running or (todo and not stop.asked):
            if deadline is not None and time.monotonic() > deadline and not stop.asked:
                say(f"{hours:g} hours are over.")
                stop.ask()
            for slot in range(beside):
                if slot not in running and todo and not stop.asked:
                    job = todo.pop(0)
                    try:
                        running[slot] = _start(job, slot, beside)
                    except (JobError, OSError) as error:
                        failures.append(f"{job.name}: {error}")
            for slot, child in list(running.items()):
                code = child.process.poll()
                if code is None:
                    continue
                del running[slot]
                job, attempts[child.job.name] = child.job, attempts.get(child.job.name, 0) + 1
                if finished(job, code):
                    row = _keep(job, keep_runs=keep_runs)
                    done += 1
                    say(f"[{done}/{total}] {job.name}: final return {row.final_return}, {row.seconds / 60:.1f} min")
                elif stop.asked:
                    say(f"{job.name}: stopped at step {steps_done(job):,}; the same command goes on from there.")
                elif code == 0 and job.peer is None and attempts[job.name] < ATTEMPTS:
                    todo.insert(0, job)  # stopped from outside, and saved
                else:
                    failures.append(f"{job.name}: exit code {code}, see {child.log.relative_to(ROOT)}")
                    say(failures[-1])
            if running and time.monotonic() - said > SAY_EVERY_S:
                said = time.monotonic()
                for child in running.values():
                    say(_progress(child))
            stop.enforce()
            time.sleep(0.5)
    return failures


def finished(job: Job, code: int) -> bool:
    """Whether the child that ended with `code` has played all its steps."""
    if job.peer is not None:
        return code == 0
    return code == 0 and steps_done(job) >= read_config(job.run_dir / "config.toml").total_timesteps


def steps_done(job: Job) -> int:
    metrics = read_metrics(job.run_dir / "metrics.jsonl")
    return int(metrics[-1][STEP] or 0) if metrics else 0


def _start(job: Job, slot: int, beside: int) -> Child:
    """Begin or go on with a job."""
    if job.peer is not None and not (ROOT / job.peer.python).exists():
        raise JobError(f"{job.peer.python} is missing: run the benchmark with --install first")
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    share = max(1, len(cores) // beside)
    resumed = job.peer is None and is_run(job.run_dir)
    if resumed:
        notes = _notes(job)
        if notes is None or notes["command"] != job.command:
            raise JobError(f"{job.run_dir.relative_to(ROOT)} holds another run: delete it, or move it away")
        _note(job, {**notes, "interruptions": notes["interruptions"] + 1})
        words = ["pairplay", "resume", str(job.run_dir.relative_to(ROOT)), "--no-open"]
    else:
        if job.run_dir.exists():  # a peer's, which cannot be resumed, or one that died before its first line
            shutil.rmtree(job.run_dir)
        _note(job, _origin(job, share, beside))
        words = job.words
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if job.peer is None:
        words = [sys.executable, "-m", *words]
        # The source that the commit names, whatever this virtual environment has installed.
        environment["PYTHONPATH"] = str(ROOT / "src")
    else:
        words = [str(ROOT / job.peer.python), *words[1:]]
    environment["TQDM_DISABLE"] = "1"  # bars make a log unreadable
    if beside > 1:
        environment["OMP_NUM_THREADS"] = str(share)
    log = _beside(job, ".log")
    with log.open("ab") as file:
        # In a group of its own: Ctrl-C reaches this process alone, which passes it on once.
        process = subprocess.Popen(
            words, cwd=ROOT, env=environment, stdout=file, stderr=file, stdin=subprocess.DEVNULL, start_new_session=True
        )
    if beside > 1 and hasattr(os, "sched_setaffinity") and share * beside <= len(cores):
        # Right after the start, long before torch counts the cores that it may use.
        os.sched_setaffinity(process.pid, cores[slot * share : (slot + 1) * share])
    say(f"{'resumed' if resumed else 'started'} {job.name}")
    return Child(job, process, log, time.monotonic())


def _origin(job: Job, threads: int, beside: int) -> dict[str, Any]:
    """The origin of a run that begins now, as it is noted until the run has ended."""
    return {
        "command": job.command,
        "commit": rows.commit(),
        "versions": rows.versions(),
        "hardware": rows.hardware(threads),
        "beside": beside,
        "interruptions": 0,
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
    }


def _keep(job: Job, *, keep_runs: bool) -> Row:
    """Write the row of a finished run and make room."""
    notes = _notes(job)
    assert notes is not None, "noted when the run was started"
    versions = job.run_dir / "versions.json"  # a peer runs in an environment of its own
    if versions.exists():
        notes["versions"] = json.loads(versions.read_text())
    # Whatever else the machine was busy with says what the seconds are worth.
    notes["hardware"]["load_15min"] = round(os.getloadavg()[2], 1)
    metrics = read_metrics(job.run_dir / "metrics.jsonl")
    origin = Origin(**notes)
    row = rows.reduce(
        metrics, benchmark=job.benchmark, setting=job.setting, env_id=job.env_id, seed=job.seed, origin=origin
    )
    rows.write(row, job.row_path)
    if not keep_runs:
        for name in ("clips", "checkpoints", "videos"):
            shutil.rmtree(job.run_dir / name, ignore_errors=True)
        for path in job.run_dir.glob("labels.db*"):  # its segments are most of a run
            path.unlink()
    return row


def _beside(job: Job, ending: str) -> Path:
    """A file beside the run directory, which has to be empty when `pairplay train` begins."""
    return job.run_dir.with_name(job.run_dir.name + ending)


def _notes(job: Job) -> dict[str, Any] | None:
    path = _beside(job, ".started.json")
    return json.loads(path.read_text()) if path.exists() else None


def _note(job: Job, notes: Mapping[str, Any]) -> None:
    path = _beside(job, ".started.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(notes, indent=1))


def _progress(child: Child) -> str:
    metrics = read_metrics(child.job.run_dir / "metrics.jsonl")
    if not metrics:
        return f"  {child.job.name}: no metrics yet"
    last = metrics[-1]
    mean, minutes = last.get(rows.RETURN), (time.monotonic() - child.began) / 60
    shown = "–" if mean is None else f"{mean:.4g}"
    return f"  {child.job.name}: {last[STEP]:,} steps, true return {shown}, {minutes:.0f} min in this sitting"


class _Stop:
    """Passes the wish to stop on to the children: once politely, and for good when it comes again."""

    def __init__(self, running: Mapping[int, Child]) -> None:
        self.running = running
        self.asked = False
        self.until = float("inf")

    def __enter__(self) -> None:
        self.before = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            self.until = 0.0
        else:
            say("Stopping: the runs under way finish their iteration and save. Once more ends them at once.")
            self.ask()

    def ask(self) -> None:
        self.asked, self.until = True, time.monotonic() + GRACE_S

    def enforce(self) -> None:
        """Tell whoever has not been told; end whoever does not listen."""
        for child in self.running.values() if self.asked else ():
            if not child.told:
                child.process.send_signal(signal.SIGINT)
                child.told = True
            elif time.monotonic() > self.until:
                child.process.kill()


def say(line: str) -> None:
    sys.stdout.write(f"{datetime.now():%H:%M:%S} {line}\n")
    sys.stdout.flush()


def main(
    doc: str | None,
    make_jobs: Callable[[Sequence[int]], list[Job]],
    report: Callable[[list[Row], list[Job]], Path],
    *,
    seeds: Sequence[int],
    install: Callable[[], None] | None = None,
) -> int:
    """The command line that all benchmarks share. Returns the exit code."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(seeds), metavar="S")
    parser.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="runs side by side, each on its share of cores"
    )
    parser.add_argument("--only", default="", metavar="PART", help="only runs with this in SETTING__ENV__SEED")
    parser.add_argument("--hours", type=float, metavar="H", help="stop and save after so long")
    parser.add_argument("--steps", type=int, metavar="N", help="try it out in N steps; kept apart, in runs/")
    parser.add_argument("--list", action="store_true", help="say what is done and what is missing, and run nothing")
    parser.add_argument("--report-only", action="store_true", help="write the page from the rows that are there")
    parser.add_argument("--keep-runs", action="store_true", help="keep clips, checkpoints and answers of finished runs")
    if install is not None:
        parser.add_argument("--install", action="store_true", help="make the peer's virtual environment first")
    options = parser.parse_args()
    jobs = [job.shortened(options.steps) if options.steps else job for job in make_jobs(options.seeds)]
    jobs = [job for job in jobs if options.only in job.name]
    try:
        if options.list:
            return _list(jobs)
        if install is not None and options.install:
            install()
        failures = (
            []
            if options.report_only
            else run_jobs(jobs, beside=max(1, options.jobs), keep_runs=options.keep_runs, hours=options.hours)
        )
        found = [row for job in jobs if (row := row_of(job)) is not None]
    except JobError as error:
        say(str(error))
        return 2
    for failure in failures:
        say(f"failed: {failure}")
    say(f"{len(found)} of {len(jobs)} rows are there.")
    if found:
        say(f"Wrote {report(found, jobs).relative_to(ROOT)}")
    return 1 if failures else 0


def _list(jobs: Sequence[Job]) -> int:
    for job in jobs:
        row = row_of(job)
        state = f"step {steps_done(job):,}" if is_run(job.run_dir) else "missing"
        if row is not None:
            state = f"done {row.origin.date} at {row.origin.commit}, {row.seconds / 60:.1f} min"
        sys.stdout.write(f"{job.name:<60} {state}\n")
    sys.stdout.write(f"{sum(row_of(job) is not None for job in jobs)} of {len(jobs)} done\n")
    return 0
