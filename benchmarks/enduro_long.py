"""Claim: over a million steps of Enduro, 1,500 answers of a teacher who sees only clips match PPO on the true reward.

    .venv/bin/python benchmarks/enduro_long.py --jobs 2

Two seeds of each, 6 runs of 33 to 39 minutes on one core each (Zen 4, bf16). Also: --seeds, --hours, --list,
--report-only. Goes on where it was interrupted; writes `benchmarks/enduro_long_<hardware>_<date>.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pages
from harness import Job, main
from rows import Row

NAME = "enduro_long"
COMMON = ("--preset", "enduro", "--total-timesteps", "1000000")
# Of so many answers a quarter before anything is learnt would be 45,000 steps of random play.
ASKED = ("--labels", "1500", "--queries.initial-share", "0.1")
SETTINGS = {
    "preferences": (*COMMON, "--teacher", "pairplay.teachers.road:progress", *ASKED),
    "true-reward": (*COMMON, "--reward", "env"),
    # Its critic as loud as that of the learned reward, which is scaled to 0.25: docs/decisions/031.
    "true-reward-loud": (*COMMON, "--reward", "env", "--ppo.vf-coef", "2.5"),
}
SEEDS = (1, 2)


def jobs(seeds: Sequence[int]) -> list[Job]:
    return [Job(NAME, setting, "ALE/Enduro-v5", seed, words) for seed in seeds for setting, words in SETTINGS.items()]


def report(rows: list[Row], wanted: list[Job]) -> Path:
    groups = {setting: found for (_, setting), found in pages.group(rows).items()}
    lines = [
        (
            *outcome,
            f"{np.mean([row.answers for row in found]):,.0f}",
            f"{np.mean([row.seconds for row in found]) / 60:.0f}",
        )
        for found, outcome in pages.outcomes(rows, list(SETTINGS))
    ]
    head = ("setting", "final return, mean (seeds)", "accumulated true reward, mean (seeds)", "answers", "minutes")
    parts = [
        "True return of the last episodes after a million agent steps, at equal steps and settings.",
        pages.table(head, lines),
    ]
    for other in ("true-reward", "true-reward-loud"):
        if {"preferences", other} <= groups.keys():
            share = pages.mean_of(groups["preferences"]) / pages.mean_of(groups[other])
            parts.append(f"Preferences reach {share:.0%} of the final return that {other} reaches.")
    return pages.write(
        NAME, "Enduro, a million agent steps", parts, rows, wanted, pages.progress_picture("ALE/Enduro-v5", rows)
    )


if __name__ == "__main__":
    raise SystemExit(main(__doc__, jobs, report, seeds=SEEDS))
