"""Who is behind, by hand; and waits whose clock is ours."""

import math
from collections.abc import Callable, Iterator
from typing import get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairplay.config import QueryConfig
from pairplay.queries.pace import POLL_S, TELL_S, Behind, Pace, Verdict, hold
from pairplay.types import UserError

numbers = st.integers(0, 2000)


def test_the_rules_are_those_of_the_configuration() -> None:
    assert get_args(get_type_hints(QueryConfig)["behind"]) == get_args(Behind)


@pytest.mark.parametrize(
    ("due", "given", "waiting", "missing"),
    [
        (20, 15, 5, 0),  # five may be missing
        (20, 14, 6, 1),
        (300, 270, 20, 0),  # a tenth of what is due may be missing
        (300, 269, 20, 1),
        (300, 200, 20, 20),  # no more can be given now
        (300, 200, 3, 3),
        (300, 200, 0, 0),  # nothing to answer: the agent owes the next pairs
        (10, 30, 5, 0),
    ],
)
def test_behind_by_hand(due: int, given: int, waiting: int, missing: int) -> None:
    verdict = Pace("pause").judge(due=due, given=given, waiting=waiting)
    if missing == 0:
        assert verdict == Verdict("go")
    else:
        assert (verdict.state, verdict.wait_s) == ("wait", math.inf)
        assert verdict.sentence == f"Paused until {missing} more answer{'s' if missing > 1 else ''} from you."
    slow = Pace("slow").judge(due=due, given=given, waiting=waiting)
    assert slow.state == ("slow" if missing else "go")
    assert (slow.sentence or "quarter").count("quarter") == 1


@given(numbers, numbers, numbers)
def test_continue_never_waits(due: int, given: int, waiting: int) -> None:
    assert Pace("continue").judge(due=due, given=given, waiting=waiting) == Verdict("go")


@given(st.sampled_from(["slow", "pause"]), numbers, numbers, st.integers(0, 30))
def test_answering_what_there_is_always_ends_a_wait(behind: Behind, due: int, given: int, waiting: int) -> None:
    pace = Pace(behind)
    for more in range(waiting + 1):
        verdict = pace.judge(due=due, given=given + more, waiting=waiting - more)
        if verdict.state == "go":
            break
    assert verdict.state == "go"


def test_nonsense_is_refused() -> None:
    for least, share in ((-1, 0.1), (5, 1.0), (5, math.nan)):
        with pytest.raises(UserError, match="least"):
            Pace("pause", least=least, share=share)


class Clock:
    """Time passes only in sleep."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert 0.0 < seconds <= POLL_S
        self.now += seconds


def wait(judge: Callable[[], Verdict], *, stop_after: float = math.inf) -> tuple[float, list[Verdict]]:
    clock, told = Clock(), list[Verdict]()
    waited = hold(
        judge,
        worked_s=2.0,
        stopping=lambda: clock.now - 100.0 >= stop_after,
        tell=told.append,
        clock=clock,
        sleep=clock.sleep,
    )
    assert waited == pytest.approx(clock.now - 100.0)
    return waited, told


def test_slow_is_a_quarter_of_the_speed() -> None:
    verdict = Pace("slow").judge(due=100, given=0, waiting=20)
    waited, told = wait(lambda: verdict)
    assert 2.0 / (2.0 + waited) == pytest.approx(1 / 4)
    assert told == [verdict]


def test_a_wait_ends_with_the_answers() -> None:
    def answering() -> Iterator[Verdict]:
        for count in range(100):
            yield Pace("pause").judge(due=10, given=count, waiting=10 - count)

    verdicts = answering()
    waited, told = wait(lambda: next(verdicts))
    assert waited == pytest.approx(5 * POLL_S), "a look each, until half of the ten are there"
    assert [verdict.sentence for verdict in told] == [
        f"Paused until {word} from you."
        for word in ("5 more answers", "4 more answers", "3 more answers", "2 more answers", "1 more answer")
    ]


def test_going_on_takes_no_time_and_says_nothing() -> None:
    assert wait(lambda: Verdict("go")) == (0.0, [])


def test_a_wait_can_be_stopped_and_says_now_and_then_that_it_lasts() -> None:
    paused = Verdict("wait", math.inf, "Paused.")
    waited, told = wait(lambda: paused, stop_after=35.0)
    assert waited == pytest.approx(35.0)
    assert len(told) == 1 + int(35 / TELL_S)
    assert wait(lambda: paused, stop_after=0.0) == (0.0, [])
