"""Claim: each item of the recipe earns its place: what is lost when one is left out?

    .venv/bin/python benchmarks/ablations.py --jobs 2

Two tasks, three seeds, 200,000 steps, 350 answers of the oracle, the recipe and 15 changes to it: 96 runs; see
benchmarks/README.md for times measured. Also: --only one-member, --seeds, --hours, --list, --report-only. Goes on where
it was interrupted; writes `benchmarks/ablations_<hardware>_<date>.md` and .png.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pages
from harness import Job, main
from rows import Row

NAME = "ablations"
TASKS = ("HalfCheetah-v5", "Hopper-v5")
COMMON = (
    "--preset",
    "mujoco",
    "--queries.clips",
    "none",
    "--total-timesteps",
    "200000",
    "--teacher",
    "oracle",
    "--labels",
    "350",
)
CHANGES: dict[str, tuple[str, ...]] = {
    "recipe": (),
    "one-member": ("--reward-model.members", "1"),
    "no-bootstrap": ("--reward-model.no-bootstrap",),
    "no-held-out": ("--reward-model.held-out", "0", "--reward-model.no-adaptive-l2"),
    "fixed-l2": ("--reward-model.no-adaptive-l2",),
    "no-error-rate": ("--reward-model.error-rate", "0"),
    "normalise": ("--reward-model.normalise",),
    "no-carry-value": ("--reward-model.no-carry-value",),
    "no-action": ("--reward-model.no-see-action",),
    "shaping": ("--reward-model.shaping", "1"),
    "asked-all-at-once": ("--queries.initial-share", "1"),
    "uniform": ("--queries.strategy", "uniform"),
    "entropy": ("--queries.strategy", "entropy"),
    "kcenter": ("--queries.strategy", "kcenter"),
    "kcenter-disagreement": ("--queries.strategy", "kcenter_disagreement"),
    "kcenter-entropy": ("--queries.strategy", "kcenter_entropy"),
}
"""Each differs from the recipe in one thing."""
SEEDS = (1, 2, 3)


def jobs(seeds: Sequence[int]) -> list[Job]:
    return [
        Job(NAME, change, env_id, seed, (*COMMON, *words))
        for seed in seeds
        for env_id in TASKS
        for change, words in CHANGES.items()
    ]


def shares(groups: Mapping[tuple[str, str], Sequence[Row]], change: str) -> list[float]:
    """Of each task and seed that both have: 1, and what the change adds, as a part of the recipe's mean of the task."""
    found = []
    for env_id in TASKS:
        recipe, changed = (
            {row.seed: row.final_return for row in groups.get((env_id, name), ()) if row.final_return is not None}
            for name in ("recipe", change)
        )
        mean = sum(recipe.values()) / max(1, len(recipe))
        found += [1.0 + (changed[seed] - recipe[seed]) / mean for seed in sorted(recipe.keys() & changed.keys())]
    return found


def report(rows: list[Row], wanted: list[Job]) -> Path:
    groups = pages.group(rows)
    lines = []
    for change, words in CHANGES.items():
        cells = [change, f"`{' '.join(words)}`" if words else "the preset as it is"]
        for env_id in TASKS:
            values, recipe = (pages.finals(groups.get((env_id, name), [])) for name in (change, "recipe"))
            cells.append(pages.seeds_shown(values))
            same = change == "recipe" or not values or not recipe
            cells.append("" if same else f"{sum(values) / len(values) - sum(recipe) / len(recipe):+,.0f}")
        cells.append(pages.t_interval(shares(groups, change)) if change != "recipe" else "")
        lines.append(cells)
    head = ["change", "options", *(text for env_id in TASKS for text in (env_id, "against the recipe"))]
    parts = [
        "Final true return after 200,000 steps and 350 answers of the oracle: mean (each seed).",
        pages.table([*head, "part of the recipe's return"], lines),
        "The last column takes both tasks together: 1 plus the difference to the recipe's run of the same seed, as a "
        "part of the recipe's mean of that task; mean and 95 % interval (Student's t) over the pairs of task and seed. "
        "An interval that ends below 1 is a finding, as far as one of 15 can be; one that holds 1 is none. The recipe "
        "was chosen in trials of these tasks and seeds, which is in its favour. Runs of one seed begin alike, and part "
        "at the first difference.",
    ]
    dots = {env_id: {change: pages.finals(groups.get((env_id, change), [])) for change in CHANGES} for env_id in TASKS}
    picture = pages.dots_picture("Final true return: each seed, and their mean; dashed: the recipe's mean", dots)
    return pages.write(NAME, "The recipe, one thing changed at a time", parts, rows, wanted, picture)


if __name__ == "__main__":
    raise SystemExit(main(__doc__, jobs, report, seeds=SEEDS))
