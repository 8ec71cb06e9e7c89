"""Claim: with equal steps and comparisons, Pairplay's agent ends with more true return than imitation's.

    .venv/bin/python benchmarks/imitation_peer.py --install --jobs 2

imitation 1.0.1's preference comparisons, at the settings that it documents, against Pairplay's presets, on tasks of
fixed length that both can run; the oracle answers both. Three tasks, three seeds: 18 runs; see benchmarks/README.md for
times measured. `--install` makes .venv-imitation first, since imitation needs an older Gymnasium. Also: --seeds, --only
imitation, --hours, --list, --report-only. Writes `benchmarks/imitation_peer_<hardware>_<date>.md` and .png.
imitation's runs cannot be resumed: one that is interrupted begins anew. A trial needs steps that fill its iterations:
--steps 122880 --only Pendulum.
"""

from __future__ import annotations

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
}
"""Steps, comparisons, and Pairplay's options. Steps fill imitation's iterations, which stable-baselines3 would round up
to whole rollouts. Hopper plays on after a fall, for imitation refuses episodes that end early."""
SEEDS = (1, 2, 3)
FAIRNESS = """\
Both get the same steps to train on, the same number of comparisons and a deterministic oracle. The segments are each
side's own: 100 steps for imitation, 1.5 seconds for Pairplay. imitation plays some steps more, to have clips to cut;
they are counted in *steps*. It runs Gymnasium's v4 tasks in MuJoCo 2.3, Pairplay the v5 in a newer MuJoCo: the same
bodies and rewards, and not quite the same numbers. Seconds include all that either side does; imitation draws no
pictures, while Pairplay films every clip that it asks about."""


def jobs(seeds: Sequence[int]) -> list[Job]:
    found = []
    for seed in seeds:
        for env_id, (steps, labels, options) in TASKS.items():
            budget = ("--total-timesteps", str(steps), "--labels", str(labels))
            found.append(Job(NAME, "pairplay", env_id, seed, (*options, "--teacher", "oracle", *budget)))
            found.append(Job(NAME, "imitation", env_id, seed, budget, peer=PEER))
    return found


def report(rows: list[Row], wanted: list[Job]) -> Path:
    lines = []
    for (env_id, setting), found in sorted(pages.group(rows).items()):
        values = pages.finals(found)
        answers, steps, minutes = (
            f"{np.mean(column):,.0f}"
            for column in (
                [row.answers for row in found],
                [row.steps for row in found],
                [row.seconds / 60 for row in found],
            )
        )
        lines.append((env_id, setting, pages.seeds_shown(values), pages.t_interval(values), answers, steps, minutes))
    head = ("task", "who", "final return, mean (seeds)", "95 % interval (Student's t)", "answers", "steps", "minutes")
    parts = ["Final true return with equal training steps and comparisons.", pages.table(head, lines), FAIRNESS]
    picture = pages.curves_picture(rows, ("pairplay", "imitation"))
    return pages.write(NAME, "Beside imitation's preference comparisons", parts, rows, wanted, picture)


if __name__ == "__main__":
    raise SystemExit(main(__doc__, jobs, report, seeds=SEEDS, install=partial(libraries.install, "imitation")))
