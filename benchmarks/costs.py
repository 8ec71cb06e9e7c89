"""Claim: an answer costs little, and neither answers nor steps make a run slower or larger.

    .venv/bin/python benchmarks/costs.py

Three runs: Enduro, to weigh what an answered pair leaves on disk and in memory; HalfCheetah, as its answers grow from
some to 5,000; and CartPole in 5,000 very small iterations, as many as ten million steps of the others have. And once
from `pairplay train` to the first clip that the label server hands out. Times are measured three times. Six
minutes; writes `benchmarks/costs_<hardware>_<date>.md`. Also: --only growth.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
import tracemalloc
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pages
import rows
import torch
from harness import say
from rows import ROOT

from pairplay.config import TrainConfig, preset
from pairplay.inquiry import Inquiry
from pairplay.run.config_file import write_config
from pairplay.run.layout import RunDir
from pairplay.stopwatch import Stopwatch
from pairplay.trainer import Snapshot, Trainer

NAME = "costs"
RUNS = ROOT / "runs" / NAME
MEGABYTE = 2**20
GLUCARD_MB = 1.54
"""What glucard's program keeps of an answered pair (2024, its own format), in memory."""

REPEATS = 3
"""Runs of what is measured in time: the noise of one is as large as the growth that is looked for."""

Figures = dict[str, tuple[float, str]]
"""What was measured: a number, and its words on the page with `{}` in the number's place."""


def train(name: str, config: TrainConfig, watch: Callable[[Trainer, Snapshot], None]) -> tuple[Trainer, RunDir]:
    """A run of ours in this process, with phases measured in seconds of computing rather than of the clock."""
    path = RUNS / name
    shutil.rmtree(path, ignore_errors=True)
    run = RunDir.create(path, config.env_id, config.seed)
    write_config(run.config_toml, config)
    trainer = Trainer(config, run)
    trainer.stopwatch = Stopwatch(time.process_time)
    trainer.train(lambda snapshot: watch(trainer, snapshot))
    return trainer, run


def an_answer() -> Figures:
    """What an answered pair of Enduro leaves behind."""
    base = preset("ALE/Enduro-v5", "quick")
    config = replace(base, teacher="oracle", total_timesteps=8 * 1888, queries=replace(base.queries, initial_share=1.0))
    trainer, run = train("answers", config, lambda *_: None)
    answers = trainer.store.counts().answered
    database = sum(path.stat().st_size for path in run.path.glob("labels.db*"))
    clips = sum(path.stat().st_size for path in run.clips.iterdir())
    tracemalloc.start()
    inquiry = Inquiry(config, run, trainer.store, trainer.envs)
    before, _ = tracemalloc.get_traced_memory()
    inquiry.comparisons()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    inquiry.close()
    trainer.close()
    disk, memory = ((size / answers / MEGABYTE) for size in (database + clips, held - before))
    return {
        "answered pair of Enduro, on disk": (
            disk,
            f"{{:.3f}} MB ({answers} answers; clips {clips / answers / 1024:.0f} KB)",
        ),
        "answered pair of Enduro, in memory": (memory, "{:.3f} MB"),
    }


def growth_by_answers() -> Figures:
    """Computing of an iteration and memory, early and late in a run of 5,000 answers."""
    base = preset("HalfCheetah-v5")
    queries = replace(base.queries, clips="none", anneal_steps=1e12, initial_share=0.01)
    config = replace(base, teacher="oracle", total_timesteps=46 * 2048, labels=5000, queries=queries)
    return _growth("growth", config, "answers", lambda snapshot: snapshot.counts.answered)


