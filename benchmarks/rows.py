"""One finished run as one small JSON file: what was run, where, and what came of it.

Rows are committed and runs are not: every table and picture here is drawn from rows alone.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pairplay import __version__
from pairplay.run.metrics import STEP, Metrics

ROOT = Path(__file__).resolve().parent.parent
RETURN, ACCUMULATED, ANSWERS, SECONDS = (
    "rollout/ep_rew_mean",
    "rollout/true_reward_accumulated",
    "labels/total",
    "time/time_elapsed",
)
LIBRARIES = ("torch", "numpy", "gymnasium", "ale-py", "mujoco")
POINTS = 60
"""A curve in a row has at most so many."""
FINAL_RETURN = "mean true return of the last 100 episodes finished in training, read at the last step"

Point = tuple[int, float | None, float, int]
"""Step, mean true return of the last 100 episodes (None before the first ended), accumulated true reward, answers."""


@dataclass(frozen=True)
class Origin:
    """How a run came about: all that its figures do not say."""

    command: str
    """Exactly what was run; interrupted runs went on by `pairplay resume`."""
    commit: str
    """Of the checkout when the run was started, with `+changes` where its source had uncommitted ones."""
    versions: Mapping[str, str]
    hardware: Mapping[str, str | float]
    """cpu, machine, system, cores of the machine, threads of this run, the machine's mean load at its end; gpu where
    there is one that was free to be used."""
    beside: int
    """So many runs shared the machine, this one included: what `seconds` is worth."""
    interruptions: int
    """How often it was stopped and resumed. A resumed run begins new episodes."""
    date: str
    """UTC, when it was started."""


@dataclass(frozen=True)
class Row:
    """One run."""

    benchmark: str
    setting: str
    env_id: str
    seed: int
    origin: Origin
    steps: int
    answers: int
    seconds: float
    accumulated: float
    """True reward summed over all steps and environments."""
    final_return: float | None
    """See `FINAL_RETURN`; None where no episode ended."""
    curve: tuple[Point, ...]

    def metrics(self) -> list[Metrics]:
        """The curve in the form that `pairplay.report` draws from."""
        return [
            {STEP: step, RETURN: mean, ACCUMULATED: accumulated, ANSWERS: answers}
            for step, mean, accumulated, answers in self.curve
        ]


def reduce(metrics: Sequence[Metrics], *, benchmark: str, setting: str, env_id: str, seed: int, origin: Origin) -> Row:
    """The row of a run with these metrics. ValueError where there are none."""
    if not metrics:
        raise ValueError("the run wrote no metrics")
    last = metrics[-1]
    mean = last.get(RETURN)
    return Row(
        benchmark=benchmark,
        setting=setting,
        env_id=env_id,
        seed=seed,
        origin=origin,
        steps=int(last[STEP] or 0),
        answers=int(last.get(ANSWERS) or 0),
        seconds=round(float(last.get(SECONDS) or 0.0), 1),
        accumulated=_short(float(last.get(ACCUMULATED) or 0.0)),
        final_return=None if mean is None else _short(mean),
        curve=tuple(_point(metrics[i]) for i in thinned(len(metrics))),
    )


def thinned(count: int, most: int = POINTS) -> list[int]:
    """At most `most` indices below `count`, evenly apart, the first and the last among them."""
    return sorted({int(i) for i in np.linspace(0, count - 1, min(count, most)).round()})


def write(row: Row, path: Path) -> None:
    """Write `row` to `path`, whole or not at all."""
    content = asdict(row)
    content["final_return_is"] = FINAL_RETURN
    curve = content.pop("curve")
    text = json.dumps(content, indent=1, ensure_ascii=False).removesuffix("\n}")
    points = ",\n  ".join(json.dumps(point) for point in curve)  # a line a point: 60 lines, not 300
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    partial.write_text(f'{text},\n "curve": [\n  {points}\n ]\n}}\n')
    partial.replace(path)


def read(path: Path) -> Row:
    """The inverse of `write`. ValueError, with the file's name, for anything that is no row."""
    try:
        content: dict[str, Any] = json.loads(path.read_text())
        content.pop("final_return_is")
        origin = Origin(**content.pop("origin"))
        curve = tuple((int(s), r, float(a), int(n)) for s, r, a, n in content.pop("curve"))
        return Row(**content, origin=origin, curve=curve)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} is no row of {[field.name for field in fields(Row)]}: {error}") from error


def commit() -> str:
    """The checkout's commit, marked where the source is not what was committed."""
    head = _git("rev-parse", "--short=10", "HEAD") or "unknown"
    return head + ("+changes" if _git("status", "--porcelain", "--", "src") else "")


def versions() -> dict[str, str]:
    """Of Python, Pairplay and the libraries that figures depend on."""
    found = {"python": platform.python_version(), "pairplay": __version__}
    for library in LIBRARIES:
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    return found


def hardware(threads: int) -> dict[str, str | float]:
    """What a run with so many threads ran on."""
    gpu = {"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}
    return {
        "cpu": _cpu(Path("/proc/cpuinfo")),
        "machine": platform.machine(),
        "system": platform.system(),
        "cores": os.cpu_count() or 1,
        "threads": threads,
        **gpu,
    }


def page(name: str, hardware: Mapping[str, str | float], folder: Path = ROOT / "benchmarks") -> Path:
    """Where what was measured today is written down: `<name>_<GPU or CPU>_<date>.md`, so that no machine's page takes
    the place of another's.
    """
    chip = re.sub(r"\(.*?\)", "", str(hardware.get("gpu", hardware["cpu"]))).lower()
    slug = "-".join(re.findall(r"[a-z0-9]+", chip)) or str(hardware["machine"])
    return folder / f"{name}_{slug}_{datetime.now(UTC):%Y-%m-%d}.md"


def _cpu(cpuinfo: Path) -> str:
    """Its name, and on Linux its family and model, by which generations differ that have one name."""
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    parts = (line.partition(":") for line in reversed(lines))  # of the first core, which comes last
    told = {name.strip(): value.strip() for name, _, value in parts}
    named = told.get("model name") or platform.processor() or "unknown"
    known = [f"{what.split()[-1]} {told[what]}" for what in ("cpu family", "model") if what in told]
    return f"{named} ({', '.join(known)})" if known else named


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def _point(row: Metrics) -> Point:
    mean = row.get(RETURN)
    return (
        int(row[STEP] or 0),
        None if mean is None else _short(mean),
        _short(float(row.get(ACCUMULATED) or 0.0)),
        int(row.get(ANSWERS) or 0),
    )


def _short(value: float) -> float:
    """Six digits: more would only make the file long."""
    return float(f"{value:.6g}")
