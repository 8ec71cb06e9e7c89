"""A person and synthetic teachers at one queue: nobody takes the other's, and every answer says whose it is."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pairplay.config import TeacherConfig, TrainConfig
from pairplay.labels.store import LabelStore, LeasedQuery
from pairplay.packing import segment_id
from pairplay.teachers.context import TeacherContext
from pairplay.teachers.panel import Panel, check_teachers, parse_teachers, seat_of
from pairplay.types import EnvSpec, Footage, Query, Segment, UserError

SPEC = EnvSpec("Env-v0", (1,), 1, 2, (), (), 15.0)
USUAL = TeacherContext(100.0, 50.0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LabelStore]:
    with LabelStore.open(tmp_path / "labels.db") as opened:
        yield opened


class Counting:
    """How often it was instantiated."""

    made = 0

    def __init__(self) -> None:
        Counting.made += 1

    def __call__(self, left: object, right: object, rng: np.random.Generator) -> str:
        return "tie"


def test_a_class_among_the_teachers_is_instantiated_once(store: LabelStore, tmp_path: Path) -> None:
    Counting.made = 0
    config = TrainConfig(teacher=f"human+{__name__}:Counting")
    check_teachers(config)
    Panel.from_config(config, store, SPEC, tmp_path)
    assert Counting.made == 1


def footage(i: int) -> Footage:
    """Segment i earns i a step."""
    frames, action = np.full((2, 1), i, np.float32), np.zeros(2, np.int64)
    segment = Segment(segment_id(frames, 0, action), frames, 0, action, env=0, step=0, iteration=0)
    return Footage(segment, np.zeros((2, 16, 16, 3), np.uint8), np.full(2, i, np.float32))


def publish(store: LabelStore, count: int, *, step: int = 0, first: int = 0) -> list[int]:
    """Queries whose left side is worth one less a step than the right; no teacher here looks at clips."""
    pairs = [(footage(i), footage(i + 1)) for i in range(first, first + count)]
    queries = [Query(left, right, "uniform", 0.0, "Which?") for left, right in pairs]
    return [store.add_query(query, left_clip="a" * 64, right_clip="b" * 64, step=step) for query in queries]


def panel(store: LabelStore, teacher: str, **teaching: Any) -> Panel:
    config = TrainConfig(teacher=teacher, seed=1, teaching=TeacherConfig(**teaching))
    return Panel.from_config(config, store, SPEC, Path("clips"))


def given(store: LabelStore) -> dict[int, tuple[str, str, str]]:
    return {row.query_id: (row.labeler, row.kind, row.answer) for row in store.iter_answers()}


# Names


@pytest.mark.parametrize(
    ("names", "human", "synthetic"),
    [
        ("human", True, ()),
        ("oracle", False, ("oracle",)),
        ("human+oracle+mistake:0.2", True, ("oracle", "mistake:0.2")),
        ("oracle + human", True, ("oracle",)),
        ("mistake:0.1+mistake:0.3", False, ("mistake:0.1", "mistake:0.3")),
        ("human+pairplay.teachers.synthetic:random", True, ("pairplay.teachers.synthetic:random",)),
    ],
)
def test_names_joined_by_a_plus(names: str, human: bool, synthetic: tuple[str, ...]) -> None:
    assert parse_teachers(names) == (human, synthetic)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("human+orcale", "Did you mean 'oracle'"),
        ("humna", "unknown teacher 'humna'. Did you mean 'human'"),
        ("human+", "names nobody on one side"),
        ("", "names nobody"),
        ("oracle+oracle", "names oracle twice"),
        ("human+oracle+human", "names human twice"),
        ("human+mistake:2", "rate must be a number from 0 to 1"),
        ("human+no.such.module:judge", "no.such.module"),
    ],
)
def test_names_that_are_none(names: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_teachers(names)


def test_options_that_leave_the_person_nothing() -> None:
    mixed = TrainConfig(teacher="human+oracle", teaching=TeacherConfig(share=1.0))
    with pytest.raises(UserError, match="leave the person nothing"):
        check_teachers(mixed)
    check_teachers(replace(mixed, teacher="oracle"))
    check_teachers(replace(mixed, teaching=TeacherConfig(share=1.0, delay_steps=1)))
    check_teachers(TrainConfig(teacher="human+oracle"))
    with pytest.raises(UserError, match="absent_for"):
        check_teachers(TrainConfig(teaching=TeacherConfig(absent_for=3)))


# Who gets what


def test_the_share_is_kept_and_split_evenly() -> None:
    seats = Counter(seat_of(id, seed=1, seats=3, share=0.6) for id in range(3000))
    assert seats[None] / 3000 == pytest.approx(0.4, abs=0.04)
    assert all(seats[number] / 3000 == pytest.approx(0.2, abs=0.03) for number in range(3))
    assert all(seat_of(id, seed=1, seats=2, share=0.0) is None for id in range(100))
    assert all(seat_of(id, seed=1, seats=2, share=1.0) is not None for id in range(100))


def test_a_larger_share_moves_nothing_between_teachers() -> None:
    for id in range(300):
        small, large = (seat_of(id, seed=1, seats=3, share=share) for share in (0.3, 0.8))
        assert small is None or small == large
    assert [seat_of(id, seed=1, seats=3, share=0.5) for id in range(99)] != [
        seat_of(id, seed=2, seats=3, share=0.5) for id in range(99)
    ]


def test_alone_they_answer_everything_whatever_the_share(store: LabelStore) -> None:
    publish(store, 30)
    assert panel(store, "oracle+mistake:1", share=0.2).answer(0, USUAL) == 30
    answers = Counter(given(store).values())
    # The right side is the better one.
    assert answers.keys() == {("oracle", "synthetic", "right"), ("mistake:1", "synthetic", "left")}
    assert min(answers.values()) > 5


def test_a_person_alone_has_no_help(store: LabelStore) -> None:
    publish(store, 3)
    alone = panel(store, "human")
    assert (alone.human, alone.seats, alone.answer(0, USUAL)) == (True, (), 0)
    assert len(store.open_steps()) == 3


def test_the_context_reaches_the_teacher(store: LabelStore) -> None:
    (query_id,) = publish(store, 1, first=3)  # sums of 6 and 8, where 40 is usual, and then 4
    two = panel(store, "equal")
    two.answer(0, TeacherContext(1000.0, 50.0))
    assert given(store)[query_id][2] == "tie"
    (query_id,) = publish(store, 1, first=5)
    two.answer(0, USUAL)
    assert given(store)[query_id][2] == "right"


def test_slow_and_away(store: LabelStore) -> None:
    slow = panel(store, "oracle", delay_steps=100, absent_every=1000, absent_for=300)
    early = publish(store, 2, step=0)
    late = publish(store, 2, step=950, first=10)
    answered = []
    for step in (0, 99, 100, 1000, 1050, 1299, 1300, 1400):
        slow.answer(step, USUAL)
        answered.append(sorted(given(store)))
    everything = early + late
    assert answered == [[], [], early, early, early, early, everything, everything]


def test_delay_and_restart_change_no_answer(tmp_path: Path) -> None:
    runs = []
    for name, steps in (("at once", [500]), ("in pieces", [0, 100, 200, 300, 400, 500])):
        for step in steps:
            # Opened anew each time: nothing of the process lasts.
            with LabelStore.open(tmp_path / f"{name}.db") as store:
                if step == steps[0]:
                    for k in range(5):
                        publish(store, 6, step=100 * k, first=10 * k)
                panel(store, "human+noisy:0.5+random", share=0.7, delay_steps=100).answer(step, USUAL)
        with LabelStore.open(tmp_path / f"{name}.db") as store:
            runs.append(given(store))
    assert runs[0] == runs[1]
    assert {labeler for labeler, _, _ in runs[0].values()} == {"noisy:0.5", "random"}
    assert 10 < len(runs[0]) < 30


# Beside a person


class Watched(LabelStore):
    """A store that notes what a synthetic teacher ever leased."""

    leased: list[int]

    def lease(
        self, labeler_id: int, *, limit: int = 1, lease_s: float = 120.0, only: Collection[int] | None = None
    ) -> list[LeasedQuery]:
        held = super().lease(labeler_id, limit=limit, lease_s=lease_s, only=only)
        self.leased += [query.id for query in held]
        return held


def test_a_person_and_teachers_at_one_queue(tmp_path: Path) -> None:
    path = tmp_path / "labels.db"
    with Watched.open(path) as store, LabelStore.open(path) as theirs:
        assert isinstance(store, Watched)
        store.leased = []
        ann = theirs.labeler("oracle", "human")  # a person of that name is somebody else
        done = threading.Event()
        by_ann: list[int] = []

        def person() -> None:
            while True:
                finished = done.is_set()
                held = theirs.lease(ann, limit=2)
                for query in held:
                    theirs.answer(ann, query.id, "left", client_uuid=f"ann-{query.id}")
                    by_ann.append(query.id)
                if finished and not held:
                    return

        both = panel(store, "human+oracle+mistake:0", share=0.5)
        sitting = threading.Thread(target=person)
        sitting.start()
        try:
            asked = []
            for iteration in range(15):
                asked += publish(store, 4, step=iteration, first=10 * iteration)
                both.answer(iteration, USUAL)
        finally:
            done.set()
            sitting.join(60)
        rows = list(store.iter_answers())

    assert not sitting.is_alive()
    assert sorted(row.query_id for row in rows) == sorted(asked), "each query once"
    assert all(row.live for row in rows)
    seats = {id: seat_of(id, seed=1, seats=2, share=0.5) for id in asked}
    of_the_person = {id for id, seat in seats.items() if seat is None}
    assert not of_the_person & set(store.leased), "not even for a moment"
    assert of_the_person <= set(by_ann)
    for row in rows:
        if row.query_id in by_ann:
            assert (row.labeler, row.kind, row.answer) == ("oracle", "human", "left")
        else:
            name = ("oracle", "mistake:0")[seats[row.query_id] or 0]
            assert (row.labeler, row.kind, row.answer) == (name, "synthetic", "right")


def test_a_person_who_is_quicker_keeps_it(store: LabelStore) -> None:
    asked = publish(store, 10)
    both = panel(store, "human+oracle", share=1.0, delay_steps=100)
    assert both.answer(50, USUAL) == 0
    ann = store.labeler("Ann", "human")
    held, answered = store.lease(ann, limit=2)
    store.answer(ann, answered.id, "left", client_uuid="ann-1")
    assert both.answer(100, USUAL) == 8
    assert list(store.open_steps()) == [held.id]
    assert given(store)[answered.id] == ("Ann", "human", "left")
    store.release(ann, [held.id])
    assert both.answer(101, USUAL) == 1
    assert sorted(given(store)) == asked
