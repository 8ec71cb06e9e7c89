"""What is asked of the database, written once: SQLAlchemy reads a constant statement faster than a fresh one.

Names in capitals are whole statements; their parameters are named in the comment above them.
"""

from __future__ import annotations

import sqlalchemy as sa

from pairplay.labels.schema import UTCDateTime, answers, labelers, queries, segments

_left, _right = segments.alias("left"), segments.alias("right")
_newer = answers.alias("newer")
_is_last = ~sa.exists().where(_newer.c.supersedes == answers.c.id)
_is_live = sa.and_(answers.c.answer != "withdrawn", _is_last)

_shown = queries.join(_left, _left.c.id == queries.c.left_segment).join(_right, _right.c.id == queries.c.right_segment)
"""Queries with their two segments, for their clips."""
_as_shown = (
    queries.c.question,
    queries.c.left_segment.label("left_id"),
    queries.c.right_segment.label("right_id"),
    _left.c.clip.label("left_clip"),
    _right.c.clip.label("right_clip"),
)
_answered = _shown.join(answers, answers.c.query_id == queries.c.id)

_labeler = sa.bindparam("labeler_id", type_=sa.Integer)
_query = sa.bindparam("query_id", type_=sa.Integer)
_queries = sa.bindparam("query_ids", type_=sa.Integer, expanding=True)
_uuid = sa.bindparam("client_uuid", type_=sa.String)
_now = sa.bindparam("now", type_=UTCDateTime)
_limit = sa.bindparam("limit", type_=sa.Integer)


def _how_many(*where: sa.ColumnElement[bool]) -> sa.ScalarSelect[int]:
    return sa.select(sa.func.count()).select_from(queries).where(*where).scalar_subquery()


_is_open = queries.c.status == "open"
# now: each from an index of its own, for there may be ten thousand queries, of which a few are open
COUNTS = sa.select(
    _how_many().label("asked"),
    _how_many(_is_open).label("open"),
    _how_many(_is_open, queries.c.lease_expires_at > _now).label("leased"),
    _how_many(queries.c.status == "skipped").label("skipped"),
    _how_many(queries.c.status == "expired").label("expired"),
)

# after
ASKED = (
    sa.select(queries.c.id, queries.c.left_segment, queries.c.right_segment)
    .where(queries.c.id > sa.bindparam("after", type_=sa.Integer))
    .order_by(queries.c.id)
)

PREFERENCES = (
    sa.select(
        answers.c.query_id,
        queries.c.left_segment,
        queries.c.right_segment,
        answers.c.answer,
        answers.c.mu,
        labelers.c.name,
        sa.func.coalesce(answers.c.answered_at, answers.c.recorded_at),
    )
    .join(queries, queries.c.id == answers.c.query_id)
    .join(labelers, labelers.c.id == answers.c.labeler_id)
    .where(_is_live)
    .order_by(answers.c.query_id)
)

# answer_id
ANSWERS_AFTER = (
    sa.select(
        *(column for column in answers.c),
        labelers.c.name.label("labeler"),
        labelers.c.kind,
        *_as_shown,
        *(queries.c[name] for name in ("strategy", "score", "step")),
        _is_live.label("live"),
    )
    .select_from(_answered)
    .join(labelers, labelers.c.id == answers.c.labeler_id)
    .where(answers.c.id > sa.bindparam("answer_id", type_=sa.Integer))
    .order_by(answers.c.id)
)

ANSWER_ROWS = sa.select(sa.func.count()).select_from(answers)

# labeler_id, limit
RECENT = (
    sa.select(answers.c.id, answers.c.client_uuid, answers.c.query_id, answers.c.answer, *_as_shown)
    .add_columns(answers.c.recorded_at)
    .select_from(_answered)
    .where(answers.c.labeler_id == _labeler, _is_live)
    .order_by(answers.c.id.desc())
    .limit(_limit)
)

# labeler_id
ANSWERED_BY = sa.select(sa.func.count()).select_from(answers).where(answers.c.labeler_id == _labeler, _is_live)

_is_mine = queries.c.leased_by == _labeler
# labeler_id, now, limit: those one holds already in the order one got them, then the newest free ones. What another
# transaction is just taking is passed over (SQLite has one writer at a time, and nothing to pass over).
LEASABLE = (
    sa.select(queries.c.id)
    .where(queries.c.status == "open", _is_mine | queries.c.leased_by.is_(None) | (queries.c.lease_expires_at <= _now))
    .order_by(sa.case((_is_mine, 0), else_=1), sa.case((_is_mine, queries.c.leased_at)), queries.c.id.desc())
    .limit(_limit)
    .with_for_update(skip_locked=True)
)

# before_step, now: what waits unanswered and is with nobody
STALE = (queries.c.status == "open") & (queries.c.step < sa.bindparam("before_step", type_=sa.BigInteger))
STALE &= queries.c.leased_by.is_(None) | (queries.c.lease_expires_at <= _now)

# also query_ids: no others
LEASABLE_AMONG = LEASABLE.where(queries.c.id.in_(_queries))

OPEN_STEPS = sa.select(queries.c.id, queries.c.step).where(queries.c.status == "open")

# labeler_id, query_ids: a query whose lease ran out is still one's own until somebody else takes it
HELD = (
    sa.select(queries.c.id)
    .where(queries.c.id.in_(_queries), queries.c.leased_by == _labeler)
    .order_by(queries.c.id)
    .with_for_update()
)

# query_ids
SHOWN = (
    sa.select(queries.c.id, queries.c.lease_expires_at, *_as_shown)
    .select_from(_shown)
    .where(queries.c.id.in_(_queries))
)

# query_id: locked, so that of two calls about one query the second sees what the first did
QUERY = sa.select(queries).where(queries.c.id == _query).with_for_update()

# client_uuid
ANSWER = sa.select(answers).where(answers.c.client_uuid == _uuid)

# answer_id
SUCCESSOR = sa.select(answers).where(answers.c.supersedes == sa.bindparam("answer_id", type_=sa.Integer))

APPEND = answers.insert().returning(*answers.c)

FREE: dict[str, None] = {"leased_by": None, "leased_at": None, "lease_expires_at": None}
"""What a query is that nobody holds."""

# settled, as: the query that is answered, and its status from now on
SETTLE = queries.update().where(queries.c.id == sa.bindparam("settled")).values(status=sa.bindparam("as"), **FREE)

# left_id, right_id
ASKED_AS = sa.select(queries.c.id).where(
    queries.c.left_segment == sa.bindparam("left_id"), queries.c.right_segment == sa.bindparam("right_id")
)

# segment_ids
SEGMENTS = {
    column.name: sa.select(segments.c.id, column).where(
        segments.c.id.in_(sa.bindparam("segment_ids", type_=sa.String, expanding=True))
    )
    for column in (segments.c.data, segments.c.audit_reward)
}

# query_id: the end of its chain
LAST_ANSWER = sa.select(answers.c.id).where(answers.c.query_id == _query, _is_last)
