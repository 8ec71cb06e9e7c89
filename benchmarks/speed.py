"""Claim: Pairplay learns from preferences faster than the usual libraries learn from the true reward.

    .venv/bin/python benchmarks/speed.py --install           (or make bench)

Ours and theirs take turns on this machine: each is started once, brought into its stride, and then runs alone for some
seconds while the others are held; ours for as many steps as lie between two checkpoints. Ratios are taken within each
of five rounds; learning from preferences and from the true reward, which differ by a tenth, alternate within a round
and are other processes in each. Under 20 minutes on two cores, and some more the first time, for --install makes a
virtual environment for each library. Also: --rounds, --only sb3. Writes `benchmarks/speed_<hardware>_<date>.md`.
Whatever else runs on the machine spoils it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import libraries
import numpy as np
import pages
import rows
import torch
from harness import say
from rows import ROOT
from turns import PARTS, STEP, Contender, Line, started, take_turns

from pairplay.config import preset
from pairplay.hardware import choose_hardware
from pairplay.reward.fit import fit
from pairplay.reward.model import RewardModel
from pairplay.seeding import rng
from pairplay.types import Comparison, EnvSpec, Segment

NAME = "speed"
RUNS = ROOT / "runs" / NAME
ENDURO, CHEETAH = "ALE/Enduro-v5", "HalfCheetah-v5"
PEERS = {"sb3": "sb3_run", "torchrl": "torchrl_run", "cleanrl": "cleanrl_run", "imitation": "imitation_speed"}
"""Each library's program in peers/."""
CLOSE = ("preferences-enduro", "true-reward-enduro")
"""Whose ratio is near one: what there is to see of it are hundredths."""
FIT_PAIRS, FIT_STEPS, FIT_ROUNDS = 8, 25, 1_000_000


@dataclass(frozen=True)
class Claim:
    """A line of the table."""

    work: str
    ours: str
    theirs: str
    against: str
    aim: float
    """So many times as fast as they are."""
    unit: str = "steps/s"


CLAIMS = (
    Claim(
        "Enduro from preferences, all in",
        "preferences-enduro",
        "sb3-enduro",
        "Stable-Baselines3's PPO on the true reward, 8 environments",
        3.0,
    ),
    Claim(
        "the same",
        "preferences-enduro",
        "imitation-enduro",
        "imitation's preference comparisons, three CNNs",
        12.0,
    ),
    Claim("the same", "preferences-enduro", "true-reward-enduro", "our own `--reward env`", 0.9),
    Claim("Enduro from the true reward", "true-reward-enduro", "torchrl-enduro", "TorchRL's PPO parts", 1.7),
    Claim("the same", "true-reward-enduro", "cleanrl-enduro", "CleanRL's PPO for Atari, as on PyPI", 3.0),
    Claim(
        "fitting the reward to Enduro's clips, all steps of them",
        "fit-enduro",
        "imitation-fit",
        "imitation's",
        25.0,
        "pair visits/s",
    ),
    Claim(
        "HalfCheetah from preferences, all in",
        "preferences-cheetah",
        "sb3-cheetah",
        "Stable-Baselines3's PPO on the true reward, 8 environments, our batches of 256",
        1.8,
    ),
    Claim("the same", "preferences-cheetah", "sb3-cheetah-64", "the same with its own batches of 64", 1.8),
)


def contenders() -> list[Contender]:
    """Whoever takes turns, in the order in which they do: who is compared closely, one after the other."""
    return [
        _theirs("sb3-enduro", "sb3", "--env-id", ENDURO),
        _ours("preferences-enduro", ENDURO, "--teacher", "oracle"),
        _ours("true-reward-enduro", ENDURO, "--reward", "env"),
        _theirs("torchrl-enduro", "torchrl", "--env-id", ENDURO),
        _theirs("cleanrl-enduro", "cleanrl", "--env-id", ENDURO),
        _theirs("imitation-enduro", "imitation", "--env-id", ENDURO),
        _ours("preferences-cheetah", CHEETAH, "--teacher", "oracle"),
        _theirs("sb3-cheetah", "sb3", "--env-id", CHEETAH),
        _theirs("sb3-cheetah-64", "sb3", "--env-id", CHEETAH, "--batch-size", "64"),
        _program("fit-enduro", sys.executable, str(Path(__file__)), "--fit"),
        _theirs("imitation-fit", "imitation", "--fit-only"),
    ]


def _ours(name: str, env_id: str, *words: str) -> Contender:
    """A run of ours with the defaults of its preset, from the first iteration in which the policy learns.

    Its turns are long enough to hold a checkpoint each.
    """
    words = ("-m", "pairplay", "train", "--env-id", env_id, *words, "--total-timesteps", "1000000", "--no-open")
    contender = _program(name, sys.executable, *words)
    return replace(contender, turn_steps=preset(env_id).checkpoint_every, warm=_learns)


def _learns(line: Line) -> bool:
    return line.get("train/loss") is not None


def _theirs(name: str, library: str, *words: str) -> Contender:
    python, program = ROOT / libraries.python_of(library), f"benchmarks/peers/{PEERS[library]}.py"
    return _program(name, str(python), program, *words, "--total-timesteps", "10000000")


def _program(name: str, *words: str) -> Contender:
    return Contender(name, (*words, "--run-dir", str(RUNS / name)), RUNS / name / "metrics.jsonl")


