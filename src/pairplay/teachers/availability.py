"""When a synthetic teacher is there to answer: a person is slow, and now and then away. Knows no store."""

from __future__ import annotations

from collections.abc import Mapping

from pairplay.config import TeacherConfig
from pairplay.types import UserError


def check(teaching: TeacherConfig) -> None:
    """UserError when the options contradict themselves."""
    for option in ("delay_steps", "absent_every", "absent_for"):
        value = getattr(teaching, option)
        if value < 0:
            raise UserError(f"teaching.{option}={value} is no number of steps: use 0 or more")
    if teaching.absent_for and not teaching.absent_every:
        raise UserError(f"teaching.absent_for={teaching.absent_for} without teaching.absent_every: say how often, too")
    if teaching.absent_every and teaching.absent_for >= teaching.absent_every:
        raise UserError(
            f"teaching.absent_for={teaching.absent_for} is not less than teaching.absent_every="
            f"{teaching.absent_every}: the teacher would never come back"
        )
    if not 0.0 <= teaching.share <= 1.0:
        raise UserError(f"teaching.share={teaching.share} is no share: use a number from 0 to 1")


def present(step: int, teaching: TeacherConfig) -> bool:
    """Whether the teacher is there at agent step `step`.

    The k-th absence, k ≥ 1, lasts from step k · absent_every until just before k · absent_every + absent_for.
    """
    if not teaching.absent_every or step < teaching.absent_every:
        return True
    return step % teaching.absent_every >= teaching.absent_for


def answerable(asked_at: Mapping[int, int], step: int, teaching: TeacherConfig) -> list[int]:
    """The ids, sorted, of the open queries that a teacher may answer at agent step `step`.

    `asked_at` gives the step at which each was asked. A query waits for `delay_steps`, and longer when it comes due
    in an absence. One asked after `step` (by a run that was killed and resumes from before) waits for its time too.
    """
    if not present(step, teaching):
        return []
    return sorted(id for id, asked in asked_at.items() if step >= asked + teaching.delay_steps)
