"""Several threads and processes at one store, and processes that are killed in the middle."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from pairplay.labels.store import Conflict, LabelStore, Receipt

from .making import add

CHILD = Path(__file__).with_name("answering_child.py")


@contextmanager
def child(path: Path, name: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, str(CHILD), str(path), name], stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def at_once(*actions: Callable[[], object]) -> list[object]:
    """What each action returned or raised, all started at the same moment."""
    barrier = threading.Barrier(len(actions))

    def run(action: Callable[[], object]) -> object:
        barrier.wait(10)
        try:
            return action()
        except Conflict as conflict:
            return conflict

    with ThreadPoolExecutor(len(actions)) as pool:
        return list(pool.map(run, actions))


def test_two_threads_never_get_the_same_pair(path: Path, store: LabelStore) -> None:
    ids = {add(store, number) for number in range(200)}

    def label(name: str) -> list[int]:
        labeler_id, seen = store.labeler(name, "synthetic"), []
        while leased := store.lease(labeler_id, limit=3):
            seen += [query.id for query in leased]
            for query in leased:
                store.answer(labeler_id, query.id, "left", client_uuid=str(query.id))
        return seen

    with ThreadPoolExecutor(2) as pool:
        ann, bob = pool.map(label, ("Ann", "Bob"))
    assert len(ann) + len(bob) == 200
    assert {*ann, *bob} == ids
    assert len(store.preferences()) == 200


def test_two_processes_never_get_the_same_pair(path: Path, store: LabelStore) -> None:
    ids = {add(store, number) for number in range(60)}
    with child(path, "Ann") as ann, child(path, "Bob") as bob:
        lines = [process.communicate(timeout=200)[0].splitlines() for process in (ann, bob)]
        assert (ann.returncode, bob.returncode) == (0, 0)
    answered = [int(line.split()[0]) for line in lines[0] + lines[1]]
    assert sorted(answered) == sorted(ids)
    assert store.counts().answered == 60


@pytest.mark.parametrize("after", [1, 7, 30, 60])
def test_no_acknowledged_answer_dies_with_its_process(path: Path, store: LabelStore, after: int) -> None:
    for number in range(80):
        add(store, number)
    with child(path, "Ann") as process:
        assert process.stdout is not None
        acknowledged = [process.stdout.readline() for _ in range(after)]
        process.kill()
        acknowledged += process.stdout.readlines()
        process.wait(10)
    # A line may be cut short by the kill; its answer was recorded all the same.
    uuids = {line.split()[1] for line in acknowledged if line.endswith("\n")}
    with LabelStore.open(path) as reopened:
        rows = [row.client_uuid for row in reopened.iter_answers()]
        assert len(rows) == len(set(rows))
        assert uuids <= set(rows)
        # At most the one answer that was on its way when the process died.
        assert len(rows) - len(uuids) <= 1
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    connection.close()


def test_one_answer_sent_three_times_at_once_is_one_row(store: LabelStore) -> None:
    ann = store.labeler("Ann", "human")
    for number in range(10):
        send = partial(store.answer, ann, add(store, number), "left", client_uuid=f"a{number}")
        receipts = at_once(send, send, send)
        assert all(isinstance(receipt, Receipt) for receipt in receipts)
        assert sorted(receipt.replay for receipt in receipts if isinstance(receipt, Receipt)) == [False, True, True]
    assert len(list(store.iter_answers())) == 10


def test_one_query_answered_by_two_at_once_has_one_answer(store: LabelStore) -> None:
    ann, bob = store.labeler("Ann", "human"), store.labeler("Bob", "human")
    for number in range(10):
        query_id = add(store, number)
        outcomes = at_once(
            partial(store.answer, ann, query_id, "left", client_uuid=f"a{number}"),
            partial(store.answer, bob, query_id, "right", client_uuid=f"b{number}"),
        )
        assert {type(outcome) for outcome in outcomes} == {Receipt, Conflict}
    assert len(store.preferences()) == 10


def test_undone_twice_at_once_is_undone_once(store: LabelStore) -> None:
    ann, query_id = store.labeler("Ann", "human"), add(store, 0)
    store.answer(ann, query_id, "left", client_uuid="a")
    one, two = at_once(*[partial(store.undo, ann, client_uuid="a")] * 2)
    assert isinstance(one, Receipt)
    assert isinstance(two, Receipt)
    assert one.id == two.id
    assert {one.replay, two.replay} == {False, True}


def test_a_new_store_opened_by_many_at_once_is_made_once(path: Path) -> None:
    def open_and_name(name: str) -> int:
        with LabelStore.open(path) as store:
            return store.labeler(name, "human")

    assert sorted(map(str, at_once(*[partial(open_and_name, name) for name in "abcd"]))) == ["1", "2", "3", "4"]


def test_many_threads_share_a_store(store: LabelStore) -> None:
    """As many as a web server has, while the trainer publishes."""
    ann = store.labeler("Ann", "human")
    actions: list[Callable[[], object]] = [partial(add, store, number) for number in range(10)]
    actions += [store.counts, store.preferences, store.change_token, partial(store.lease, ann, limit=0)] * 8
    at_once(*actions)
    assert store.counts().asked == 10
