"""Claim: on eight MuJoCo tasks, 700 answers of the oracle come near PPO on the true reward at equal steps.

    .venv/bin/python benchmarks/mujoco_tasks.py --jobs 2

Eight tasks, three seeds, 500,000 steps, with preferences and with the true reward, and 50,000 steps of random actions:
72 runs; see benchmarks/README.md for times measured. Also: --seeds, --only Hopper, --hours, --list, --report-only.
Goes on where it was interrupted; writes `benchmarks/mujoco_tasks_<hardware>_<date>.md` and .png.
(Not `mujoco.py`: a script's folder comes first on its path, and MuJoCo's own module would be hidden.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import intervals
import numpy as np
import pages
from harness import Job, main
from intervals import figure
from rows import Row

from pairplay.config import MUJOCO as TASKS
from pairplay.config import PENDULUMS

NAME = "mujoco_tasks"
STEPS, LABELS, RANDOM_STEPS = 500_000, 700, 50_000
RECIPE = (
    "--preset",
    "mujoco",
    "--queries.clips",
    "still",
    "--total-timesteps",
    str(STEPS),
    "--teacher",
    "oracle",
    "--labels",
    str(LABELS),
)
TRUE_REWARD = ("--preset", "mujoco", "--queries.clips", "still", "--total-timesteps", str(STEPS), "--reward", "env")
RANDOM = (
    *(
        "--preset",
        "mujoco",
        "--queries.clips",
        "still",
        "--total-timesteps",
        str(RANDOM_STEPS),
        "--teacher",
        "oracle",
        "--labels",
        "0",
    ),
    # Never learns, never asks, and draws each action anew: uniform over the action box.
    *("--queries.min-answers", "1", "--queries.explore-steps", "1000000000", "--queries.explore-persistence", "0"),
)
SETTINGS = {"preferences": RECIPE, "true-reward": TRUE_REWARD, "random": RANDOM}
SEEDS = (1, 2, 3)
DEFINITIONS = """\
*Ratio* = mean return with preferences / mean return with the true reward. It says something only where returns cannot
be negative and nothing is worth 0, so it is left out where the random policy or the true reward earns less than that.
*Normalised* = (return with preferences − random) / (return with the true reward − random), for every task alike, with
the means over seeds of both: 0 is a policy of uniformly random actions, 1 is PPO on the true reward at equal steps."""


def jobs(seeds: Sequence[int]) -> list[Job]:
    return [
        Job(NAME, setting, env_id, seed, _preset(env_id, words))
        for seed in seeds
        for env_id in TASKS
        for setting, words in SETTINGS.items()
    ]


def _preset(env_id: str, words: Sequence[str]) -> tuple[str, ...]:
    """What lies there for good is stood up again, in every setting alike: docs/decisions/016."""
    return tuple("pendulum" if env_id in PENDULUMS and word == "mujoco" else word for word in words)


def normalised(values: Sequence[float], *, random: float, true: float) -> list[float]:
    """(value − random) / (true − random); NaN where the true reward taught nothing."""
    return [(value - random) / (true - random) if true > random else math.nan for value in values]


def report(rows: list[Row], wanted: list[Job]) -> Path:
    groups = pages.group(rows)
    lines, scores = [], list[list[float]]()
    for env_id in TASKS:
        found = {setting: groups.get((env_id, setting), []) for setting in SETTINGS}
        random, true, learned = (pages.mean_of(found[s]) for s in ("random", "true-reward", "preferences"))
        ratio = f"{learned / true:.2f}" if random >= 0 and true > 0 else "–"
        score = normalised(pages.finals(found["preferences"]), random=random, true=true)
        if score and not any(map(math.isnan, score)):
            scores.append(score)
        shown = [pages.seeds_shown(pages.finals(found[s])) for s in ("preferences", "true-reward")]
        minutes = [np.mean([row.seconds for row in found[s]]) / 60 for s in ("preferences", "true-reward") if found[s]]
        cells = (env_id, *shown, figure(random), ratio, pages.seeds_shown(score))
        lines.append((*cells, " / ".join(f"{m:.0f}" for m in minutes)))
    head = ("task", "preferences", "true reward", "random", "ratio", "normalised", "minutes")
    parts = [
        f"Final true return after {STEPS:,} steps, {LABELS} answers of the oracle: mean (each seed).",
        pages.table(head, lines),
        DEFINITIONS,
    ]
    runs = min(map(len, scores), default=0)
    if runs == 1:
        mean = float(np.mean([np.mean(score) for score in scores]))
        parts.append(f"Over {len(scores)} tasks, normalised: mean {mean:.2f}. Some task has one seed: no interval.")
    if runs > 1:
        matrix_RK = np.array([score[:runs] for score in scores]).T
        summary = intervals.summarise(matrix_RK)
        parts.append(
            f"Over {len(scores)} tasks and {runs} seeds, normalised: IQM {summary.iqm}, mean {summary.mean}, median "
            f"{summary.median}. The spread of random and true reward is not part of these intervals."
        )
        parts.append(intervals.LEGEND)
    picture = pages.curves_picture(rows, ("preferences", "true-reward", "random"), level="random")
    return pages.write(NAME, "Eight MuJoCo tasks", parts, rows, wanted, picture)


if __name__ == "__main__":
    raise SystemExit(main(__doc__, jobs, report, seeds=SEEDS))
