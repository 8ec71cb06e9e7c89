"""An older store opens as the newest one, with everything that was in it."""

from __future__ import annotations

import importlib
import io
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext

from pairplay.labels.database import Database
from pairplay.labels.schema import metadata
from pairplay.labels.store import Counts, LabelStore
from pairplay.types import UserError

FIRST = """
    INSERT INTO labelers VALUES (1, 'Ann', 'human', '2026-01-01'), (2, 'oracle', 'synthetic', '2026-01-01');
    INSERT INTO segments VALUES ('a', x'00', 'ca', 3, x'00', '2026-01-01'), ('b', x'01', 'cb', 3, x'00', '2026-01-02'),
        ('c', x'02', 'cc', 3, x'00', '2026-01-03');
    INSERT INTO queries VALUES
        (1, 'a', 'b', 'uniform', 0, 'Which?', 10, '2026-01-01', 'answered', NULL, NULL, NULL),
        (2, 'a', 'c', 'disagreement', 0.25, 'Which?', 20, '2026-01-02', 'skipped', NULL, NULL, NULL),
        (5, 'b', 'c', 'disagreement', 0.2, 'Which?', 30, '2026-01-03', 'open', 1, '2026-01-03', '2026-01-04'),
        (7, 'c', 'a', 'disagreement', 0.1, 'Which?', 40, '2026-01-05', 'open', NULL, NULL, NULL);
    INSERT INTO answers VALUES
        (1, 'u1', 1, 1, 'left', 1, 'a', NULL, NULL, '2026-01-01', NULL),
        (2, 'u2', 1, 1, 'withdrawn', NULL, 'a', NULL, NULL, '2026-01-01', 1),
        (3, 'u3', 1, 1, 'right', 0, 'a', NULL, NULL, '2026-01-01', 2),
        (4, 'u4', 2, 2, 'skip', NULL, 'a', NULL, NULL, '2026-01-02', NULL);
"""


def open_at(path: Path, revision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a store as a Pairplay of that schema made it."""
    upgrade = command.upgrade
    monkeypatch.setattr(command, "upgrade", lambda config, _: upgrade(config, revision))
    Database(path).close()
    monkeypatch.undo()


def contents(path: Path) -> dict[str, list[tuple[object, ...]]]:
    connection = sqlite3.connect(path)
    found = {name: connection.execute(f"SELECT * FROM {name} ORDER BY 1").fetchall() for name in metadata.tables}  # noqa: S608
    connection.close()
    return found


def structure(path: Path) -> set[tuple[str, str]]:
    connection = sqlite3.connect(path)
    found = set(connection.execute("SELECT type, name FROM sqlite_master").fetchall())
    connection.close()
    return found


def test_a_store_of_the_first_schema_keeps_every_row(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_at(path, "0001", monkeypatch)
    connection = sqlite3.connect(path)
    connection.executescript(FIRST)
    connection.close()
    rows, things = contents(path), structure(path)

    with LabelStore.open(path) as store:
        assert contents(path) == rows
        assert structure(path) == things | {("index", "ix_answers_query_id")}
        assert [(p.query_id, p.mu) for p in store.preferences()] == [(1, 0.0), (2, None)]
        assert len(list(store.iter_answers())) == 4
        assert store.expire(before_step=40) == 1
        assert store.counts() == Counts(asked=4, pending=1, leased=0, answered=2, skipped=1, expired=1)
        assert store.undo(1, client_uuid="u3").query is not None, "an answer still finds its query"
        with store._db.write() as connection_, pytest.raises(sa.exc.IntegrityError, match="FOREIGN KEY"):
            connection_.exec_driver_sql("UPDATE queries SET left_segment = 'nowhere' WHERE id = 7")
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA foreign_keys = ON")
    for change, why in (
        ("DELETE FROM queries WHERE id = 1", "FOREIGN KEY"),
        ("UPDATE queries SET status = 'lost'", "ck_queries_status"),
        ("UPDATE queries SET right_segment = left_segment", "two_segments"),
        ("UPDATE queries SET left_segment = 'a', right_segment = 'b'", "UNIQUE"),
        ("UPDATE answers SET mu = 0", "append-only"),
    ):
        with pytest.raises(sqlite3.IntegrityError, match=why):
            connection.execute(change)
    connection.close()


def test_references_are_looked_at_before_a_rebuild_commits(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_at(path, "0001", monkeypatch)
    connection = sqlite3.connect(path)
    connection.executescript(FIRST)
    with connection:
        connection.execute("DELETE FROM segments WHERE id = 'b'")
    connection.close()
    before = contents(path), structure(path)
    with pytest.raises(UserError, match=r"labels\.db is a damaged label store, rows of it refer to none"):
        LabelStore.open(path)
    assert (contents(path), structure(path)) == before


def test_postgresql_changes_the_check_in_place() -> None:
    said = io.StringIO()
    options = {"as_sql": True, "output_buffer": said, "target_metadata": metadata}
    context = MigrationContext.configure(dialect_name="postgresql", opts=options)
    with Operations.context(context):
        importlib.import_module("pairplay.labels.migrations.versions.r0002_expired").upgrade()
    statements = [" ".join(part.split()) for part in said.getvalue().split(";") if part.strip()]
    assert statements == [
        "ALTER TABLE queries DROP CONSTRAINT ck_queries_status",
        "ALTER TABLE queries ADD CONSTRAINT ck_queries_status CHECK "
        "(status IN ('open', 'answered', 'skipped', 'expired'))",
    ]
