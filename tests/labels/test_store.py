"""The life of a query by hand; each promise of the store with an example that breaks it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from pairplay.labels import selects
from pairplay.labels import store as store_module
from pairplay.labels.database import Database
from pairplay.labels.store import Conflict, Counts, Given, LabelStore, Progress, Receipt
from pairplay.types import ANSWERS, Answer, Footage, Pair, Query, UserError

from .making import Clock, add, clip, make_footage, make_query


def test_life_of_a_query(store: LabelStore, clock: Clock) -> None:
    ann = store.labeler("Ann", "human")
    query_id = add(store, 7)
    assert store.counts() == Counts(asked=1, pending=1, leased=0, answered=0, skipped=0)

    (leased,) = store.lease(ann)
    assert leased.id == query_id
    assert leased.question == "Question 7?"
    assert (leased.left_id, leased.right_id) == (make_footage(14).segment.id, make_footage(15).segment.id)
    assert (leased.left_clip, leased.right_clip) == (clip(14), clip(15))
    assert leased.lease_expires_at == clock.time + timedelta(seconds=120)
    assert store.counts() == Counts(asked=1, pending=0, leased=1, answered=0, skipped=0)

    shown, answered = datetime(2026, 1, 1, 12, 0, 0, 250_000, tzinfo=UTC), datetime(2026, 1, 1, 12, 0, 3, tzinfo=UTC)
    receipt = store.answer(ann, query_id, "right", client_uuid="a", shown_at=shown, answered_at=answered)
    assert (receipt.query_id, receipt.answer, receipt.client_uuid, receipt.replay) == (query_id, "right", "a", False)
    assert receipt.recorded_at == clock.time
    assert store.counts() == Counts(asked=1, pending=0, leased=0, answered=1, skipped=0)
    assert store.counts().total == 1
    assert store.lease(ann) == []

    (preference,) = store.preferences()
    assert (preference.query_id, preference.answer, preference.mu) == (query_id, "right", 0.0)
    assert (preference.left_id, preference.right_id) == (leased.left_id, leased.right_id)
    assert (preference.labeler, preference.answered_at) == ("Ann", answered)

    (row,) = store.iter_answers()
    assert (row.labeler_id, row.labeler, row.kind, row.live, row.supersedes) == (ann, "Ann", "human", True, None)
    assert (row.shown_at, row.answered_at, row.recorded_at) == (shown, answered, clock.time)
    assert row.left_shown == row.left_id == leased.left_id
    assert (row.left_clip, row.strategy, row.score, row.question, row.step) == (
        clip(14),
        "uniform",
        0,
        "Question 7?",
        7,
    )


@pytest.mark.parametrize(("answer", "mu"), [("left", 1.0), ("right", 0.0), ("tie", 0.5), ("skip", None)])
def test_each_answer_has_its_weight(store: LabelStore, answer: Answer, mu: float | None) -> None:
    ann, query_id = store.labeler("Ann", "human"), add(store, 0)
    store.answer(ann, query_id, answer, client_uuid="a")
    (preference,) = store.preferences()
    assert (preference.answer, preference.mu) == (answer, mu)
    assert store.counts().skipped == (answer == "skip")


# -- the trainer's side ----------------------------------------------------------------------------------------------


def test_segments_come_back_whole(store: LabelStore) -> None:
    add(store, 3)
    wanted = make_footage(7)
    segment = store.segment(wanted.segment.id)
    np.testing.assert_array_equal(segment.frames, wanted.segment.frames)
    np.testing.assert_array_equal(segment.action, wanted.segment.action)
    assert (segment.id, segment.step, segment.iteration) == (wanted.segment.id, 7, 1)
    (rewards,) = store.audit_rewards([wanted.segment.id])
    assert rewards.dtype == np.float32
    assert rewards.tolist() == [7.0, 8.0, 9.0]


def test_absent_segment_is_named(store: LabelStore) -> None:
    with pytest.raises(UserError, match=r"no segment abc"):
        store.segment("abc")
    with pytest.raises(UserError, match=r"no segment abc"):
        store.audit_rewards(["abc"])


def test_damaged_segment_is_named(store: LabelStore, path: Path) -> None:
    add(store, 0)
    id = make_footage(0).segment.id
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE segments SET data = substr(data, 1, 20) WHERE id = ?", (id,))
    connection.close()
    with pytest.raises(UserError, match=f"segment {id} is damaged"):
        store.segment(id)


def test_queries_share_segments_and_keep_their_first_clip(store: LabelStore) -> None:
    ann = store.labeler("Ann", "human")
    shared = make_footage(0)
    for number, name in ((1, "a"), (2, "b")):
        query = Query(shared, make_footage(number), "uniform", 0.0, "?")
        store.add_query(query, left_clip=name * 64, right_clip=clip(number), step=0)
    assert [query.left_clip for query in store.lease(ann, limit=2)] == ["a" * 64, "a" * 64]


def test_a_pair_asked_again_keeps_its_id_and_answer(store: LabelStore) -> None:
    ann, first = store.labeler("Ann", "human"), add(store, 0)
    store.answer(ann, first, "left", client_uuid="a")
    assert add(store, 0) == first
    assert store.counts() == Counts(asked=1, pending=0, leased=0, answered=1, skipped=0)
    left, right = make_footage(0).segment.id, make_footage(1).segment.id
    assert store.asked_pairs() == [Pair(1, left, right)]
    assert store.asked_pairs(after=1) == []


def test_a_query_is_published_whole_or_not_at_all(store: LabelStore) -> None:
    with_itself = Query(make_footage(0), make_footage(0), "uniform", 0.0, "?")
    with pytest.raises(sa.exc.IntegrityError):
        store.add_query(with_itself, left_clip=clip(0), right_clip=clip(0), step=0)
    assert store.counts().asked == 0
    with pytest.raises(UserError):
        store.segment(make_footage(0).segment.id)


def test_nonsense_from_the_trainer_is_refused(store: LabelStore) -> None:
    query = make_query(0)
    with pytest.raises(ValueError, match="finite"):
        store.add_query(
            Query(query.left, query.right, "uniform", float("nan"), "?"), left_clip="a", right_clip="b", step=0
        )
    short = Footage(query.left.segment, query.left.captures, query.left.env_reward[:1])
    with pytest.raises(ValueError, match="3 steps"):
        store.add_query(Query(short, query.right, "uniform", 0.0, "?"), left_clip="a", right_clip="b", step=0)


def test_preferences_are_sorted_by_query(store: LabelStore) -> None:
    ann = store.labeler("Ann", "human")
    ids = [add(store, number) for number in range(4)]
    for query_id in (ids[2], ids[0], ids[3]):
        store.answer(ann, query_id, "left", client_uuid=str(query_id))
    assert [preference.query_id for preference in store.preferences()] == [ids[0], ids[2], ids[3]]


def test_what_waited_too_long_is_withdrawn(store: LabelStore, clock: Clock) -> None:
    ann, bob = store.labeler("Ann", "human"), store.labeler("Bob", "human")
    ids = [add(store, step) for step in range(6)]
    store.answer(ann, ids[0], "left", client_uuid="a")
    store.answer(ann, ids[1], "skip", client_uuid="b")
    (held,) = store.lease(ann)
    assert held.id == ids[5]
    store.release(ann, [ids[5]])
    assert [query.id for query in store.lease(bob, limit=3)] == [ids[5], ids[4], ids[3]]
    store.release(bob, [ids[5], ids[4]])
    # Not those answered, the one Bob holds, or the newer one.
    assert store.expire(before_step=5) == 2
    assert store.expire(before_step=5) == 0
    assert store.counts() == Counts(asked=6, pending=1, leased=1, answered=2, skipped=1, expired=2)
    assert store.counts().open == 2
    assert [query.id for query in store.lease(ann, limit=9)] == [ids[5]]
    assert len(store.asked_pairs()) == 6, "what was asked once is not asked again"
    assert add(store, 4) == ids[4]
    assert store.counts().expired == 2
    # Bob's lease runs out, and then his query goes too.
    clock.move(121)
    assert store.expire(before_step=5) == 1
    assert store.lease(bob, limit=9) != []
    assert store.renew(bob, [ids[3]]) == []


def test_a_late_answer_to_an_expired_query_counts(store: LabelStore, clock: Clock) -> None:
    ann, bob = store.labeler("Ann", "human"), store.labeler("Bob", "human")
    query_id = add(store, 0)
    store.lease(ann)
    assert store.expire(before_step=10) == 0, "a person is looking at it"
    clock.move(121)
    assert store.expire(before_step=10) == 1
    store.answer(ann, query_id, "left", client_uuid="a")
    assert store.counts() == Counts(asked=1, pending=0, leased=0, answered=1, skipped=0, expired=0)
    assert [preference.mu for preference in store.preferences()] == [1.0]
    with pytest.raises(Conflict) as refused:
        store.answer(bob, query_id, "right", client_uuid="b")
    assert refused.value.code == "already_answered"
    # Taken back, it is with Ann; when she leaves it, it may expire again.
    assert store.undo(ann, client_uuid="a").query is not None
    assert store.expire(before_step=10) == 0
    clock.move(121)
    assert store.expire(before_step=10) == 1
    assert store.preferences() == []


def test_progress_is_overwritten(store: LabelStore, clock: Clock) -> None:
    assert store.progress() is None
    store.post_progress(Progress("explore", 10, 1000, 20, fps=float("nan"), true_return=float("-inf")))
    assert store.progress() == Progress("explore", 10, 1000, 20, updated_at=clock.time)
    clock.move(5)
    later = Progress("train", 20, 1000, 20, fps=400.5, true_return=1.0, predicted_return=-2.0, next_due_at_step=30)
    later = replace(later, notice="You can stop now.")
    store.post_progress(later)
    found = store.progress()
    assert found is not None
    assert found.updated_at == clock.time
    assert (found.phase, found.fps, found.true_return, found.next_due_at_step) == ("train", 400.5, 1.0, 30)
    assert found.notice == "You can stop now."


def test_progress_of_a_newer_trainer_is_understood(store: LabelStore, path: Path) -> None:
    store.post_progress(Progress("train", 1, 2, 3))
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE progress SET data = json_set(data, '$.mood', 'hopeful')")
    connection.close()
    found = store.progress()
    assert found is not None
    assert found.step == 1


def test_progress_of_an_older_trainer_is_understood(store: LabelStore, path: Path) -> None:
    store.post_progress(Progress("train", 1, 2, 3, notice="Paused."))
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE progress SET data = json_remove(data, '$.notice')")
    connection.close()
    found = store.progress()
    assert found is not None
    assert (found.step, found.notice) == (1, None)


# -- the labeler's side ----------------------------------------------------------------------------------------------


def test_a_labeler_is_a_name_and_a_kind(store: LabelStore) -> None:
    ann = store.labeler("Ann", "human")
    assert store.labeler("Ann", "human") == ann
    assert len({ann, store.labeler("Ann", "synthetic"), store.labeler("Bob", "human")}) == 3
    with pytest.raises(ValueError, match="human or synthetic"):
        store.labeler("Ann", "robot")


def test_leases_are_newest_first_and_nobody_elses(store: LabelStore) -> None:
    ann, bob = store.labeler("Ann", "human"), store.labeler("Bob", "human")
    first, second, third = (add(store, number) for number in range(3))
    assert [query.id for query in store.lease(ann, limit=2)] == [third, second]
    assert [query.id for query in store.lease(bob, limit=2)] == [first]
    assert store.counts() == Counts(asked=3, pending=0, leased=3, answered=0, skipped=0)


def test_leasing_again_renews_what_one_holds(store: LabelStore, clock: Clock) -> None:
    ann = store.labeler("Ann", "human")
    old = add(store, 0)
    store.lease(ann)
    clock.move(100)
    new = add(store, 1)
    held, taken = store.lease(ann, limit=2)
    assert (held.id, taken.id) == (old, new)
    assert held.lease_expires_at == taken.lease_expires_at == clock.time + timedelta(seconds=120)
    assert [query.id for query in store.lease(ann, limit=2)] == [old, new]
    assert [query.id for query in store.lease(ann)] == [old]


def test_an_expired_lease_goes_to_the_next(store: LabelStore, clock: Clock) -> None:
    ann, bob = store.labeler("Ann", "human"), store.labeler("Bob", "human")
    query_id = add(store, 0)
    store.lease(ann, lease_s=120)
    clock.move(119.999)
    assert store.lease(bob) == []
    clock.move(0.001)
    assert store.counts() == Counts(asked=1, pending=1, leased=0, answered=0, skipped=0)
    assert [query.id for query in store.lease(bob)] == [query_id]
    with pytest.raises(Conflict, match="another labeler") as refused:
        store.answer(ann, query_id, "left", client_uuid="a")
    assert refused.value.code == "leased_by_other"
    assert store.renew(ann, [query_id]) == []


def test_leases_run_on_the_databases_clock(path: Path) -> None:
    with LabelStore.open(path) as store:
        ann, bob = store.labeler("Ann", "human"), store.labeler("Bob", "human")
        add(store, 0)
        (leased,) = store.lease(ann, lease_s=60)
        assert abs(leased.lease_expires_at - timedelta(seconds=60) - datetime.now(UTC)) < timedelta(seconds=5)
        assert abs(store.now() - datetime.now(UTC)) < timedelta(seconds=5)
        assert store.lease(bob) == []
        store.renew(ann, [leased.id], lease_s=0)
        assert [query.id for query in store.lease(bob)] == [leased.id]


def test_renew_and_release(store: LabelStore, clock: Clock) -> None:
    ann, bob = store.labeler("Ann", "human"), store.labeler("Bob", "human")
    first, second, third = (add(store, number) for number in range(3))
    store.lease(ann, limit=2)
    clock.move(100)
    assert store.renew(ann, [third, second, first, 99], 120) == [second, third]
    clock.move(100)
    store.release(bob, [third])
    assert [query.id for query in store.lease(bob, limit=3)] == [first]
    store.release(ann, [third])
    assert store.counts() == Counts(asked=3, pending=1, leased=2, answered=0, skipped=0)
    assert {query.id for query in store.lease(bob, limit=3)} == {first, third}


def test_a_late_answer_counts_while_nobody_else_has_the_query(store: LabelStore, clock: Clock) -> None:
    ann = store.labeler("Ann", "human")
    query_id = add(store, 0)
    store.lease(ann)
    clock.move(3600)
    assert not store.answer(ann, query_id, "tie", client_uuid="a").replay
    assert store.counts().answered == 1


def test_the_same_answer_twice_is_one_row(store: LabelStore, clock: Clock) -> None:
    ann, bob = store.labeler("Ann", "human"), store.labeler("Bob", "human")
    query_id, other = add(store, 0), add(store, 1)
    first = store.answer(ann, query_id, "left", client_uuid="a")
    clock.move(10)
    again = store.answer(ann, query_id, "left", client_uuid="a")
    assert again.replay
    assert (again.id, again.recorded_at) == (first.id, first.recorded_at)
    for labeler_id, to, answer in ((ann, query_id, "right"), (ann, other, "left"), (bob, query_id, "left")):
        with pytest.raises(Conflict) as refused:
            store.answer(labeler_id, to, answer, client_uuid="a")  # type: ignore[arg-type]
        assert refused.value.code == "uuid_reused"
    assert len(list(store.iter_answers())) == 1


def test_answers_that_are_refused(store: LabelStore) -> None:
    ann, bob = store.labeler("Ann", "human"), store.labeler("Bob", "human")
    query_id = add(store, 0)
    store.answer(ann, query_id, "left", client_uuid="a")
    for labeler_id in (ann, bob):
        with pytest.raises(Conflict) as refused:
            store.answer(labeler_id, query_id, "right", client_uuid="b")
        assert refused.value.code == "already_answered"
    with pytest.raises(Conflict) as refused:
        store.answer(ann, 99, "left", client_uuid="c")
    assert refused.value.code == "unknown_query"
    with pytest.raises(ValueError, match="left, right, tie, skip"):
        store.answer(ann, query_id, "withdrawn", client_uuid="d")  # type: ignore[arg-type]
    with pytest.raises(sa.exc.StatementError, match="time zone"):
        store.answer(ann, add(store, 1), "left", client_uuid="e", shown_at=datetime(2026, 1, 1))
    assert [row.client_uuid for row in store.iter_answers()] == ["a"]


def test_answers_together_are_as_one_by_one(store: LabelStore) -> None:
    ann, bob = store.labeler("Ann", "human"), store.labeler("Bob", "human")
    ids = [add(store, i) for i in range(4)]
    store.lease(bob, only=[ids[1]])
    given = [Given(ids[0], "left", "a"), Given(ids[1], "left", "b"), Given(ids[2], "skip", "c"), Given(99, "left", "d")]
    given += [Given(ids[0], "left", "a"), Given(ids[3], "tie", "e")]
    first, held, skipped, unknown, again, last = store.answer_all(ann, given)
    assert isinstance(first, Receipt)
    assert isinstance(held, Conflict)
    assert isinstance(unknown, Conflict)
    assert (held.code, unknown.code) == ("leased_by_other", "unknown_query")
    assert again == replace(first, replay=True)
    assert isinstance(skipped, Receipt)
    assert isinstance(last, Receipt)
    assert [(p.query_id, p.answer) for p in store.preferences()] == [
        (ids[0], "left"),
        (ids[2], "skip"),
        (ids[3], "tie"),
    ]
    assert store.answer_all(ann, []) == []


def test_a_persons_answers_wait_for_the_disk_and_what_nobody_would_miss_does_not(
    store: LabelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited, write = list[bool](), Database.write

    def noted(self: Database, *, durable: bool = True) -> Any:
        waited.append(durable)
        return write(self, durable=durable)

    def of(act: Callable[[], object]) -> list[bool]:
        waited.clear()
        act()
        return waited.copy()

    ann = store.labeler("Ann", "human")
    monkeypatch.setattr(Database, "write", noted)
    assert of(lambda: [add(store, i) for i in range(3)]) == [True] * 3
    assert of(lambda: store.answer(ann, 1, "left", client_uuid="a")) == [True]
    assert of(lambda: store.undo(ann, client_uuid="a")) == [True]
    assert of(lambda: store.answer_all(ann, [Given(2, "left", "b")])) == [True]
    assert of(lambda: store.answer_all(ann, [Given(3, "left", "c")], durable=False)) == [False]
    assert of(lambda: store.lease(ann)) == [False]
    assert of(lambda: store.renew(ann, [1])) == [False]
    assert of(lambda: store.release(ann, [1])) == [False]
    assert of(lambda: store.post_progress(Progress("learning", 1, 2, 3))) == [False]


def test_a_bad_answer_among_many_records_none(store: LabelStore) -> None:
    ann = store.labeler("Ann", "human")
    given = [Given(add(store, 0), "left", "a"), Given(add(store, 1), "withdrawn", "b")]  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="an answer is one of"):
        store.answer_all(ann, given)
    assert store.counts().answered == 0


def test_segments_come_in_the_order_asked_for_however_many(store: LabelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "SEGMENTS_AT_ONCE", 2)
    for i in range(3):
        add(store, i)
    wanted = [make_footage(i).segment.id for i in (3, 0, 1, 3, 2)]
    assert [segment.id for segment in store.segments(wanted)] == wanted
    assert [len(reward) for reward in store.audit_rewards(wanted)] == [len(s) for s in store.segments(wanted)]
    with pytest.raises(UserError, match="no segment abc"):
        list(store.segments([*wanted, "abc"]))


def test_times_keep_their_instant_whatever_their_zone(store: LabelStore) -> None:
    ann, query_id = store.labeler("Ann", "human"), add(store, 0)
    tokyo = datetime(2026, 1, 1, 9, 0, 0, 123_456, tzinfo=timezone(timedelta(hours=9)))
    store.answer(ann, query_id, "left", client_uuid="a", answered_at=tokyo)
    assert store.preferences()[0].answered_at.isoformat() == "2026-01-01T00:00:00.123456+00:00"


def test_undo_and_redo(store: LabelStore, clock: Clock) -> None:
    ann, bob = store.labeler("Ann", "human"), store.labeler("Bob", "human")
    query_id = add(store, 0)
    first = store.answer(ann, query_id, "left", client_uuid="a")

    undone = store.undo(ann, client_uuid="a")
    assert (undone.query_id, undone.answer, undone.replay) == (query_id, "withdrawn", False)
    assert undone.query is not None
    assert (undone.query.id, undone.query.lease_expires_at) == (query_id, clock.time + timedelta(seconds=120))
    assert store.preferences() == []
    assert store.counts() == Counts(asked=1, pending=0, leased=1, answered=0, skipped=0)
    assert store.lease(bob) == []

    again = store.undo(ann, client_uuid="a")
    assert again.replay
    assert (again.id, again.query) == (undone.id, undone.query)
    # A resend of the first answer that was long on its way does not bring it back.
    assert store.answer(ann, query_id, "left", client_uuid="a").replay
    assert store.preferences() == []

    redone = store.answer(ann, query_id, "skip", client_uuid="b")
    assert [(row.id, row.answer, row.supersedes, row.live) for row in store.iter_answers()] == [
        (first.id, "left", None, False),
        (undone.id, "withdrawn", first.id, False),
        (redone.id, "skip", undone.id, True),
    ]
    assert store.undo(ann, client_uuid="a").query is None
    store.undo(ann, client_uuid="b")
    store.answer(ann, query_id, "right", client_uuid="c")
    assert [preference.answer for preference in store.preferences()] == ["right"]


def test_an_undone_query_may_go_to_somebody_else(store: LabelStore, clock: Clock) -> None:
    ann, bob = store.labeler("Ann", "human"), store.labeler("Bob", "human")
    query_id = add(store, 0)
    store.answer(ann, query_id, "left", client_uuid="a")
    store.undo(ann, client_uuid="a")
    clock.move(121)
    assert [query.id for query in store.lease(bob)] == [query_id]
    store.answer(bob, query_id, "right", client_uuid="b")
    assert [(preference.labeler, preference.mu) for preference in store.preferences()] == [("Bob", 0.0)]


def test_undos_that_are_refused(store: LabelStore) -> None:
    ann, bob = store.labeler("Ann", "human"), store.labeler("Bob", "human")
    query_id = add(store, 0)
    store.answer(ann, query_id, "left", client_uuid="a")
    for labeler_id, uuid in ((bob, "a"), (ann, "never")):
        with pytest.raises(Conflict) as refused:
            store.undo(labeler_id, client_uuid=uuid)
        assert refused.value.code == "unknown_answer"
    undone = store.undo(ann, client_uuid="a")
    with pytest.raises(Conflict) as refused:
        store.undo(ann, client_uuid=undone.client_uuid)
    assert refused.value.code == "not_undoable"
    assert len(list(store.iter_answers())) == 2


def test_recent_shows_only_what_counts_and_is_ones_own(store: LabelStore) -> None:
    ann, bob = store.labeler("Ann", "human"), store.labeler("Bob", "human")
    ids = [add(store, number) for number in range(4)]
    for query_id, answer in zip(ids, ANSWERS, strict=True):
        store.answer(bob if query_id == ids[1] else ann, query_id, answer, client_uuid=str(query_id))
    store.undo(ann, client_uuid=str(ids[2]))
    assert [(row.query_id, row.answer) for row in store.recent(ann)] == [(ids[3], "skip"), (ids[0], "left")]
    assert [row.query_id for row in store.recent(ann, limit=1)] == [ids[3]]
    (row,) = store.recent(bob)
    assert (row.client_uuid, row.question, row.left_clip, row.right_clip) == (
        str(ids[1]),
        "Question 1?",
        clip(2),
        clip(3),
    )
    assert (store.answered_by(ann), store.answered_by(bob)) == (2, 1)


# -- for watching ----------------------------------------------------------------------------------------------------


def test_the_change_token_moves_with_every_commit_and_only_then(store: LabelStore, path: Path) -> None:
    ann = store.labeler("Ann", "human")
    add(store, 0)
    token = store.change_token()
    store.counts()
    store.preferences()
    assert store.change_token() == token
    with LabelStore.open(path) as other:
        assert store.change_token() == token
        for act in (
            lambda: store.lease(ann),
            lambda: other.answer(ann, 1, "left", client_uuid="a"),
            lambda: other.undo(ann, client_uuid="a"),
            lambda: store.post_progress(Progress("train", 1, 2, 3)),
        ):
            before = store.change_token()
            act()
            assert store.change_token() != before


@pytest.mark.parametrize("name", ["LAST_ANSWER", "ANSWER", "SUCCESSOR", "QUERY", "ASKED_AS"])
def test_what_every_answer_asks_for_is_found_without_a_walk_over_all(store: LabelStore, name: str) -> None:
    statement: sa.Select[Any] = getattr(selects, name)
    with store._db.read() as connection:
        plan = f"EXPLAIN QUERY PLAN {statement.compile(dialect=connection.dialect)}"
        steps = [row[-1] for row in connection.exec_driver_sql(plan, (1,) * plan.count("?"))]
    assert steps
    assert not [step for step in steps if step.startswith("SCAN")]
