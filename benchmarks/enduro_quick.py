"""Enduro in 30,208 agent steps: learning from 290 answers of a teacher who sees only the clips, or from true reward.

    .venv/bin/python benchmarks/enduro_quick.py [--seeds 1 2 3] [--runs runs/enduro_quick]

Runs one process after another (two at once would spoil each other's times), leaves finished ones alone, goes on with
interrupted ones, draws the comparison, and writes `benchmarks/enduro_quick_<hardware>_<date>.md`.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from pairplay.report.compare import CompareResult, Final, compare
from pairplay.run.layout import RunDir, is_run
from pairplay.run.metrics import read_metrics

STEPS = 30_208
SETTINGS = {
    "preferences": ["--teacher", "pairplay.teachers.road:progress"],
    "true-reward": ["--reward", "env"],
}
REFERENCES = [("glucard 2024, 290 human answers", 171.0), ("glucard 2024, true reward", 50.0)]
HERE = Path(__file__).parent


def train(setting: str, seed: int, runs: Path) -> tuple[Path, str]:
    """One finished run, and the command that made it."""
    path = runs / f"{setting}-{seed}"
    words = ["pairplay", "train", "--preset", "quick", *SETTINGS[setting], "--seed", str(seed), "--no-open"]
    command = [*words, "--run-dir", str(path)]
    if not is_run(path):
        _run(command)
    elif steps_done(path) < STEPS:
        _run(["pairplay", "resume", str(path), "--no-open"])
    return path, shlex.join(words)


def steps_done(path: Path) -> int:
    metrics = path / "metrics.jsonl"
    rows = read_metrics(metrics) if metrics.exists() else []
    return int(rows[-1]["time/total_timesteps"] or 0) if rows else 0


def _run(command: list[str]) -> None:
    sys.stdout.write(f"$ {shlex.join(command)}\n")
    sys.stdout.flush()
    subprocess.run([sys.executable, "-m", *command], check=True)


def interval(final: Final | None) -> str:
    if final is None:
        return "–"
    runs = ", ".join(f"{value:.0f}" for value in final.runs)
    return f"{final.mean:.0f} [{final.low:.0f}, {final.high:.0f}] ({runs})"


def report(result: CompareResult, commands: list[str]) -> str:
    """The result as one page of Markdown."""
    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":")[1].strip() for line in cpuinfo if line.startswith("model name")), platform.processor())
    lines = [
        "# Enduro, 30,208 agent steps",
        "",
        "Accumulated true reward over the whole run: mean over seeds [95 % interval, Student's t] (each seed).",
        "",
        "| setting | accumulated true reward | answers | seconds |",
        "|---|---|---|---|",
    ]
    for setting in result.settings:
        answers = f"{setting.answers.mean:.0f}" if setting.answers is not None else "0"
        seconds = f"{setting.seconds.mean:.0f}" if setting.seconds is not None else "–"
        lines.append(f"| {setting.label} | {interval(setting.reward)} | {answers} | {seconds} |")
    cores = len(os.sched_getaffinity(0))
    lines += [f"| {name} (its own figure, one run) | {value:.0f} | | |" for name, value in REFERENCES]
    lines += [
        "",
        f"Measured on {cpu}, {cores} cores, no GPU, {platform.system()}, Python {platform.python_version()}.",
        "",
    ]
    lines += ["```", "python benchmarks/enduro_quick.py", *(f"# {command}" for command in commands), "```", ""]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--runs", type=Path, default=Path("runs/enduro_quick"))
    options = parser.parse_args()
    trained = [train(setting, seed, options.runs) for seed in options.seeds for setting in SETTINGS]
    result = compare([RunDir(path) for path, _ in trained], options.runs / "compare", references=REFERENCES)
    name = f"enduro_quick_{platform.machine()}_{datetime.now(UTC):%Y-%m-%d}"
    (HERE / f"{name}.md").write_text(report(result, [command for _, command in trained]))
    shutil.copy(result.png, HERE / f"{name}.png")
    sys.stdout.write(f"Wrote benchmarks/{name}.md\n")


if __name__ == "__main__":
    main()