def fit_for_ever(run_dir: Path) -> None:
    """What our reward model does in an iteration, again and again, with a line for every so many visits.

    Every step of a clip is predicted, as imitation does it; the preset predicts every fifth.
    """
    run_dir.mkdir(parents=True)
    config = replace(preset(ENDURO).reward_model, fit_stride=1)
    spec = EnvSpec(ENDURO, (80, 80), 4, 18, (), (), 15.0)
    hardware = choose_hardware("auto", "auto", is_image=True)
    model = RewardModel(spec, config, seed=1, device=hardware.device, precision=hardware.precision)
    random = rng(1, "clips")

    def segment(name: str) -> Segment:
        frames = random.integers(0, 256, (3 + FIT_STEPS, 80, 80), dtype=np.uint8)
        return Segment(name, frames, 4, random.integers(0, 18, FIT_STEPS), env=0, step=0, iteration=0)

    pairs = [Comparison(i, segment(f"{i}l"), segment(f"{i}r"), float(i % 2)) for i in range(FIT_PAIRS)]
    began = time.perf_counter()
    with (run_dir / "metrics.jsonl").open("w") as file:
        for number in range(1, FIT_ROUNDS + 1):
            fit(model, pairs, pairs=FIT_PAIRS, rng=rng(1, "fit", number))
            line = {STEP: number * FIT_PAIRS, "time/time_elapsed": time.perf_counter() - began}
            file.write(json.dumps(line) + "\n")
            file.flush()


def report(speeds: Mapping[str, Sequence[float]], minutes: float, rounds: int, folder: Path) -> Path:
    """Write the page into this folder; its path."""
    lines = []
    for claim in CLAIMS:
        mine, other = (speeds.get(name, ()) for name in (claim.ours, claim.theirs))
        ratios = [m / o for m, o in zip(mine, other, strict=False)]
        shown = f"**{np.median(ratios):.2f}×** ({min(ratios):.2f} to {max(ratios):.2f})" if ratios else "–"
        lines.append((claim.work, claim.against, _speed(mine), _speed(other), shown, f"{claim.aim:g}×", claim.unit))
    head = ("work", "against", "ours", "theirs", "ratio: median (least to most)", "aim", "unit")
    hardware = rows.hardware(torch.get_num_threads())
    versions = ", ".join(f"{name} {version}" for name, version in rows.versions().items())
    commands = [pages.command(contender.words) for contender in contenders()]
    parts = [
        "# Speed, beside the usual libraries",
        f"{rounds} rounds, in each of which everyone ran alone for a turn, the others held; ratios within a round. "
        f"Ours from preferences and from the true reward took their turns in {PARTS} parts each, one after the other, "
        "and were started anew for each round.",
        pages.table(head, lines),
        "*All in*: colour clips recorded and encoded, queries asked and answered by an oracle, the reward fitted, "
        "rollouts relabelled, PPO, metrics, and a checkpoint in each turn. The libraries learn from the true reward "
        "and do none of that, imitation excepted. Ours have their presets: on Enduro they pass three times over each "
        "rollout where the others pass four, compute no rows of a frame that are black from side to side, and predict "
        "every fifth step of a clip when they fit the reward to it; where the fit alone is measured, both sides "
        "predict all 25. The programs in `benchmarks/peers/` state what the others have: documented settings on "
        "Enduro; on HalfCheetah our rollouts and epochs, once with our batches, so that the work is alike, and once "
        "with those it has by itself.",
        f"{hardware['cpu']}, {hardware['cores']} cores, {hardware['system']}; mean load {os.getloadavg()[2]:.1f}; "
        f"{minutes:.0f} minutes. Commit {rows.commit()}; {versions}.",
        "\n".join(["```", "python benchmarks/speed.py --install", *(f"# {command}" for command in commands), "```"]),
    ]
    path = rows.page(NAME, hardware, folder)
    path.write_text("\n\n".join(parts) + "\n")
    return path


def _speed(found: Sequence[float]) -> str:
    return f"{np.median(found):,.0f}" if len(found) else "not run"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument(
        "--only", default="", metavar="PART", help="only who has this in the name, and whoever is compared with them"
    )
    parser.add_argument("--install", action="store_true", help="make the libraries' virtual environments first")
    parser.add_argument("--fit", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--run-dir", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.fit:
        fit_for_ever(options.run_dir)
        return 0
    began = time.monotonic()
    chosen = [claim for claim in CLAIMS if options.only in f"{claim.ours} {claim.theirs}"]
    names = {name for claim in chosen for name in (claim.ours, claim.theirs)}
    if not names:
        parser.error(f"--only {options.only}: nobody has this in the name: {', '.join(c.name for c in contenders())}")
    wanted = [contender for contender in contenders() if contender.name in names]
    if options.install:
        for library in PEERS:
            if any(str(libraries.python_of(library)) in contender.words[0] for contender in wanted):
                say(f"installing {library}, unless it is there")
                libraries.install(library)
    shutil.rmtree(RUNS, ignore_errors=True)
    with started(wanted, ROOT, {**os.environ, "TQDM_DISABLE": "1"}, say) as running:
        speeds = take_turns(running, options.rounds, say, CLOSE)
    # A part of the table never takes the place of the whole.
    folder = RUNS if options.only else ROOT / "benchmarks"
    path = report(speeds, (time.monotonic() - began) / 60, options.rounds, folder)
    say(f"Wrote {path.relative_to(ROOT)}")
    return 0 if len(running) == len(wanted) else 1


if __name__ == "__main__":
    raise SystemExit(main())
