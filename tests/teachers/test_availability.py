"""Slow and absent teachers, by table."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairplay.config import TeacherConfig
from pairplay.teachers.availability import answerable, check, present
from pairplay.types import UserError

AT_ONCE = TeacherConfig()
SLOW = TeacherConfig(delay_steps=100)
AWAY = TeacherConfig(absent_every=1000, absent_for=300)
BOTH = TeacherConfig(delay_steps=100, absent_every=1000, absent_for=300)


@pytest.mark.parametrize(
    ("teaching", "step", "expected"),
    [
        (AT_ONCE, 0, [1]),
        (AT_ONCE, 950, [1, 2, 3]),
        (SLOW, 99, []),
        (SLOW, 100, [1]),
        (SLOW, 1049, [1, 2]),
        (SLOW, 1050, [1, 2, 3]),
        (AWAY, 999, [1, 2, 3]),
        (AWAY, 1000, []),
        (AWAY, 1299, []),
        (AWAY, 1300, [1, 2, 3]),
        (AWAY, 2000, []),
        (AWAY, 2300, [1, 2, 3]),
        (BOTH, 0, []),
        (BOTH, 999, [1]),
        # Query 2 came due at 1000, query 3 at 1050: both wait until the teacher is back.
        (BOTH, 1050, []),
        (BOTH, 1300, [1, 2, 3]),
    ],
)
def test_when_queries_are_answered(teaching: TeacherConfig, step: int, expected: list[int]) -> None:
    asked_at = {step_: id for step_, id in ((950, 3), (900, 2), (0, 1)) if step_ <= step}
    assert answerable({id: asked for asked, id in asked_at.items()}, step, teaching) == expected


def test_the_run_begins_with_the_teacher_there() -> None:
    assert [step for step in range(0, 4000, 100) if not present(step, AWAY)] == [
        1000, 1100, 1200, 2000, 2100, 2200, 3000, 3100, 3200,
    ]  # fmt: skip


@given(
    asked_at=st.dictionaries(st.integers(1, 50), st.integers(0, 5000)),
    step=st.integers(0, 10_000),
    delay=st.integers(0, 3000),
)
def test_what_is_due_stays_due(asked_at: dict[int, int], step: int, delay: int) -> None:
    teaching = TeacherConfig(delay_steps=delay)
    now = answerable(asked_at, step, teaching)
    assert set(now) <= set(answerable(asked_at, step + 1, teaching))
    assert answerable(asked_at, 5000 + delay, teaching) == sorted(asked_at)


@pytest.mark.parametrize(
    ("teaching", "message"),
    [
        (TeacherConfig(delay_steps=-1), "teaching.delay_steps=-1"),
        (TeacherConfig(absent_every=-1), "teaching.absent_every=-1"),
        (TeacherConfig(absent_every=5, absent_for=-1), "teaching.absent_for=-1"),
        (TeacherConfig(absent_for=5), "say how often"),
        (TeacherConfig(absent_every=5, absent_for=5), "never come back"),
        (TeacherConfig(share=1.5), "teaching.share=1.5 is no share"),
        (TeacherConfig(share=float("nan")), "is no share"),
    ],
)
def test_options_that_contradict_themselves(teaching: TeacherConfig, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check(teaching)


def test_options_that_do_not() -> None:
    for teaching in (AT_ONCE, SLOW, AWAY, BOTH, TeacherConfig(absent_every=5), TeacherConfig(share=0.0)):
        check(teaching)
