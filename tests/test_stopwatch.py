"""Time belongs to one phase at a time, and no moment is lost."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pairplay.stopwatch import OTHER, Stopwatch


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_an_inner_phase_takes_its_time_from_the_outer_one() -> None:
    clock = Clock()
    stopwatch = Stopwatch(clock)
    clock.now += 1
    with stopwatch.phase("collect"):
        clock.now += 2
        for _ in range(2):
            with stopwatch.phase("act"):
                clock.now += 4
        clock.now += 8
    clock.now += 16
    assert stopwatch.lap() == {OTHER: 17, "collect": 10, "act": 8}


def test_laps_begin_where_the_last_one_ended_and_add_up() -> None:
    clock = Clock()
    stopwatch = Stopwatch(clock)
    with stopwatch.phase("fit"):
        clock.now += 3
        assert stopwatch.lap()["fit"] == 3
        clock.now += 5
    assert stopwatch.lap() == {"fit": 5, OTHER: 0}
    assert stopwatch.total == {OTHER: 0, "fit": 8}


def test_a_phase_that_fails_ends() -> None:
    clock = Clock()
    stopwatch = Stopwatch(clock)
    with suppress(ValueError), stopwatch.phase("fit"):
        clock.now += 3
        raise ValueError
    clock.now += 5
    assert stopwatch.lap() == {OTHER: 5, "fit": 3}


def test_a_tracer_sees_each_phase() -> None:
    seen = []

    @contextmanager
    def label(name: str) -> Iterator[None]:
        seen.append(f"{name} begins")
        yield
        seen.append(f"{name} ends")

    stopwatch = Stopwatch()
    stopwatch.label = label
    with stopwatch.phase("collect"), stopwatch.phase("act"):
        pass
    assert seen == ["collect begins", "act begins", "act ends", "collect ends"]
