"""A labeler may be handed some queries only, and know of the others without touching them."""

from __future__ import annotations

from pairplay.labels.store import LabelStore

from .making import Clock, add


def test_open_steps_until_answered(store: LabelStore) -> None:
    first, second = add(store, 7), add(store, 9)
    ann = store.labeler("Ann", "human")
    store.lease(ann)
    assert store.open_steps() == {first: 7, second: 9}
    store.answer(ann, second, "skip", client_uuid="a")
    assert store.open_steps() == {first: 7}


def test_only_those_are_leased(store: LabelStore, clock: Clock) -> None:
    first, second, third = (add(store, number) for number in range(3))
    robot, ann = store.labeler("oracle", "synthetic"), store.labeler("Ann", "human")
    assert store.lease(robot, limit=3, only=[]) == []
    assert [query.id for query in store.lease(robot, limit=3, only=[first])] == [first]
    # What it holds already is not among those it asks for now.
    assert [query.id for query in store.lease(robot, limit=3, only=[second])] == [second]
    assert [query.id for query in store.lease(ann, limit=3)] == [third]
    assert store.lease(robot, limit=3, only=[third, 99]) == []
    clock.move(121)
    assert [query.id for query in store.lease(robot, limit=3, only=[third])] == [third]
