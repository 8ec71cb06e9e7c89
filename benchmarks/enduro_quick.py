"""Claim: 290 answers of a teacher who sees only the clips teach more in 30,208 steps of Enduro than the true reward.

    .venv/bin/python benchmarks/enduro_quick.py

Ten seeds of each, 20 runs of 2 to 4 minutes: about an hour on 2 cores, one run at a time. Also: --seeds, --jobs 2,
--list, --report-only. Goes on where it was interrupted; writes `benchmarks/enduro_quick_<hardware>_<date>.md` and .png.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import intervals
import numpy as np
import pages
from harness import Job, main
from rows import Row

NAME = "enduro_quick"
SETTINGS = {
    "preferences": ("--preset", "quick", "--teacher", "pairplay.teachers.road:progress"),
    "true-reward": ("--preset", "quick", "--reward", "env"),
}
REFERENCES = [("glucard 2024, 290 human answers", 171.0), ("glucard 2024, true reward", 50.0)]
SEEDS = range(1, 11)


def jobs(seeds: Sequence[int]) -> list[Job]:
    return [Job(NAME, setting, "ALE/Enduro-v5", seed, words) for seed in seeds for setting, words in SETTINGS.items()]


def report(rows: list[Row], wanted: list[Job]) -> Path:
    groups = {setting: found for (_, setting), found in pages.group(rows).items()}
    scores = {setting: np.array([[row.accumulated] for row in found]) for setting, found in groups.items()}
    lines = []
    for setting in SETTINGS:
        if found := groups.get(setting):
            summary = intervals.summarise(scores[setting])
            seeds = ", ".join(f"{row.accumulated:.0f}" for row in found)
            answers = f"{np.mean([row.answers for row in found]):.0f}"
            seconds = f"{np.mean([row.seconds for row in found]):.0f}"
            cells = (setting, str(summary.mean), str(summary.median), str(summary.iqm), answers, seconds, seeds)
            lines.append(cells)
    lines += [(f"{name} (its own figure, one run)", f"{value:.0f}", "", "", "", "", "") for name, value in REFERENCES]
    parts = [
        "Accumulated true reward over the whole run of 30,208 agent steps. In brackets: 95 % intervals.",
        pages.table(("setting", "mean", "median", "IQM", "answers", "seconds", "each seed"), lines),
    ]
    if len(scores) == len(SETTINGS):
        better = intervals.improvement(*(scores[setting] for setting in SETTINGS))
        parts.append(f"Probability that a run with preferences earns more than one with the true reward: {better}.")
    parts.append(intervals.LEGEND)
    picture = pages.progress_picture("ALE/Enduro-v5", rows, REFERENCES)
    return pages.write(NAME, "Enduro, 30,208 agent steps", parts, rows, wanted, picture)


if __name__ == "__main__":
    raise SystemExit(main(__doc__, jobs, report, seeds=SEEDS))
