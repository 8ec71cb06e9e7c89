"""The budget is spent at the paper's rate, to the last label, and begins at once."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairplay.queries.schedule import LabelSchedule
from pairplay.types import UserError

schedules = st.builds(
    LabelSchedule,
    budget=st.integers(0, 5000),
    total_timesteps=st.integers(1, 50_000_000),
    initial_share=st.floats(0.0, 1.0),
    anneal_steps=st.floats(1.0, 1e9),
)


def test_by_hand() -> None:
    schedule = LabelSchedule(1000, total_timesteps=3_000_000, initial_share=0.25, anneal_steps=1e6)
    assert schedule.target(0) == 250
    # log(1 + 1) / log(1 + 3) = 1/2 of the rest.
    assert schedule.target(1_000_000) == 625
    assert schedule.target(3_000_000) == 1000
    assert schedule.target(9_000_000) == 1000


def test_the_rate_falls_as_c_over_t_plus_c() -> None:
    schedule = LabelSchedule(10**9, total_timesteps=10**7, initial_share=0.0, anneal_steps=2e6)

    def rate(t: int) -> int:
        return schedule.target(t + 1000) - schedule.target(t)

    for t in (10**5, 10**6, 5 * 10**6):
        assert rate(t) / rate(0) == pytest.approx(2e6 / (2e6 + t), rel=1e-2)


def test_a_budget_of_nothing() -> None:
    schedule = LabelSchedule(0, 1000, 0.25, 1e6)
    assert [schedule.target(t) for t in (0, 500, 1000)] == [0, 0, 0]
    assert schedule.next_due(0) is None


@given(schedules, st.lists(st.integers(0, 60_000_000), min_size=2, max_size=10))
def test_never_falls_never_exceeds_and_ends_at_the_budget(schedule: LabelSchedule, times: list[int]) -> None:
    targets = [schedule.target(t) for t in sorted(times)]
    assert targets == sorted(targets)
    assert schedule.target(0) >= min(1, schedule.budget)
    assert max(targets) <= schedule.budget
    assert schedule.target(schedule.total_timesteps) == schedule.budget


@given(schedules, st.integers(0, 60_000_000))
def test_next_due_is_the_first_step_that_raises_the_target(schedule: LabelSchedule, now: int) -> None:
    due = schedule.next_due(now)
    if due is None:
        assert schedule.target(now) == schedule.budget
    else:
        assert due > now
        assert schedule.target(due) > schedule.target(now) == schedule.target(due - 1)


@pytest.mark.parametrize(("share", "anneal"), [(-0.1, 1e6), (1.1, 1e6), (math.nan, 1e6), (0.5, 0.0), (0.5, math.inf)])
def test_impossible_options(share: float, anneal: float) -> None:
    with pytest.raises(UserError, match="initial_share" if anneal == 1e6 else "anneal_steps"):
        LabelSchedule(100, 1000, share, anneal)
