"""Claim: Enduro's true reward teaches as much in bf16 as in fp32.

    .venv/bin/python benchmarks/precision.py --jobs 2

Three seeds of each, 200,000 steps, so that nothing but the number format differs: 6 runs of 8 to 15 minutes on one core
each, or of less than two minutes beside a GPU. Also: --seeds, --hours, --list, --report-only. Goes on where it was
interrupted; writes `benchmarks/precision_<hardware>_<date>.md` and .png.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pages
from harness import Job, main
from rows import Row

from pairplay.report.curves import interval_95

NAME = "precision"
SETTINGS = ("bf16", "fp32")
SEEDS = (1, 2, 3)


def jobs(seeds: Sequence[int]) -> list[Job]:
    words = ("--reward", "env", "--total-timesteps", "200000", "--precision")
    return [Job(NAME, setting, "ALE/Enduro-v5", seed, (*words, setting)) for seed in seeds for setting in SETTINGS]


def report(rows: list[Row], wanted: list[Job]) -> Path:
    lines = [
        (*outcome, ", ".join(f"{row.seconds:,.0f}" for row in found))
        for found, outcome in pages.outcomes(rows, SETTINGS)
    ]
    head = ("setting", "final return, mean (seeds)", "accumulated true reward, mean (seeds)", "seconds")
    parts = ["Preset `enduro` on the true reward, the same seeds and settings in both.", pages.table(head, lines)]
    by_seed = [{row.seed: row.accumulated for row in rows if row.setting == setting} for setting in SETTINGS]
    apart = np.array([by_seed[1][seed] - by_seed[0][seed] for seed in sorted(by_seed[0].keys() & by_seed[1].keys())])
    if len(apart) > 1:
        mean, low, high = (float(of[0]) for of in interval_95(apart[:, None]))
        between = f"{mean:,.0f} more than bf16 [{low:,.0f}, {high:,.0f}]"
        parts.append(f"fp32 accumulates {between} (paired by seed, 95 %, Student's t).")
    return pages.write(NAME, "Number formats", parts, rows, wanted, pages.progress_picture("ALE/Enduro-v5", rows))


if __name__ == "__main__":
    raise SystemExit(main(__doc__, jobs, report, seeds=SEEDS))
