"""Claim: of the picture networks on offer, the default predicts unseen answers best for what it costs.

    .venv/bin/pairplay train --preset quick --teacher pairplay.teachers.road:progress --run-dir runs/answers --no-open
    .venv/bin/python benchmarks/reward_networks.py runs/answers [more runs]

Fits each network anew to the answers that these runs hold, and asks about those each member never trained on. With
several runs of one game, it also looks at the clips of the others, of which the later three quarters are play that the
network has not seen, and compares what it pays with what the environment paid. Nothing plays, so networks are compared
on the same clips. Three seeds a run, some minutes each; writes `benchmarks/reward_networks_<hardware>_<date>.md`. Also:
--only small, --visits, --seeds.
"""

from __future__ import annotations

import argparse
import shlex
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pages
import rows
import torch
from harness import say

from pairplay.config import TrainConfig
from pairplay.hardware import choose_hardware
from pairplay.health.agreement import correlation
from pairplay.labels.store import LabelStore
from pairplay.reward.fit import fit, split_of, splitter_of
from pairplay.reward.model import RewardModel
from pairplay.run.config_file import read_config
from pairplay.run.layout import RunDir
from pairplay.seeding import rng
from pairplay.types import Comparison, EnvSpec, FloatArray, Pair, Segment

NAME = "reward_networks"
NETWORKS: dict[str, dict[str, object]] = {
    "paper": {"network": "paper", "batch_norm": False},
    "paper, batch norm": {"network": "paper", "batch_norm": True},
    "paper, dropout 0.5": {"network": "paper", "batch_norm": False, "dropout": 0.5},
    "paper, batch norm and dropout 0.5": {"network": "paper", "batch_norm": True, "dropout": 0.5},
    "nature": {"network": "nature", "batch_norm": False},
    "nature, batch norm": {"network": "nature", "batch_norm": True},
    "small": {"network": "small", "batch_norm": False},
    "small, batch norm": {"network": "small", "batch_norm": True},
    "small, dropout 0.2": {"network": "small", "batch_norm": False, "dropout": 0.2},
    "small, every fifth step": {"network": "small", "batch_norm": False, "fit_stride": 5},
}
"""What each changes of the run's own reward model. The paper's own had batch norm and dropout 0.5."""
FOREIGN = """ Of the clips of the other runs, all but each run's first quarter: *ranks* is the Spearman correlation of
predicted with true returns, *steps* the Pearson correlation of the rewards themselves."""


@dataclass(frozen=True)
class Outcome:
    """One network after one fit, judged by the answers that each member never trained on."""

    accuracy: float
    """Share of strict preferences in the right order."""
    loss: float
    """Cross-entropy of an answer."""
    train_loss: float
    milliseconds: float
    """CPU time of one visit of a comparison, all members."""
    ranks: float
    """Spearman correlation of predicted with true returns of the other runs' clips; NaN without other runs."""
    steps: float
    """Pearson correlation of predicted with true rewards, step by step, there."""


@dataclass(frozen=True)
class Clips:
    """Clips of one run with what the environment paid for them: for judging only."""

    segments: list[Segment]
    reward_SL: list[FloatArray]


def answers(run: RunDir) -> tuple[list[Comparison], list[Pair]]:
    """The answers that train, and every pair asked about."""
    with LabelStore.open(run.labels_db) as store:
        given = [preference for preference in store.preferences() if preference.mu is not None]
        names = dict.fromkeys(id for p in given for id in (p.left_id, p.right_id))
        segments = {segment.id: segment for segment in store.segments(list(names))}
        found = [Comparison(p.query_id, segments[p.left_id], segments[p.right_id], float(p.mu or 0.0)) for p in given]
        return found, store.asked_pairs()


def clips(run: RunDir) -> Clips:
    """Those in answered pairs that were played after a quarter of the run."""
    comparisons, _ = answers(run)
    found = {side.id: side for c in comparisons for side in (c.left, c.right)}
    last = max(segment.step for segment in found.values())
    later = [segment for segment in found.values() if segment.step >= last / 4]
    with LabelStore.open(run.labels_db) as store:
        return Clips(later, store.audit_rewards([segment.id for segment in later]))


def agreement(model: RewardModel, others: list[Clips]) -> tuple[float, float]:
    """`ranks` and `steps` of an `Outcome`."""
    if not others:
        return float("nan"), float("nan")
    segments = [segment for other in others for segment in other.segments]
    true_SL = [reward for other in others for reward in other.reward_SL]
    paid_SL = [estimate.mean for estimate in model.segment_rewards(segments)]
    sums = [np.array([rewards.sum() for rewards in of]) for of in (paid_SL, true_SL)]
    steps = np.corrcoef(np.concatenate(paid_SL), np.concatenate(true_SL))[0, 1]
    return float(correlation(*sums).spearman or 0.0), float(steps)


def spec_of(config: TrainConfig, comparisons: list[Comparison], actions: int) -> EnvSpec:
    """What the networks must know of the environment, without making one."""
    size, stack = comparisons[0].left.frames.shape[1:], config.env.frame_stack
    return EnvSpec(config.env_id, size, stack, actions, (), (), 15.0)


