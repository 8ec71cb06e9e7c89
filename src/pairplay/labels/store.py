"""The label store: the only contract between the trainer, which asks, and the labelers, who answer.

Either side may be killed at any moment. What a method returned is on the disk; but what nobody would miss (a lease, the
progress, answers given without `durable`) outlives the process only, and a power cut may take it. What a method did not
return is not there in part. An object may be shared between threads, and a database between processes.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import numpy as np
import sqlalchemy as sa

from pairplay.labels import selects
from pairplay.labels.database import Database
from pairplay.labels.recording import append, receipt, record
from pairplay.labels.records import (
    LABELER_KINDS,
    AnswerRow,
    Conflict,
    ConflictCode,
    Counts,
    Given,
    LabelerKind,
    LeasedQuery,
    Progress,
    Receipt,
    RecentAnswer,
)
from pairplay.labels.schema import labelers, progress, queries, segments
from pairplay.packing import pack_segment, unpack_segment
from pairplay.types import Answer, FloatArray, Footage, Pair, Preference, Query, Segment, UserError

__all__ = [
    "AnswerRow",
    "Conflict",
    "ConflictCode",
    "Counts",
    "Given",
    "LabelStore",
    "LabelerKind",
    "LeasedQuery",
    "Progress",
    "Receipt",
    "RecentAnswer",
]

LEASE_S = 120.0
"""How long a labeler holds a query without a word."""
SEGMENTS_AT_ONCE = 64
"""Segments read by one statement."""


class LabelStore:
    """Queries, leases and answers of one run (or, on a server, of a team)."""

    def __init__(self, database: Database, clock: Callable[[], datetime] | None = None) -> None:
        self._db = database
        self._clock = clock

    @classmethod
    def open(cls, url_or_path: str | Path, *, clock: Callable[[], datetime] | None = None) -> LabelStore:
        """Open the store at a path (SQLite) or a SQLAlchemy URL; create or migrate it if need be.

        `clock` stands in for the database's own, for tests. UserError when there is something else at that place,
        when it is from a newer Pairplay, or when the disk cannot keep labels safely.
        """
        return cls(Database(url_or_path), clock)

    def close(self) -> None:
        """Give the database back. The store is not to be used any more."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # -- the trainer's side --------------------------------------------------------------------------------------

    def add_query(self, query: Query, *, left_clip: str, right_clip: str, step: int) -> int:
        """Publish a query and, unless they are known, its segments, all in one transaction. Its id.

        `left_clip` and `right_clip` are the sha256 of clip files that are already in place, or `NO_CLIP`. A pair that
        was asked before keeps its old id and its answer, so a resumed run may ask again what it asked before it
        stopped.
        """
        if not math.isfinite(query.score):
            raise ValueError(f"the score of a query must be finite, not {query.score}")
        # Packed before the transaction: the writer's place is not to be held while we compress.
        rows = [_segment_row(query.left, left_clip), _segment_row(query.right, right_clip)]
        left_id, right_id = query.left.segment.id, query.right.segment.id
        with self._db.write() as connection:
            now = self._now(connection)
            self._db.insert_new(connection, segments, *(row | {"created_at": now} for row in rows))
            asked = {
                "left_segment": left_id,
                "right_segment": right_id,
                "strategy": query.strategy,
                "score": query.score,
                "question": query.question,
                "step": step,
                "created_at": now,
                "status": "open",
            }
            self._db.insert_new(connection, queries, asked)
            return int(connection.execute(selects.ASKED_AS, {"left_id": left_id, "right_id": right_id}).scalar_one())

    def segments(self, segment_ids: Sequence[str]) -> Iterator[Segment]:
        """The segments of these names, in this order. UserError at one that is absent or damaged."""
        for segment_id, data in self._segment_column(segment_ids, segments.c.data):
            yield unpack_segment(data, segment_id)

    def segment(self, segment_id: str) -> Segment:
        """The segment of that name. UserError when it is absent or damaged."""
        return next(self.segments([segment_id]))

    def audit_rewards(self, segment_ids: Sequence[str]) -> list[FloatArray]:
        """`[L]` each: the environment's own reward, less the end penalty. For synthetic teachers and reports only."""
        column = self._segment_column(segment_ids, segments.c.audit_reward)
        return [np.frombuffer(data, "<f4").astype(np.float32) for _, data in column]

    def asked_pairs(self, after: int = 0) -> list[Pair]:
        """Every pair asked so far, whether answered or not, by query id; only those of queries after that id."""
        with self._db.read() as connection:
            return [Pair(*row) for row in connection.execute(selects.ASKED, {"after": after})]

    def preferences(self) -> list[Preference]:
        """All answers that count (neither superseded nor withdrawn), skips included, by query id."""
        with self._db.read() as connection:
            return [Preference(*row) for row in connection.execute(selects.PREFERENCES)]

    def counts(self) -> Counts:
        """How many queries there are in each state now."""
        with self._db.read() as connection:
            row = connection.execute(selects.COUNTS, {"now": self._now(connection)}).one()
        answered = row.asked - row.open - row.expired
        return Counts(row.asked, row.open - row.leased, row.leased, answered, row.skipped, row.expired)

    def expire(self, before_step: int, *, only: Collection[int] | None = None) -> int:
        """Withdraw the open queries of before that step (of those ids `only`) which nobody holds now; how many.

        Nobody gets them any more. Whoever holds one may still answer it, and one who held it and comes late too.
        """
        with self._db.write() as connection:
            stale = {"before_step": before_step, "now": self._now(connection)}
            expire = queries.update().where(selects.STALE).values(status="expired", **selects.FREE)
            if only is not None:
                expire = expire.where(queries.c.id.in_(only))
            return connection.execute(expire, stale).rowcount

    def post_progress(self, now: Progress) -> None:
        """Overwrite what the trainer is doing. `updated_at` is stamped here; NaN and infinity become None."""
        data = dataclasses.asdict(now)
        del data["updated_at"]
        # JSON knows no NaN, and a return is NaN until an episode has ended.
        data = {key: None if value != value or value in (math.inf, -math.inf) else value for key, value in data.items()}
        with self._db.write(durable=False) as connection:
            row = {"data": data, "updated_at": self._now(connection)}
            if connection.execute(progress.update().values(**row)).rowcount == 0:
                connection.execute(progress.insert().values(id=1, **row))

    def progress(self) -> Progress | None:
        """What the trainer posted last; None before it posted anything."""
        with self._db.read() as connection:
            row = connection.execute(sa.select(progress.c.data, progress.c.updated_at)).one_or_none()
        if row is None:
            return None
        # A newer trainer may say more than this server knows.
        known = {field.name for field in dataclasses.fields(Progress)}
        return Progress(**{key: value for key, value in row.data.items() if key in known}, updated_at=row.updated_at)

    # -- the labeler's side --------------------------------------------------------------------------------------

    def labeler(self, name: str, kind: str) -> int:
        """The id of the labeler of that name and kind (`human` or `synthetic`), new if need be."""
        if kind not in LABELER_KINDS:
            raise ValueError(f"a labeler is {' or '.join(LABELER_KINDS)}, not {kind!r}")
        is_it = (labelers.c.name == name) & (labelers.c.kind == kind)
        with self._db.read() as connection:
            known = connection.execute(sa.select(labelers.c.id).where(is_it)).scalar()
        if known is not None:
            return int(known)
        with self._db.write() as connection:
            row = {"name": name, "kind": kind, "created_at": self._now(connection)}
            self._db.insert_new(connection, labelers, row)
            return int(connection.execute(sa.select(labelers.c.id).where(is_it)).scalar_one())

    def open_steps(self) -> dict[int, int]:
        """The agent step at which each query was asked that is still open, by its id; leased ones included."""
        with self._db.read() as connection:
            return {row.id: row.step for row in connection.execute(selects.OPEN_STEPS)}

    def lease(
        self, labeler_id: int, *, limit: int = 1, lease_s: float = LEASE_S, only: Collection[int] | None = None
    ) -> list[LeasedQuery]:
        """Up to `limit` open queries (of those in `only`, if given), this labeler's alone until the lease expires.

        First those it holds already, in the order it got them and renewed, then the newest free ones: asking again
        after a reload gives the same queries. Nobody else can get one of them meanwhile.
        """
        with self._db.write(durable=False) as connection:
            now = self._now(connection)
            wanted: dict[str, Any] = {"labeler_id": labeler_id, "now": now, "limit": limit}
            if only is None:
                ids = connection.execute(selects.LEASABLE, wanted).scalars().all()
            else:
                ids = connection.execute(selects.LEASABLE_AMONG, wanted | {"query_ids": list(only)}).scalars().all()
            self._hold(connection, ids, labeler_id, now, lease_s)
            return self._leased(connection, ids)

    def renew(self, labeler_id: int, query_ids: Collection[int], lease_s: float = LEASE_S) -> list[int]:
        """Hold on to queries. The ids, sorted, that are still this labeler's; the others are lost or answered."""
        with self._db.write(durable=False) as connection:
            held = self._held(connection, labeler_id, query_ids)
            self._hold(connection, held, labeler_id, self._now(connection), lease_s)
        return held

    def release(self, labeler_id: int, query_ids: Collection[int]) -> None:
        """Let go of queries, so that somebody else may have them now. Those of other labelers are left alone."""
        with self._db.write(durable=False) as connection:
            held = self._held(connection, labeler_id, query_ids)
            connection.execute(queries.update().where(queries.c.id.in_(held)).values(**selects.FREE))

    def answer(
        self,
        labeler_id: int,
        query_id: int,
        answer: Answer,
        *,
        client_uuid: str,
        shown_at: datetime | None = None,
        answered_at: datetime | None = None,
    ) -> Receipt:
        """Record an answer, once: the same `client_uuid` again gives the same receipt, marked as a replay.

        An answer that comes after its lease or its query expired counts as long as nobody else holds the query or has
        answered it.
        `shown_at` and `answered_at` are the labeler's clock. Conflict, with nothing changed: `unknown_query`,
        `already_answered`, `leased_by_other`, or `uuid_reused` when that uuid belongs to a different answer.
        """
        given = Given(query_id, answer, client_uuid, shown_at, answered_at)
        with self._db.write() as connection:
            return record(connection, labeler_id, given, self._now)

    def answer_all(self, labeler_id: int, given: Sequence[Given], *, durable: bool = True) -> list[Receipt | Conflict]:
        """As `answer` for each, in one transaction, which costs hardly more than one of them.

        A Conflict stands where `answer` would have raised it; the others are recorded. Who could give them again may
        do without `durable`: a power cut before the next durable commit loses them.
        """
        if not given:
            return []
        found: list[Receipt | Conflict] = []
        with self._db.write(durable=durable) as connection:
            for one in given:
                try:
                    found.append(record(connection, labeler_id, one, self._now))
                except Conflict as conflict:
                    found.append(conflict)
        return found

    def undo(self, labeler_id: int, *, client_uuid: str, lease_s: float = LEASE_S) -> Receipt:
        """Withdraw the labeler's own answer by a new row that supersedes it; the query is theirs again.

        Undoing it twice changes nothing more (a replay). To redo, answer again under a new uuid. Conflict:
        `unknown_answer` when the labeler gave no such answer, `not_undoable` when that row is itself an undo.
        """
        with self._db.write() as connection:
            undone = connection.execute(selects.ANSWER, {"client_uuid": client_uuid}).one_or_none()
            if undone is None or undone.labeler_id != labeler_id:
                raise Conflict("unknown_answer", f"you gave no answer with client_uuid {client_uuid}")
            if undone.answer == "withdrawn":
                raise Conflict("not_undoable", "an undo cannot be undone: answer the query again instead")
            connection.execute(selects.QUERY, {"query_id": undone.query_id})
            before = connection.execute(selects.SUCCESSOR, {"answer_id": undone.id}).one_or_none()
            if before is None:
                now = self._now(connection)
                row = append(
                    connection,
                    client_uuid=str(uuid4()),
                    query_id=undone.query_id,
                    labeler_id=labeler_id,
                    answer="withdrawn",
                    left_shown=undone.left_shown,
                    recorded_at=now,
                    supersedes=undone.id,
                )
                connection.execute(queries.update().where(queries.c.id == undone.query_id).values(status="open"))
                self._hold(connection, [undone.query_id], labeler_id, now, lease_s)
            held = self._held(connection, labeler_id, [undone.query_id])
            query = next(iter(self._leased(connection, held)), None)
            return receipt(row if before is None else before, replay=before is not None, query=query)

    def recent(self, labeler_id: int, limit: int = 5) -> list[RecentAnswer]:
        """The labeler's own answers that count, newest first."""
        with self._db.read() as connection:
            rows = connection.execute(selects.RECENT, {"labeler_id": labeler_id, "limit": limit})
            return [RecentAnswer(*row) for row in rows]

    def answered_by(self, labeler_id: int) -> int:
        """How many answers that count this labeler has given, skips included."""
        with self._db.read() as connection:
            return int(connection.execute(selects.ANSWERED_BY, {"labeler_id": labeler_id}).scalar_one())

    # -- for watching and for reports ----------------------------------------------------------------------------

    def change_token(self) -> str:
        """A word that differs when anybody, in any process, has committed since. Cheap: ask ten times a second.

        Compare tokens of one store object only. Leases that run out change nothing here: no commit says so.
        """
        return self._db.change_token()

    def now(self) -> datetime:
        """The clock that leases and `recorded_at` are measured by."""
        with self._db.read() as connection:
            return self._now(connection)

    def iter_answers(self) -> Iterator[AnswerRow]:
        """Every row of `answers`, oldest first, superseded and withdrawn ones included."""
        yield from self.answers_after(0)[0]

    def answers_after(self, answer_id: int) -> tuple[list[AnswerRow], int]:
        """Every row of `answers` with a higher id, by id; and how many rows there are in all."""
        with self._db.read() as connection:
            rows = connection.execute(selects.ANSWERS_AFTER, {"answer_id": answer_id}).mappings().all()
            total = connection.execute(selects.ANSWER_ROWS).scalar_one()
        return [AnswerRow(**row) for row in rows], int(total)

    # -- pieces --------------------------------------------------------------------------------------------------

    def _now(self, connection: sa.Connection) -> datetime:
        return self._clock() if self._clock else self._db.now(connection)

    def _segment_column(self, segment_ids: Sequence[str], column: sa.Column[bytes]) -> Iterator[tuple[str, bytes]]:
        """One column of these segments, in this order, read some at a time: a run's segments can fill the memory."""
        for start in range(0, len(segment_ids), SEGMENTS_AT_ONCE):
            wanted = segment_ids[start : start + SEGMENTS_AT_ONCE]
            with self._db.read() as connection:
                rows = connection.execute(selects.SEGMENTS[column.name], {"segment_ids": list(wanted)})
                found = {id: bytes(data) for id, data in rows}
            for segment_id in wanted:
                if segment_id not in found:
                    raise UserError(
                        f"the label store {self._db} has no segment {segment_id}: is it that of another run?"
                    )
                yield segment_id, found[segment_id]

    @staticmethod
    def _held(connection: sa.Connection, labeler_id: int, query_ids: Collection[int]) -> list[int]:
        """Which of these queries the labeler holds. One whose lease ran out is still theirs until somebody takes it."""
        wanted = {"labeler_id": labeler_id, "query_ids": list(query_ids)}
        return list(connection.execute(selects.HELD, wanted).scalars())

    @staticmethod
    def _hold(connection: sa.Connection, ids: Collection[int], labeler_id: int, now: datetime, lease_s: float) -> None:
        """Lease queries that are the labeler's or free to take. When a labeler first got one stays as it was."""
        since = sa.case((queries.c.leased_by == labeler_id, queries.c.leased_at), else_=now)
        connection.execute(
            queries.update()
            .where(queries.c.id.in_(ids))
            .values(leased_by=labeler_id, leased_at=since, lease_expires_at=now + timedelta(seconds=lease_s))
        )

    @staticmethod
    def _leased(connection: sa.Connection, ids: Sequence[int]) -> list[LeasedQuery]:
        """These queries as a labeler sees them, in the order of `ids`."""
        rows = connection.execute(selects.SHOWN, {"query_ids": list(ids)}).mappings()
        found = {row["id"]: LeasedQuery(**row) for row in rows}
        return [found[query_id] for query_id in ids]


def _segment_row(footage: Footage, clip: str) -> dict[str, Any]:
    segment, reward = footage.segment, footage.env_reward
    if reward.shape != (len(segment),):
        raise ValueError(f"segment {segment.id} has {len(segment)} steps, but rewards of shape {reward.shape}")
    return {
        "id": segment.id,
        "data": pack_segment(segment),
        "clip": clip,
        "length": len(segment),
        "audit_reward": reward.astype("<f4").tobytes(),
    }
