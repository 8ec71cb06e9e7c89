"""Write one answer down, inside a transaction of the label store. Opens none."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from pairplay.labels import selects
from pairplay.labels.records import Conflict, Given, LeasedQuery, Receipt
from pairplay.types import ANSWERS, MU


def record(
    connection: sa.Connection, labeler_id: int, given: Given, clock: Callable[[sa.Connection], datetime]
) -> Receipt:
    """Append the answer and settle its query; or the receipt of before, if it was recorded already.

    A Conflict is raised before anything is written, so the transaction may go on after one.
    """
    answer, client_uuid, query_id = given.answer, given.client_uuid, given.query_id
    if answer not in ANSWERS:
        raise ValueError(f"an answer is one of {', '.join(ANSWERS)}, not {answer!r}")
    query = connection.execute(selects.QUERY, {"query_id": query_id}).one_or_none()
    before = connection.execute(selects.ANSWER, {"client_uuid": client_uuid}).one_or_none()
    if before is not None:
        if (before.labeler_id, before.query_id, before.answer) != (labeler_id, query_id, answer):
            raise Conflict("uuid_reused", f"client_uuid {client_uuid} belongs to a different answer")
        return receipt(before, replay=True)
    if query is None:
        raise Conflict("unknown_query", f"there is no query {query_id}")
    if query.status not in ("open", "expired"):
        raise Conflict("already_answered", f"query {query_id} has been answered already")
    now = clock(connection)
    if query.leased_by not in (None, labeler_id) and query.lease_expires_at > now:
        raise Conflict("leased_by_other", f"query {query_id} is with another labeler now")
    row = append(
        connection,
        client_uuid=client_uuid,
        query_id=query_id,
        labeler_id=labeler_id,
        answer=answer,
        mu=MU[answer],
        left_shown=query.left_segment,
        shown_at=given.shown_at,
        answered_at=given.answered_at,
        recorded_at=now,
        supersedes=connection.execute(selects.LAST_ANSWER, {"query_id": query_id}).scalar(),
    )
    status = "skipped" if answer == "skip" else "answered"
    connection.execute(selects.SETTLE, {"settled": query_id, "as": status})
    return receipt(row)


def append(connection: sa.Connection, **row: Any) -> sa.Row[Any]:
    """A new row of `answers`, as it stands there."""
    return connection.execute(selects.APPEND, row).one()


def receipt(row: sa.Row[Any], *, replay: bool = False, query: LeasedQuery | None = None) -> Receipt:
    """Proof that this row of `answers` is recorded."""
    return Receipt(row.id, row.query_id, row.answer, row.client_uuid, row.recorded_at, replay, query)
