"""Claim: what a teacher loses by erring, doubting, skipping or forgetting is a part of what the oracle teaches.

    .venv/bin/python benchmarks/imperfect_teachers.py --jobs 2

B-Pref's teachers on two tasks, 200,000 steps, 350 answers; three seeds, and ten of the oracle and of the one who errs:
64 runs; see benchmarks/README.md for times measured. Also: --seeds, --only mistake, --hours, --list, --report-only.
Goes on where it was interrupted; writes `benchmarks/imperfect_teachers_<hardware>_<date>.md` and .png.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pages
from harness import Job, main
from rows import Row

NAME = "imperfect_teachers"
TASKS = ("HalfCheetah-v5", "Hopper-v5")
TEACHERS = {
    "oracle": "compares the true returns of the clips",
    "mistake": "the oracle, wrong in one answer of ten",
    "noisy": "Boltzmann-rational, β = 1",
    "equal": "calls clips of nearly the same return equal",
    "skip": "is silent where neither clip shows anything",
    "myopic": "remembers the end of a clip best",
}
SEEDS = tuple(range(1, 11))
FEW = 3
MANY = ("oracle", "mistake")
"""Whose runs have all seeds; the others have the first few."""


def jobs(seeds: Sequence[int]) -> list[Job]:
    common = ("--preset", "mujoco", "--queries.clips", "none", "--total-timesteps", "200000", "--labels", "350")
    return [
        Job(NAME, teacher, env_id, seed, (*common, "--teacher", teacher))
        for seed in seeds
        for env_id in TASKS
        for teacher in TEACHERS
        if seed <= FEW or teacher in MANY
    ]


def report(rows: list[Row], wanted: list[Job]) -> Path:
    groups = pages.group(rows)
    lines = []
    for teacher, meaning in TEACHERS.items():
        cells, shares = [teacher, meaning], []
        for env_id in TASKS:
            found = groups.get((env_id, teacher), [])
            seeds = {row.seed for row in found}
            oracle = pages.mean_of([row for row in groups.get((env_id, "oracle"), []) if row.seed in seeds])
            cells.append(pages.seeds_shown(pages.finals(found)))
            if found and oracle > 0:
                shares.append(pages.mean_of(found) / oracle)
            cells.append(f"{shares[-1]:.0%}" if found and oracle > 0 else "–")
        cells.append(f"{np.mean(shares):.0%}" if len(shares) == len(TASKS) else "–")
        asked = [row.answers for env_id in TASKS for row in groups.get((env_id, teacher), [])]
        lines.append([*cells, f"{np.mean(asked):.0f}" if asked else "–"])
    head = [
        "teacher",
        "how",
        *(text for env_id in TASKS for text in (env_id, "of the oracle's")),
        "mean share",
        "answers",
    ]
    parts = [
        "Final true return after 200,000 steps and at most 350 answers: mean (each seed), and the share that is left "
        "of the oracle's mean return with the same seeds.",
        pages.table(head, lines),
        "Answers count skips too. Differences within the spread of the oracle's own seeds are no finding.",
    ]
    values = {env_id: {name: pages.finals(groups.get((env_id, name), [])) for name in TEACHERS} for env_id in TASKS}
    picture = pages.dots_picture("Final true return: each seed, and their mean; dashed: the oracle's mean", values)
    return pages.write(NAME, "Teachers who are not perfect", parts, rows, wanted, picture)


if __name__ == "__main__":
    raise SystemExit(main(__doc__, jobs, report, seeds=SEEDS))
