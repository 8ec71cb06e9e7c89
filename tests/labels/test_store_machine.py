"""The store against a model of a few lines of plain Python, under any sequence of calls."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pairplay.labels.answered import Answered
from pairplay.labels.store import Conflict, Counts, LabelStore
from pairplay.types import ANSWERS, MU, Answer

from .making import Clock, add

LABELERS = st.integers(0, 2)
LEASE_S = 100


@dataclass
class Asked:
    """A query as the model knows it."""

    id: int
    chain: list[tuple[str, str, int]] = field(default_factory=list)
    """(client_uuid, answer, labeler), oldest first."""
    holder: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    is_expired: bool = False

    @property
    def live(self) -> tuple[str, str, int] | None:
        return self.chain[-1] if self.chain and self.chain[-1][1] != "withdrawn" else None

    def hold(self, labeler: int, now: datetime) -> None:
        self.since = self.since if self.holder == labeler else now
        self.holder, self.until = labeler, now + timedelta(seconds=LEASE_S)

    def let_go(self) -> None:
        self.holder = self.since = self.until = None

    def is_held(self, now: datetime) -> bool:
        return self.until is not None and self.until > now


class StoreMachine(RuleBasedStateMachine):
    empty: Path

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        shutil.copy(self.empty, self.folder.name)
        self.clock = Clock()
        self.reopen()
        self.labelers = [self.store.labeler(name, "human") for name in ("Ann", "Bob", "Cem")]
        self.asked: dict[int, Asked] = {}
        self.uuids = 0

    def reopen(self) -> None:
        self.store = LabelStore.open(Path(self.folder.name) / "labels.db", clock=self.clock)
        self.answered = Answered(self.store)

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.store.close()
            self.folder.cleanup()

    @rule()
    def ask(self) -> None:
        query_id = add(self.store, len(self.asked))
        assert query_id not in self.asked
        self.asked[query_id] = Asked(query_id)

    @rule(seconds=st.sampled_from([1, LEASE_S - 1, LEASE_S, 10 * LEASE_S]))
    def wait(self, seconds: int) -> None:
        self.clock.move(seconds)

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.reopen()

    @rule(who=LABELERS, limit=st.integers(0, 3))
    def lease(self, who: int, limit: int) -> None:
        free = [query for query in self.asked.values() if not query.live and not query.is_expired]
        mine = [query for query in free if query.holder == who]
        mine.sort(key=lambda query: (query.since, -query.id))
        others = [query for query in free if query.holder != who and not query.is_held(self.clock.time)]
        wanted = (mine + sorted(others, key=lambda query: -query.id))[:limit]
        for query in wanted:
            query.hold(who, self.clock.time)
        leased = self.store.lease(self.labelers[who], limit=limit, lease_s=LEASE_S)
        assert [(query.id, query.lease_expires_at) for query in leased] == [(query.id, query.until) for query in wanted]

    @precondition(lambda self: self.asked)
    @rule(who=LABELERS, data=st.data())
    def renew(self, who: int, data: st.DataObject) -> None:
        ids = data.draw(st.sets(st.sampled_from(sorted(self.asked)), max_size=3))
        held = [query_id for query_id in sorted(ids) if self.asked[query_id].holder == who]
        assert self.store.renew(self.labelers[who], ids, LEASE_S) == held
        for query_id in held:
            self.asked[query_id].hold(who, self.clock.time)

    @precondition(lambda self: self.asked)
    @rule(who=LABELERS, data=st.data())
    def release(self, who: int, data: st.DataObject) -> None:
        query = self.asked[data.draw(st.sampled_from(sorted(self.asked)))]
        self.store.release(self.labelers[who], [query.id])
        if query.holder == who:
            query.let_go()

    @precondition(lambda self: self.asked)
    @rule(who=LABELERS, answer=st.sampled_from(ANSWERS), data=st.data())
    def answer(self, who: int, answer: Answer, data: st.DataObject) -> None:
        query = self.asked[data.draw(st.sampled_from(sorted(self.asked)))]
        self.uuids += 1
        uuid, wanted = str(self.uuids), "ok"
        if query.live:
            wanted = "already_answered"
        elif query.holder != who and query.is_held(self.clock.time):
            wanted = "leased_by_other"
        else:
            query.chain.append((uuid, answer, who))
            query.let_go()
            query.is_expired = False
        assert self._send(who, query.id, answer, uuid) == wanted

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def expire(self, data: st.DataObject) -> None:
        before_step = data.draw(st.integers(0, len(self.asked)))
        stale = [
            query
            for step, query in enumerate(self.asked.values())
            if step < before_step and not (query.live or query.is_expired or query.is_held(self.clock.time))
        ]
        for query in stale:
            query.is_expired = True
            query.let_go()
        assert self.store.expire(before_step) == len(stale)

    @precondition(lambda self: any(query.chain for query in self.asked.values()))
    @rule(change=st.sampled_from(["nothing", "who", "answer"]), data=st.data())
    def resend(self, change: str, data: st.DataObject) -> None:
        """A row's uuid again, as it was or with something else in it: no change either way."""
        query_id, uuid, answer, who = data.draw(st.sampled_from(self._rows("left", "right", "tie", "skip")))
        if change == "who":
            who = (who + 1) % 3
        elif change == "answer":
            answer = "left" if answer != "left" else "right"
        assert self._send(who, query_id, answer, uuid) == ("replay" if change == "nothing" else "uuid_reused")

    @precondition(lambda self: any(query.chain for query in self.asked.values()))
    @rule(who=LABELERS, data=st.data())
    def undo(self, who: int, data: st.DataObject) -> None:
        query_id, uuid, answer, by = data.draw(st.sampled_from(self._rows(*ANSWERS, "withdrawn")))
        query = self.asked[query_id]
        if by != who or answer == "withdrawn":
            with pytest.raises(Conflict) as refused:
                self.store.undo(self.labelers[who], client_uuid=uuid, lease_s=LEASE_S)
            assert refused.value.code == ("unknown_answer" if by != who else "not_undoable")
            return
        receipt = self.store.undo(self.labelers[who], client_uuid=uuid, lease_s=LEASE_S)
        assert receipt.answer == "withdrawn"
        assert receipt.replay == (query.chain[-1][0] != uuid)
        if not receipt.replay:
            query.chain.append((receipt.client_uuid, "withdrawn", who))
            query.hold(who, self.clock.time)
        assert (receipt.query is not None) == (query.holder == who)

    @invariant()
    def store_is_the_model(self) -> None:
        if not hasattr(self, "asked"):
            return
        now, queries = self.clock.time, [self.asked[query_id] for query_id in sorted(self.asked)]
        live = [(query.id, query.live) for query in queries if query.live]
        held = sum(query.is_held(now) for query in queries)
        skipped = sum(answer == "skip" for _, (_, answer, _) in live)
        expired = sum(query.is_expired for query in queries)
        pending = len(queries) - len(live) - held - expired
        assert self.store.counts() == Counts(len(queries), pending, held, len(live), skipped, expired)
        assert [(row.query_id, row.answer, row.labeler, row.mu) for row in self.store.preferences()] == [
            (query_id, answer, ("Ann", "Bob", "Cem")[who], MU[answer])  # type: ignore[index]
            for query_id, (_, answer, who) in live
        ]
        before, new = self.answered.rows(), self.answered.update()
        assert new is None or self.answered.rows() == before + new, "only what came behind all others is called new"
        assert all(self.answered.row(row.query_id) == row for row in self.answered.rows())
        assert [(row.query_id, row.client_uuid, row.answer, row.mu) for row in self.answered.rows()] == [
            (query_id, uuid, answer, MU[answer])  # type: ignore[index]
            for query_id, (uuid, answer, _) in live
        ]
        rows = {row.client_uuid: row for row in self.store.iter_answers()}
        assert len(rows) == sum(len(query.chain) for query in queries)
        for query in queries:
            above = None
            for uuid, answer, who in query.chain:
                row = rows[uuid]
                assert (row.query_id, row.answer, row.labeler_id) == (query.id, answer, self.labelers[who])
                assert row.supersedes == above
                assert row.live == ((uuid, answer, who) == query.live)
                above = row.id

    def _rows(self, *kinds: str) -> list[tuple[int, str, str, int]]:
        return [(query.id, *row) for query in self.asked.values() for row in query.chain if row[1] in kinds]

    def _send(self, who: int, query_id: int, answer: str, uuid: str) -> str:
        try:
            receipt = self.store.answer(self.labelers[who], query_id, answer, client_uuid=uuid)  # type: ignore[arg-type]
        except Conflict as conflict:
            return conflict.code
        return "replay" if receipt.replay else "ok"


def test_store_is_its_model(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StoreMachine, "empty", empty, raising=False)
    StoreMachine.TestCase.settings = settings(
        max_examples=30, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    StoreMachine.TestCase("runTest").runTest()
