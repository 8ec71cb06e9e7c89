"""Opening a store: what is set, what is refused, and how fast."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

import pairplay.labels
from pairplay.labels.database import Database
from pairplay.labels.schema import HEAD, metadata
from pairplay.labels.store import LabelStore
from pairplay.types import UserError

from .making import add


def test_every_connection_has_the_pragmas(path: Path) -> None:
    database = Database(path)
    with database.read() as one, database.write() as two:
        for connection in (one, two):
            found = [
                connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            ]
            assert found == ["wal", 2, 1, 30_000]
    database.close()


def test_what_nobody_would_miss_waits_for_no_disk(path: Path) -> None:
    database = Database(path)

    def safety(connection: sa.Connection) -> object:
        return connection.exec_driver_sql("PRAGMA synchronous").scalar()

    for durable, expected in ((True, 2), (False, 1), (True, 2)):  # one connection, each time as it is told
        with database.write(durable=durable) as connection:
            assert safety(connection) == expected
    with database.write(durable=False) as connection:
        connection.execute(
            metadata.tables["labelers"].insert().values(name="a", kind="human", created_at=sa.func.now())
        )
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT count(*) FROM labelers").fetchone() == (1,)
    database.close()


def test_a_database_that_cannot_be_safe_is_refused() -> None:
    with pytest.raises(UserError, match=r"journal_mode=memory instead of wal.*local disk"):
        LabelStore.open("sqlite:///file:labels?mode=memory&cache=shared&uri=true")


def test_writers_queue_when_they_begin(path: Path) -> None:
    database = Database(path)
    with database.write(), sqlite3.connect(path, timeout=0) as other:
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("INSERT INTO labelers (name, kind, created_at) VALUES ('a', 'human', '2026-01-01')")
        assert other.execute("SELECT count(*) FROM labelers").fetchone() == (0,)
    other.close()
    database.close()


def test_the_schema_in_words_is_the_schema_that_migrations_make(path: Path) -> None:
    database = Database(path)
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        made = {
            table: {check["name"] for check in sa.inspect(connection).get_check_constraints(table)}
            for table in metadata.tables
        }
    database.close()
    said = {
        name: {check.name for check in table.constraints if isinstance(check, sa.CheckConstraint)}
        for name, table in metadata.tables.items()
    }
    assert made == said


def test_head_is_the_newest_revision() -> None:
    (folder,) = pairplay.labels.__path__
    assert ScriptDirectory(f"{folder}/migrations").get_heads() == [HEAD]


def test_an_up_to_date_store_opens_fast_and_without_alembic(path: Path) -> None:
    LabelStore.open(path).close()
    began = time.perf_counter()
    LabelStore.open(path).close()
    assert time.perf_counter() - began < 0.3
    code = "import sys; from pairplay.labels.store import LabelStore; LabelStore.open(sys.argv[1]); "
    code += "sys.exit('alembic' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == 0


def test_what_is_no_label_store_is_refused_and_left_alone(path: Path) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
    connection.close()
    with pytest.raises(UserError, match=r"labels\.db is a database, but not a label store"):
        LabelStore.open(path)
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("recipes",)]
    connection.close()


def test_what_is_no_database_is_refused(path: Path) -> None:
    path.write_bytes(b"I am a picture, honestly." * 100)
    with pytest.raises(UserError, match=r"cannot open the label store .*labels\.db: file is not a database"):
        LabelStore.open(path)
    assert path.read_bytes() == b"I am a picture, honestly." * 100
    with pytest.raises(UserError, match="unable to open"):
        LabelStore.open(path.parent / "nowhere" / "labels.db")


@pytest.mark.parametrize("revision", ["0004", "ae1027a6acf", "None"])
def test_a_schema_from_the_future_is_refused(path: Path, revision: str) -> None:
    LabelStore.open(path).close()
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    connection.close()
    with pytest.raises(UserError, match=rf"schema {revision}.*upgrade Pairplay"):
        LabelStore.open(path)


@pytest.mark.parametrize("damage", ["DROP TRIGGER answers_no_delete", "DROP TABLE progress"])
def test_a_store_that_lacks_something_is_refused(path: Path, damage: str) -> None:
    LabelStore.open(path).close()
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(damage)
    connection.close()
    with pytest.raises(UserError, match=f"lacks {damage.split()[-1]}"):
        LabelStore.open(path)


REPLACE = (
    "INSERT OR REPLACE INTO answers (id, client_uuid, query_id, labeler_id, answer, mu, left_shown, recorded_at, "
    "supersedes) SELECT {}, labeler_id, 'left', 1, left_shown, recorded_at, {} FROM answers WHERE id = 1"
)


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param("UPDATE answers SET mu = 0 WHERE id = 1", id="update"),
        pytest.param("DELETE FROM answers WHERE id = 2", id="delete"),
        # Each meets an existing row in one unique key alone.
        pytest.param(REPLACE.format("1, 'z', 2", "NULL"), id="replace id"),
        pytest.param(REPLACE.format("9, 'a', 2", "NULL"), id="replace client_uuid"),
        pytest.param(REPLACE.format("9, 'z', 1", "NULL"), id="replace first answer"),
        pytest.param(REPLACE.format("9, 'z', 1", "1"), id="replace successor"),
    ],
)
def test_answers_are_append_only_for_everybody(store: LabelStore, path: Path, statement: str) -> None:
    ann = store.labeler("Ann", "human")
    store.answer(ann, add(store, 0), "left", client_uuid="a")
    store.undo(ann, client_uuid="a")
    add(store, 1)
    before = list(store.iter_answers())
    connection = sqlite3.connect(path)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute(statement)
    connection.close()
    assert list(store.iter_answers()) == before


def test_a_query_cannot_have_two_answers_that_count(store: LabelStore, path: Path) -> None:
    """Whatever code writes: the answers of a query are one chain."""
    ann = store.labeler("Ann", "human")
    store.answer(ann, add(store, 0), "left", client_uuid="a")
    store.undo(ann, client_uuid="a")
    store.answer(ann, add(store, 1), "left", client_uuid="b")
    insert = (
        "INSERT INTO answers (client_uuid, query_id, labeler_id, answer, mu, left_shown, recorded_at, supersedes) "
        "SELECT 'z', ?, labeler_id, 'left', 1, left_shown, recorded_at, ? FROM answers WHERE id = 1"
    )
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("DROP TRIGGER answers_no_replace")
    for query_id, supersedes in ((1, None), (1, 1), (1, 3)):
        with pytest.raises(sqlite3.IntegrityError, match=r"UNIQUE|FOREIGN KEY"):
            connection.execute(insert, (query_id, supersedes))
    connection.execute(insert, (1, 2))
    connection.rollback()
    connection.close()


def test_a_migration_that_fails_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("the power went")

    monkeypatch.setattr("alembic.runtime.migration.HeadMaintainer.update_to_step", fail)
    with pytest.raises(OSError, match="power"):
        LabelStore.open(path)
    monkeypatch.undo()
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []
    connection.close()
    LabelStore.open(path).close()


def test_a_copy_is_a_store(store: LabelStore, path: Path, tmp_path: Path) -> None:
    """Files copied while nobody writes, journal included, hold everything."""
    add(store, 0)
    (tmp_path / "copy").mkdir()
    for file in tmp_path.glob("labels.db*"):
        shutil.copy(file, tmp_path / "copy" / file.name)
    with LabelStore.open(tmp_path / "copy" / "labels.db") as copy:
        assert copy.counts().asked == 1
