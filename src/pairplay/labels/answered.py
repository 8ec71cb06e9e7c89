"""The answers that count, kept up to date by reading only those that are new. Knows no SQL."""

from __future__ import annotations

from pairplay.labels.records import AnswerRow
from pairplay.labels.store import LabelStore


class Answered:
    """What every query's answer is now; as the store's own list of preferences, at a cost that does not grow with it.

    Answers are append-only, so what came after the last row that was read tells everything: a later row of a query
    replaces the one before, and a withdrawal removes it. PostgreSQL may show a row later than one of a higher id. Then
    the number of rows gives it away, and all are read again.
    """

    def __init__(self, store: LabelStore) -> None:
        self._store = store
        self._last = 0
        self._read = 0
        self._newest = 0
        """The latest query that was ever answered."""
        self._live: dict[int, AnswerRow] = {}

    def update(self) -> list[AnswerRow] | None:
        """Read what is new.

        The new answers, by query id, if all are the first ones of queries behind all that were answered before; None if
        anything else has changed.
        """
        rows, total = self._store.answers_after(self._last)
        appended = self._read + len(rows) == total
        if not appended:
            self._read, self._live = 0, {}
            rows, _ = self._store.answers_after(0)
        new = {row.query_id: row for row in rows}
        appended = appended and len(new) == len(rows) and all(query_id > self._newest for query_id in new)
        self._newest = max([self._newest, *new])
        for row in rows:
            if row.answer == "withdrawn":
                self._live.pop(row.query_id, None)
            else:
                self._live[row.query_id] = row
        self._read += len(rows)
        self._last = rows[-1].id if rows else self._last
        return [new[query_id] for query_id in sorted(new)] if appended else None

    def row(self, query_id: int) -> AnswerRow | None:
        """The answer to this query that counts as of the last update."""
        return self._live.get(query_id)

    def rows(self) -> list[AnswerRow]:
        """The answers that count as of the last update, skips included, by query id."""
        return [self._live[query_id] for query_id in sorted(self._live)]
