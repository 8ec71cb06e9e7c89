"""Claim: with a GPU, learning Enduro from preferences reaches 0.6 of what the emulators could play if nobody learnt.

    .venv/bin/python benchmarks/ceiling.py

For machines with a GPU; it runs on others too, where arithmetic is the ceiling. The emulators alone, with all cores at
work and random actions, take turns with trainings that play as many environments. Also: --envs 64 128, --rounds.
Writes `benchmarks/ceiling_<hardware>_<date>.md`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pages
import rows
from ale_py.vector_env import AtariVectorEnv
from harness import say
from rows import ROOT
from turns import STEP, Contender, Line, started, take_turns

from pairplay.config import preset
from pairplay.cores import available_cores
from pairplay.hardware import choose_hardware
from pairplay.run.metrics import read_metrics

NAME = "ceiling"
RUNS = ROOT / "runs" / NAME
ENDURO = "ALE/Enduro-v5"
PRESET = preset(ENDURO)
WIDTHS = (PRESET.num_envs, 64, 256)
ROUNDS, TURN_S = 5, 5.0
FOR_EVER = 10_000_000
LABELS = PRESET.labels * FOR_EVER // PRESET.total_timesteps
ASKING = ("--labels", str(LABELS), "--queries.anneal-steps", "1e12", "--queries.initial-share", "0.001")
"""As many answers to a step as in the preset, and at an even rate, for these runs never end."""


def contenders(widths: Sequence[int]) -> list[Contender]:
    """The emulators and two trainings for each number of environments."""
    made = []
    for width in widths:
        made.append(_program(f"emulators-{width}", sys.executable, str(Path(__file__)), "--emulators", str(width)))
        # With up to 64 as many gradient steps to a step as in the preset; with more of them as many an iteration as 64.
        minibatch = PRESET.ppo.minibatch_size * max(1, width // 64)
        wide = ("--num-envs", str(width), "--ppo.minibatch-size", str(minibatch))
        words = (sys.executable, "-m", "pairplay", "train", "--env-id", ENDURO, *(wide if width != WIDTHS[0] else ()))
        steps = ("--total-timesteps", str(FOR_EVER), "--no-open")
        made.append(_program(f"preferences-{width}", *words, "--teacher", "oracle", *ASKING, *steps, learns=True))
        made.append(_program(f"true-reward-{width}", *words, "--reward", "env", *steps, learns=True))
    return made


def _program(name: str, *words: str, learns: bool = False) -> Contender:
    def warm(line: Line) -> bool:
        return not learns or line.get("train/loss") is not None

    return Contender(name, (*words, "--run-dir", str(RUNS / name)), RUNS / name / "metrics.jsonl", TURN_S, warm=warm)


def play_for_ever(width: int, run_dir: Path) -> None:
    """Emulators in ale-py's threads, as the training has them, but all in grey and with nobody who looks."""
    run_dir.mkdir(parents=True)
    config, steps = PRESET.env, PRESET.ppo.num_steps
    envs = AtariVectorEnv(
        "enduro",
        width,
        num_threads=min(width, available_cores()),
        repeat_action_probability=config.sticky_actions,
        full_action_space=config.full_action_space,
        img_height=config.frame_size,
        img_width=config.frame_size,
        grayscale=True,
        stack_num=1,
        frameskip=config.frame_skip,
        use_fire_reset=False,
    )
    envs.reset()
    random = np.random.default_rng(1)
    played, began = 0, time.perf_counter()
    with (run_dir / "metrics.jsonl").open("w") as file:
        while True:
            for actions in random.integers(0, envs.single_action_space.n, (steps, width)):
                envs.step(actions)
            played += steps * width
            file.write(json.dumps({STEP: played, "time/time_elapsed": time.perf_counter() - began}) + "\n")
            file.flush()


def report(speeds: Mapping[str, Sequence[float]], widths: Sequence[int], minutes: float) -> Path:
    hardware = choose_hardware("auto", "auto", is_image=True)
    lines = []
    best = [max(round_) for round_ in zip(*(speeds.get(f"emulators-{width}", ()) for width in widths), strict=False)]
    for width in widths:
        ceiling = speeds.get(f"emulators-{width}", ())
        for kind in ("emulators", "preferences", "true-reward"):
            found = speeds.get(f"{kind}-{width}", ())
            shown = f"{np.median(found):,.0f}" if len(found) else "not run"
            lines.append((str(width), kind, shown, _share(found, ceiling), _share(found, best)))
    parts = [
        f"Seconds an iteration of {width * PRESET.ppo.num_steps:,} steps from preferences, with {width} environments: "
        f"{_phases(RUNS / f'preferences-{width}' / 'metrics.jsonl')}."
        for width in widths
    ]
    system = rows.hardware(hardware.threads)
    versions = ", ".join(f"{name} {version}" for name, version in rows.versions().items())
    page = [
        "# Enduro, beside what the emulators could play",
        f"Turns of {TURN_S:g} seconds, each program alone. Shares of the emulators' speed within a round, median "
        "(least to most): of as many environments, and of the number that plays fastest. Aim 0.6 for learning from "
        "preferences where there is a GPU.",
        pages.table(
            ("environments", "program", "steps/s", "share of as many emulators", "share of the fastest"), lines
        ),
        *parts,
        f"{hardware}; {system['cpu']}, {system['cores']} cores, {system['system']}; {minutes:.0f} minutes. Commit "
        f"{rows.commit()}; {versions}.",
        "\n".join(
            [
                "```",
                "python benchmarks/ceiling.py",
                *(f"# {pages.command(contender.words)}" for contender in contenders(widths)),
                "```",
            ]
        ),
    ]
    path = rows.page(NAME, system, ROOT / "benchmarks")
    path.write_text("\n\n".join(page) + "\n")
    return path


def _share(found: Sequence[float], ceiling: Sequence[float]) -> str:
    shares = [f / c for f, c in zip(found, ceiling, strict=False)]
    return f"**{np.median(shares):.2f}** ({min(shares):.2f} to {max(shares):.2f})" if shares else "not run"


def _phases(path: Path) -> str:
    """Medians over the iterations in which the policy learnt, the longest first.

    Without `record`: a program is held while it writes its line.
    """
    learnt = [line for line in read_metrics(path) if line.get("train/loss") is not None][1:]
    names = {name for line in learnt for name in line if name.startswith("seconds/")} - {"seconds/record"}
    spent = {name.removeprefix("seconds/"): np.median([line.get(name) or 0.0 for line in learnt]) for name in names}
    ranked = sorted(spent.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {seconds:.3f}" for name, seconds in ranked if seconds >= 0.0005)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N")
    parser.add_argument("--envs", type=int, nargs="+", default=WIDTHS, metavar="N", help="numbers of environments")
    parser.add_argument("--emulators", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--run-dir", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.emulators:
        play_for_ever(options.emulators, options.run_dir)
    began = time.monotonic()
    wanted = contenders(options.envs)
    shutil.rmtree(RUNS, ignore_errors=True)
    with started(wanted, ROOT, dict(os.environ), say, together=available_cores() > len(wanted)) as running:
        speeds = take_turns(running, options.rounds, say)
    path = report(speeds, options.envs, (time.monotonic() - began) / 60)
    say(f"Wrote {path.relative_to(ROOT)}")
    return 0 if len(running) == len(wanted) else 1


if __name__ == "__main__":
    raise SystemExit(main())
