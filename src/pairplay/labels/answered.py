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
        self._live: dict[int, AnswerRow] = {}

    def update(self) -> None:
        """Read what is new."""
        rows, total = self._store.answers_after(self._last)
        if self._read + len(rows) != total:
            self._read, self._live = 0, {}
            rows, _ = self._store.answers_after(0)
        for row in rows:
            if row.answer == "withdrawn":
                self._live.pop(row.query_id, None)
            else:
                self._live[row.query_id] = row
        self._read += len(rows)
        self._last = rows[-1].id if rows else self._last

    def rows(self) -> list[AnswerRow]:
        """The answers that count as of the last update, skips included, by query id."""
        return [self._live[query_id] for query_id in sorted(self._live)]
