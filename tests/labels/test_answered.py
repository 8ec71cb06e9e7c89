"""The answers that count, read piece by piece; how they follow each change is an invariant of the store's machine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pairplay.labels.answered import Answered
from pairplay.labels.records import AnswerRow
from pairplay.labels.store import LabelStore

from .making import add


def answer(store: LabelStore, labeler: int, query_id: int, what: str) -> None:
    store.lease(labeler, only=[query_id])
    store.answer(labeler, query_id, what, client_uuid=f"{query_id}")  # type: ignore[arg-type]


def test_only_what_is_new_is_read(store: LabelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    ann, answered = store.labeler("Ann", "human"), Answered(store)
    read, after = [], store.answers_after

    def spy(answer_id: int) -> tuple[list[AnswerRow], int]:
        rows, total = after(answer_id)
        read.append(len(rows))
        return rows, total

    monkeypatch.setattr(store, "answers_after", spy)
    queries = [add(store, number) for number in range(3)]
    for query_id in queries:
        answer(store, ann, query_id, "left")
        answered.update()
    answered.update()
    assert read == [1, 1, 1, 0]
    assert [row.query_id for row in answered.rows()] == queries


def test_what_came_behind_all_others_is_told_from_any_other_change(store: LabelStore) -> None:
    ann, answered = store.labeler("Ann", "human"), Answered(store)
    first, second, third = (add(store, number) for number in range(3))
    answer(store, ann, second, "left")
    assert answered.update() == answered.rows() == [answered.row(second)]
    assert answered.update() == []
    answer(store, ann, third, "tie")
    assert answered.update() == [answered.row(third)]
    answer(store, ann, first, "left")
    assert answered.update() is None, "it stands before the others"
    store.undo(ann, client_uuid=f"{third}")
    assert answered.update() is None
    assert answered.row(third) is None
    assert [row.query_id for row in answered.rows()] == [first, second]


def test_a_row_that_shows_late_is_not_lost(store: LabelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    # PostgreSQL gives an id when a row is written, and shows the row when its transaction ends.
    ann, answered = store.labeler("Ann", "human"), Answered(store)
    first, second, third = (add(store, number) for number in range(3))
    for query_id in (first, second, third):
        answer(store, ann, query_id, "right")
    rows = list(store.iter_answers())
    shown = [rows[1]]
    monkeypatch.setattr(
        store, "answers_after", lambda answer_id: ([row for row in shown if row.id > answer_id], len(shown))
    )
    answered.update()
    assert [row.query_id for row in answered.rows()] == [second]
    shown[:] = rows
    answered.update()
    assert [row.query_id for row in answered.rows()] == [first, second, third]
    shown[:] = [*rows, replace(rows[0], id=9, answer="withdrawn", mu=None)]
    answered.update()
    assert [row.query_id for row in answered.rows()] == [second, third]
