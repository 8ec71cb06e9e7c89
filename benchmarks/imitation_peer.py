"""Claim: with equal steps and comparisons, Pairplay's agent ends with more true return than imitation's.

    .venv/bin/python benchmarks/imitation_peer.py --install --jobs 2

imitation 1.0.1's preference comparisons, at the settings that it documents, against Pairplay's presets, on tasks of
fixed length that both can run; the oracle answers both. Four tasks, three seeds, and as measures the true reward and
random actions: 48 runs; see benchmarks/README.md for times measured. `--install` makes .venv-imitation first, since
imitation needs an older Gymnasium. Also: --seeds, --only imitation, --hours, --list, --report-only. Writes
`benchmarks/imitation_peer_<hardware>_<date>.md` and .png. imitation's runs cannot be resumed: one that is interrupted
begins anew. A trial needs steps that fill its iterations: --steps 122880 --only Pendulum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import libraries
import numpy as np
import pages
from harness import Job, Peer, main
from rows import Row

NAME = "imitation_peer"
PEER = Peer(libraries.python_of("imitation"), Path("benchmarks/peers/imitation_run.py"))
TASKS = {
    "HalfCheetah-v5": (512_000, 700, ("--preset", "mujoco")),
    "Hopper-v5": (512_000, 700, ("--preset", "mujoco", "--env.ends", "continue")),
    "Pendulum-v1": (245_760, 200, ("--preset", "control")),
    "ALE/Enduro-v5": (30_720, 290, ("--preset", "quick")),
}
"""Steps, comparisons, and Pairplay's options. Steps fill imitation's iterations, which stable-baselines3 would round up
to whole rollouts. Hopper plays on after a fall, for imitation refuses episodes that end early."""
OUR_STEPS = {"ALE/Enduro-v5": 30_208}
"""Where our rollouts would not fill the others' steps: fewer."""
ON_THE_WAY = ("ALE/Enduro-v5",)
"""Tasks of so few episodes that the reward on the way says more than that of the last."""
RANDOM_STEPS = 30_208
WHO = ("pairplay", "imitation", "true-reward", "random")
SEEDS = (1, 2, 3)
DEFINITIONS = """\
*Mean*: final true return; on Enduro, where an environment ends one or two episodes in all these steps, the true reward
of 1,000 steps, on average over the run. *Normalised* = (mean − random) / (true reward − random): 0 is a policy of
uniformly random actions, 1 is Pairplay's PPO on the true reward at equal steps."""
FAIRNESS = """\
Both get the same steps to train on, the same number of comparisons and a deterministic oracle. The segments are each
side's own: 100 steps for imitation, 1.5 seconds for Pairplay; 25 steps for both on Enduro. imitation plays some steps
more, to have clips to cut; they are counted in *steps*. It runs Gymnasium's v4 tasks in MuJoCo 2.3, Pairplay the v5 in
a newer MuJoCo: the same bodies and rewards, and not quite the same numbers. On Enduro imitation has the nine actions of
stable-baselines3's environment and sees the score; Pairplay has all 18 and does not. Minutes include all that either
side does; neither draws clips, for nobody looks at them."""
RANDOM = (
    # Never learns, never asks, and draws each action anew: uniform over the actions.
    *("--teacher", "oracle", "--labels", "0", "--queries.min-answers", "1", "--queries.explore-steps", "1000000000"),
    *("--queries.explore-persistence", "0", "--queries.clips", "none"),
)


def jobs(seeds: Sequence[int]) -> list[Job]:
    found = []
    for seed in seeds:
        for env_id, (steps, labels, options) in TASKS.items():
            ours = (*options, "--total-timesteps", str(OUR_STEPS.get(env_id, steps)))
            answers = ("--teacher", "oracle", "--queries.clips", "none", "--labels", str(labels))
            theirs = ("--total-timesteps", str(steps), "--labels", str(labels))
            found += [
                Job(NAME, "pairplay", env_id, seed, (*ours, *answers)),
                Job(NAME, "imitation", env_id, seed, theirs, peer=PEER),
                Job(NAME, "true-reward", env_id, seed, (*ours, "--reward", "env")),
                Job(NAME, "random", env_id, seed, (*options, "--total-timesteps", str(RANDOM_STEPS), *RANDOM)),
            ]
    return found


def score(row: Row) -> float | None:
    """What a run is judged by: see `DEFINITIONS`."""
    return row.accumulated / row.steps * 1000 if row.env_id in ON_THE_WAY else row.final_return


def report(rows: list[Row], wanted: list[Job]) -> Path:
    groups = pages.group(rows)
    lines, normalised, minutes = [], dict[str, list[float]](), dict[str, list[float]]()
    for env_id in TASKS:
        scores = {name: [s for row in groups.get((env_id, name), []) if (s := score(row)) is not None] for name in WHO}
        means = {name: float(np.mean(values)) if values else math.nan for name, values in scores.items()}
        for name in WHO:
            found = groups.get((env_id, name), [])
            if not found:
                continue
            gain, most = means[name] - means["random"], means["true-reward"] - means["random"]
            share = gain / most if most > 0 else math.nan
            taken = float(np.mean([row.seconds for row in found])) / 60
            normalised.setdefault(name, []).append(share)
            minutes.setdefault(name, []).append(taken)
            counts = (f"{np.mean(column):,.0f}" for column in zip(*((r.answers, r.steps) for r in found), strict=True))
            interval = pages.t_interval(scores[name])
            lines.append(
                (env_id, name, pages.seeds_shown(scores[name]), interval, f"{share:.2f}", *counts, f"{taken:.1f}")
            )
    head = ("task", "who", "mean (seeds)", "95 % interval (Student's t)", "normalised", "answers", "steps", "minutes")
    parts = ["True return with equal training steps and comparisons.", pages.table(head, lines), DEFINITIONS]
    if all(len(normalised.get(name, [])) == len(TASKS) for name in WHO) and np.isfinite(normalised["random"]).all():
        parts.append(_summary(normalised, minutes))
    parts.append(FAIRNESS)
    picture = pages.curves_picture(rows, ("pairplay", "imitation", "true-reward"))
    return pages.write(NAME, "Beside imitation's preference comparisons", parts, rows, wanted, picture)


def _summary(normalised: dict[str, list[float]], minutes: dict[str, list[float]]) -> str:
    ours, theirs = (float(np.mean(normalised[name])) for name in ("pairplay", "imitation"))
    taken = " / ".join(f"{a / b:.2f}" for a, b in zip(minutes["pairplay"], minutes["imitation"], strict=True))
    return (
        f"Over {len(TASKS)} tasks, normalised: Pairplay {ours:.2f}, imitation {theirs:.2f}, **{ours / theirs:.2f} "
        f"times** its mean (aim 1.5). Its time that Pairplay takes, task by task: {taken} (aim 0.1)."
    )


if __name__ == "__main__":
    raise SystemExit(main(__doc__, jobs, report, seeds=SEEDS, install=partial(libraries.install, "imitation")))