def judge(
    config: TrainConfig,
    comparisons: list[Comparison],
    asked: list[Pair],
    others: list[Clips],
    *,
    visits: int,
    seed: int,
) -> Outcome:
    """Fit to the answers, and look at what was held out and at the clips of other runs."""
    hardware = choose_hardware("cpu", "auto", is_image=True)
    spec = spec_of(config, comparisons, actions=18)
    model = RewardModel(spec, config.reward_model, seed=seed, device=torch.device("cpu"), precision=hardware.precision)
    splitter = splitter_of(model.config, model.seed, asked)
    began = time.process_time()
    fit(model, comparisons, pairs=visits, rng=rng(seed, "fit"), splitter=splitter)
    spent = time.process_time() - began
    split = split_of(model, comparisons, splitter)
    mu_D = np.array([comparison.mu for comparison in comparisons])
    left_ED = np.clip(model.probabilities(comparisons), 1e-6, 1 - 1e-6)
    loss_ED = -(mu_D * np.log(left_ED) + (1 - mu_D) * np.log(1 - left_ED))
    right_ED = (left_ED > 0.5) == (mu_D > 0.5)
    strict_ED = split.held_ED & (mu_D != 0.5)
    ranks, steps = agreement(model, others)
    return Outcome(
        ranks=ranks,
        steps=steps,
        accuracy=float(right_ED[strict_ED].mean()),
        loss=float(loss_ED[split.held_ED].mean()),
        train_loss=float(np.average(loss_ED, weights=split.weight_ED)),
        milliseconds=1000 * spent / visits,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="runs of an Atari game, with their answers")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], metavar="S")
    parser.add_argument("--name", default=NAME, metavar="NAME", help="what the page's file name begins with")
    parser.add_argument("--visits", type=int, default=4000, metavar="N", help="comparisons visited in each fit")
    parser.add_argument(
        "--only",
        nargs="+",
        default=list(NETWORKS),
        choices=NETWORKS,
        metavar="NETWORK",
        help=f"the paper's, and of: {'; '.join(NETWORKS)}",
    )
    options = parser.parse_args()
    networks = {name: change for name, change in NETWORKS.items() if name in ("paper", *options.only)}
    outcomes: dict[str, list[Outcome]] = {name: [] for name in networks}
    total = 0
    runs = [RunDir.open(path) for path in options.runs]
    shown = [clips(run) for run in runs] if len(runs) > 1 else []
    for number, run in enumerate(runs):
        others = [other for i, other in enumerate(shown) if i != number]
        config = read_config(run.config_toml)
        comparisons, asked = answers(run)
        total += len(comparisons)
        for seed in options.seeds:
            for name, change in networks.items():
                changed = replace(config, reward_model=replace(config.reward_model, **change))  # type: ignore[arg-type]
                outcome = judge(changed, comparisons, asked, others, visits=options.visits, seed=seed)
                outcomes[name].append(outcome)
                say(f"{run.name} seed {seed} {name}: {outcome}")
    path = write(outcomes, runs=len(options.runs), answers=total, options=options)
    say(f"Wrote {path.relative_to(rows.ROOT)}")
    return 0


def write(outcomes: dict[str, list[Outcome]], *, runs: int, answers: int, options: argparse.Namespace) -> Path:
    """The page: each network beside the paper's, with the interval of the difference, seed by seed."""
    lines = []
    for name, found in outcomes.items():
        differences = [found[i].loss - outcomes["paper"][i].loss for i in range(len(found))]
        lines.append(
            (
                name,
                f"{np.mean([o.accuracy for o in found]):.3f}",
                f"{np.mean([o.loss for o in found]):.3f}",
                "" if name == "paper" else pages.t_interval(differences),
                f"{np.mean([o.train_loss for o in found]):.3f}",
                f"{np.mean([o.milliseconds for o in found]):.1f}",
                *(f"{np.mean([getattr(o, what) for o in found]):.3f}" for what in ("ranks", "steps") if runs > 1),
            )
        )
    head = (
        "network",
        "held-out accuracy",
        "held-out loss",
        "against the paper's [95 %]",
        "training loss",
        "CPU ms a visit",
        *(f"{what} of others' clips" for what in ("ranks", "steps") if runs > 1),
    )
    hardware = rows.hardware(torch.get_num_threads())
    parts = [
        "# Picture networks of the reward model, on the same answers",
        f"{answers} answers of {runs} run(s), ties included; {len(options.seeds)} seeds a run, "
        f"{options.visits:,} visits each. Judged by the answers that each member never trained on, whose segments it "
        "never saw. Intervals: Student's t over runs and seeds, paired by split; they share their answers, so they are "
        "too narrow for other answers." + FOREIGN * (runs > 1),
        pages.table(head, lines),
        f"{hardware['cpu']}, {hardware['cores']} cores; commit {rows.commit()}.",
        f"```\npython benchmarks/reward_networks.py RUN … --only {shlex.join(options.only)} "
        f"--visits {options.visits} --seeds {' '.join(map(str, options.seeds))}\n```",
    ]
    path = rows.page(options.name, hardware)
    path.write_text("\n\n".join(parts) + "\n")
    return path


if __name__ == "__main__":
    raise SystemExit(main())