def growth_by_steps() -> Figures:
    """The same over as many iterations as ten million steps have with 8 environments and rollouts of 256."""
    base = preset("CartPole-v1")
    small = replace(base.ppo, num_steps=8, minibatch_size=16, update_epochs=1)
    config = replace(
        base,
        teacher="oracle",
        num_envs=2,
        ppo=small,
        total_timesteps=16 * 4883,
        labels=50,
        checkpoint_every=16_000,
        # Fitting ends early: how it grows is the other measurement's question.
        reward_model=replace(base.reward_model, fit_pairs=16, pretrain_pairs=16, max_visits=20),
        queries=replace(base.queries, clips="none", initial_share=1.0, explore_steps=1600, segment_length=8),
    )
    return _growth("steps", config, "iterations", lambda snapshot: snapshot.step // 16)


def _growth(name: str, config: TrainConfig, what: str, how_far: Callable[[Snapshot], int]) -> Figures:
    """Each phase relative to the environments' own steps, which are alike early and late; and the resident memory."""
    seen: list[tuple[int, float, float]] = []

    def watch(trainer: Trainer, snapshot: Snapshot) -> None:
        seconds = {k: v for k, v in snapshot.metrics.items() if k.startswith("seconds/") and v is not None}
        if trainer.learning and snapshot.phase == "learning":
            seen.append((how_far(snapshot), sum(seconds.values()) / seconds["seconds/step"], resident()))

    trainer, _ = train(name, config, watch)
    trainer.close()
    # The first learning iterations warm caches up.
    tenth = max(3, len(seen) // 10)
    early, late = seen[2 : 2 + tenth], seen[-tenth:]
    cost = [float(np.median([work for _, work, _ in part])) for part in (early, late)]
    memory = [float(np.median([size for *_, size in part])) for part in (early, late)]
    return {
        f"an iteration at {late[-1][0]:,} {what}, against {early[0][0]:,}": (
            cost[1] / cost[0],
            "{:.2f}× the computing, relative to stepping the environments",
        ),
        f"memory at {late[-1][0]:,} {what}, against {early[0][0]:,}": (
            memory[1] / memory[0],
            f"{{:.2f}}× ({memory[0]:.0f} to {memory[1]:.0f} MB)",
        ),
    }


def resident() -> float:
    """Megabytes of memory that this process has."""
    pages_held = int(Path("/proc/self/statm").read_text().split()[1])
    return pages_held * 4096 / MEGABYTE


def start() -> Figures:
    """From the command to a pair whose clips can be fetched from the label server."""
    path = RUNS / "start"
    shutil.rmtree(path, ignore_errors=True)
    words = [sys.executable, "-m", "pairplay", "train", "--no-open", "--run-dir", str(path)]
    began = time.perf_counter()
    with (path.parent / "start.log").open("wb") as log:
        process = subprocess.Popen(words, cwd=ROOT, stdout=log, stderr=log)
    try:
        while (size := _first_clip(path)) is None:
            if process.poll() is not None or time.perf_counter() - began > 120:
                raise SystemExit(f"no clip was served: see {log.name}")
            time.sleep(0.25)
        spent = time.perf_counter() - began
    finally:
        process.terminate()
        process.wait()
    return {"from `pairplay train` to the first clip": (spent, f"{{:.1f}} s (clip of {size / 1024:.0f} KB)")}


def _first_clip(run: Path) -> int | None:
    """The size of a clip of the first pair; None as long as there is none."""
    try:
        url = json.loads((run / "label-server.json").read_text())["url"].rstrip("/")
        entry = {"authorization": f"Bearer {(run / 'token').read_text().strip()}"}
        body = {"content-type": "application/json", **entry}
        lease = urllib.request.Request(f"{url}/api/v1/queries/lease", b'{"limit": 1}', body)
        with urllib.request.urlopen(lease, timeout=5) as answer:
            queries = json.load(answer)["queries"]
        if not queries:
            return None
        with urllib.request.urlopen(urllib.request.Request(url + queries[0]["left"]["url"], headers=entry)) as clip:
            return len(clip.read())
    except (FileNotFoundError, ValueError, urllib.error.URLError):
        return None


MEASURES: dict[str, Callable[[], Figures]] = {
    "answers": an_answer,
    "growth-answers": growth_by_answers,
    "growth-steps": growth_by_steps,
    "start": start,
}
AIMS = (
    f"Aims: an answered pair at most 0.06 MB on disk and 0.15 MB in memory, where glucard's program of 2024 keeps "
    f"{GLUCARD_MB} MB; 0.9 to 1.1 for both kinds of growth; the first clip within 10 s."
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="PART", help=f"of {', '.join(MEASURES)}")
    parser.add_argument("--measure", choices=MEASURES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    RUNS.mkdir(parents=True, exist_ok=True)
    if options.measure:
        sys.stdout.write(json.dumps(MEASURES[options.measure]()))
        return 0
    found: dict[str, str] = {}
    for name in MEASURES:
        if options.only in name:
            say(f"measuring: {name}")
            found |= together([measure(name) for _ in range(1 if name == "answers" else REPEATS)])
    for what, figure in found.items():
        say(f"{what}: {figure}")
    if not options.only:  # a part of the table never takes the place of the whole
        say(f"Wrote {write(found).relative_to(ROOT)}")
    return 0


def measure(name: str) -> Figures:
    """In a process of its own, or one would weigh what another has left."""
    done = subprocess.run([sys.executable, __file__, "--measure", name], stdout=subprocess.PIPE, check=True)
    figures: Figures = json.loads(done.stdout)
    return figures


def together(repeats: Sequence[Figures]) -> dict[str, str]:
    """Each figure in words: the middle one of its repeats, and all of them."""
    found = {}
    for what in repeats[0]:
        measured = sorted((figures[what] for figures in repeats), key=lambda figure: figure[0])
        value, words = measured[len(measured) // 2]
        found[what] = words.format(value)
        if len(measured) > 1:
            number = words[words.index("{") : words.index("}") + 1]
            found[what] += f"; {len(measured)} runs: {', '.join(number.format(one) for one, _ in measured)}"
    return found


def write(found: dict[str, str]) -> Path:
    """The page."""
    hardware = rows.hardware(torch.get_num_threads())
    lines: Sequence[Sequence[str]] = list(found.items())
    parts = [
        "# What answers and steps cost",
        pages.table(("what", "measured"), lines),
        AIMS,
        f"{hardware['cpu']}, {hardware['cores']} cores, {hardware['system']}. Commit {rows.commit()}; "
        f"{', '.join(f'{name} {version}' for name, version in rows.versions().items())}.",
        "```\npython benchmarks/costs.py\n```",
    ]
    path = rows.page(NAME, hardware)
    path.write_text("\n\n".join(parts) + "\n")
    return path


if __name__ == "__main__":
    raise SystemExit(main())
