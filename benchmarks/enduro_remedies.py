"""Claim: why a long run of Enduro from preferences stays behind the true reward, one remedy at a time.

    .venv/bin/python benchmarks/enduro_remedies.py --jobs 2

400,000 steps and 600 answers, the pace of `enduro_long.py`: the preset, each remedy, the true reward. See
benchmarks/README.md for times measured. Also: --only unshaped, --seeds, --hours, --list, --report-only. Goes on where
it was interrupted; writes `benchmarks/enduro_remedies_<hardware>_<date>.md` and .png.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pages
from harness import Job, main
from rows import Row

NAME = "enduro_remedies"
COMMON = ("--preset", "enduro", "--total-timesteps", "400000")
ANSWERED = (*COMMON, "--labels", "600")
TAUGHT = (*ANSWERED, "--teacher", "pairplay.teachers.road:progress")
SETTINGS: dict[str, tuple[str, ...]] = {
    "preset": TAUGHT,
    "unshaped": (*TAUGHT, "--reward-model.shaping", "0"),
    "every-step": (*TAUGHT, "--reward-model.fit-stride", "1"),
    "oracle": (*ANSWERED, "--teacher", "oracle"),
    "fading": (*TAUGHT, "--reward-model.shaping-steps", "200000"),
    "batch-norm": (*TAUGHT, "--reward-model.batch-norm"),
    "true-reward": (*COMMON, "--reward", "env"),
}
"""Each but the last differs from the preset in one thing."""
SEEDS = (1,)


def jobs(seeds: Sequence[int]) -> list[Job]:
    return [Job(NAME, setting, "ALE/Enduro-v5", seed, words) for seed in seeds for setting, words in SETTINGS.items()]


def report(rows: list[Row], wanted: list[Job]) -> Path:
    aim = pages.mean_of([row for row in rows if row.setting == "true-reward"])
    lines = [
        (*outcome, f"{pages.mean_of(found) / aim:.0%}", f"{np.mean([row.seconds for row in found]) / 60:.0f}")
        for found, outcome in pages.outcomes(rows, list(SETTINGS))
    ]
    head = ("setting", "final return, mean (seeds)", "accumulated true reward, mean (seeds)", "share", "minutes")
    parts = [
        "True return of the last episodes after 400,000 agent steps, at equal steps and, but for the one thing named, "
        "equal settings. 600 answers of the teacher who sees only clips, or of the oracle where it says so. Share: of "
        "the true reward's final return.",
        pages.table(head, lines),
    ]
    picture = pages.progress_picture("ALE/Enduro-v5", rows)
    return pages.write(NAME, "Enduro from preferences: what holds it back", parts, rows, wanted, picture)


if __name__ == "__main__":
    raise SystemExit(main(__doc__, jobs, report, seeds=SEEDS))
