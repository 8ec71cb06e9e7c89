"""Open the database and keep it honest: the one file that knows SQLite from PostgreSQL. Knows no labels.

SQLite runs in WAL mode with `synchronous=FULL`: a commit that returned is on the disk, and readers never wait for the
writer. What nobody would miss is committed with `synchronous=NORMAL`: it outlives the process at once, and the machine
with the next commit that waits. There is one writer at a time; a write transaction takes its place in the queue when it
begins, not half-way.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.interfaces import DBAPIConnection

from pairplay.labels.schema import HEAD, UTCDateTime, metadata
from pairplay.types import UserError

BUSY_TIMEOUT_MS = 30_000

_NORMAL, _FULL = 1, 2
_PRAGMAS: dict[str, str | int] = {
    "busy_timeout": BUSY_TIMEOUT_MS,
    "journal_mode": "wal",
    "synchronous": _FULL,
    "foreign_keys": 1,
}
_TRIGGERS = {"answers_no_update", "answers_no_delete", "answers_no_replace"}
_WRITE = "pairplay_write"
"""The option of a connection that writes: how safe its commits are."""


class Database:
    """An engine whose transactions are right, over an up-to-date schema. Safe to share between threads."""

    def __init__(self, url_or_path: str | Path) -> None:
        """Open, create or migrate. UserError when that file is no label store or cannot be one."""
        text = str(url_or_path)
        self.url = sa.make_url(text) if "://" in text else sa.URL.create("sqlite", database=text)
        self._is_sqlite = self.url.get_backend_name() == "sqlite"
        # A web server's thread pool has 40 threads; none of them should wait for a connection.
        self._engine = sa.create_engine(self.url, poolclass=sa.QueuePool, pool_size=8, max_overflow=56)
        if self._is_sqlite:
            sa.event.listen(self._engine, "connect", _configure)
            sa.event.listen(self._engine, "begin", _begin)
        self._writer = self._engine.execution_options(**{_WRITE: _FULL})
        self._hasty_writer = self._engine.execution_options(**{_WRITE: _NORMAL})
        # SQLite's own clock, to the millisecond, in the six digits that SQLAlchemy writes and reads.
        clock = "strftime('%Y-%m-%d %H:%M:%f000', 'now')" if self._is_sqlite else "clock_timestamp()"
        self._clock = sa.select(sa.literal_column(clock, UTCDateTime))
        insert = sqlite.insert if self._is_sqlite else postgresql.insert
        self._insert_new = lru_cache(lambda table: insert(table).on_conflict_do_nothing())
        self._watch_lock = threading.Lock()
        self._watcher: sa.PoolProxiedConnection | None = None
        try:
            self._migrate()
            self._check()
        except sa.exc.DBAPIError as error:
            self.close()
            raise UserError(f"cannot open the label store {self}: {error.orig}") from error
        except UserError:
            self.close()
            raise

    def __str__(self) -> str:
        return str(self.url.database) if self._is_sqlite else self.url.render_as_string(hide_password=True)

    def read(self) -> AbstractContextManager[sa.Connection]:
        """A connection for a `with` block: one consistent view, nothing written."""
        return self._engine.connect()

    def write(self, *, durable: bool = True) -> AbstractContextManager[sa.Connection]:
        """A transaction for a `with` block: committed at its end, and on the disk then; rolled back on any error.

        One that is not `durable` waits for no disk (on SQLite, where that takes milliseconds): should the machine lose
        its power before the next durable one, it is as if it had not been.
        """
        return (self._writer if durable else self._hasty_writer).begin()

    def now(self, connection: sa.Connection) -> datetime:
        """The database's clock: the one all leases are measured by."""
        return connection.execute(self._clock).scalar_one().astimezone(UTC)

    def insert_new(self, connection: sa.Connection, table: sa.Table, *rows: Mapping[str, Any]) -> None:
        """Insert each of `rows` unless one of its keys is there already; then the stored row stays as it is."""
        connection.execute(self._insert_new(table), [dict(row) for row in rows])

    def change_token(self) -> str:
        """Differs from the last one when anybody, in any process, has committed since. Costs microseconds on SQLite."""
        if not self._is_sqlite:
            with self.read() as connection:
                return str(connection.exec_driver_sql("SELECT pg_current_snapshot()::text").scalar_one())
        # `data_version` counts the commits of *other* connections, so this one never writes and is kept.
        with self._watch_lock:
            if self._watcher is None:
                self._watcher = self._engine.raw_connection()
            return str(_pragma(self._watcher, "data_version"))

    def close(self) -> None:
        """Give all connections back. The object is not to be used any more."""
        with self._watch_lock:
            if self._watcher is not None:
                self._watcher.close()
                self._watcher = None
        self._engine.dispose()

    def _migrate(self) -> None:
        with self.read() as connection:
            if self._revision(connection) == HEAD:
                return
        # Alembic takes longer to import than an up-to-date store takes to open.
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", "pairplay.labels:migrations")
        # Alembic looks at the revision anew: another process may migrate while this one waits for its turn to write.
        with self._rebuild() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    @contextmanager
    def _rebuild(self) -> Iterator[sa.Connection]:
        """A write transaction that may replace a table to which others refer; all references hold at its end."""
        with self._writer.connect() as connection:
            if not self._is_sqlite:
                with connection.begin():
                    yield connection
                return
            raw = connection.connection.dbapi_connection
            assert raw is not None
            # Before it begins: inside a transaction SQLite ignores this one.
            _set_pragma(raw, "foreign_keys", 0)
            try:
                with connection.begin():
                    yield connection
                    if connection.exec_driver_sql("PRAGMA foreign_key_check").first():
                        raise UserError(f"{self} is a damaged label store, rows of it refer to none: use a copy")
            finally:
                _set_pragma(raw, "foreign_keys", 1)

    def _revision(self, connection: sa.Connection) -> str | None:
        """What the database says of itself; None when it is empty. UserError when it is not ours or from the future."""
        tables = set(sa.inspect(connection).get_table_names())
        if not tables:
            return None
        if "alembic_version" not in tables:
            raise UserError(f"{self} is a database, but not a label store: give another path, or move it away")
        revision = str(connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar())
        if not revision.isdigit() or revision > HEAD:
            raise UserError(
                f"{self} has schema {revision}, and this Pairplay knows schemas up to {HEAD}: upgrade Pairplay"
            )
        return revision

    def _check(self) -> None:
        """What was asked for is what there is: a file system may refuse WAL in silence, a tool may drop a trigger."""
        with self.read() as connection:
            missing = set(metadata.tables) - set(sa.inspect(connection).get_table_names())
            if self._is_sqlite:
                names = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'trigger'").scalars()
                missing |= _TRIGGERS - set(names)
            if missing:
                raise UserError(f"{self} is a damaged label store, it lacks {', '.join(sorted(missing))}: use a copy")
            if not self._is_sqlite:
                return
            for name, wanted in _PRAGMAS.items():
                found = connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                if found != wanted:
                    raise UserError(
                        f"{self}: SQLite answers {name}={found} instead of {wanted}. Labels would not be safe there: "
                        "put the run on a local disk"
                    )


def _configure(connection: DBAPIConnection, record: object) -> None:
    # BEGIN is ours (`_begin`): sqlite3 starts write transactions late, and they fail when a reader turns writer.
    connection.isolation_level = None
    for name, value in _PRAGMAS.items():
        if name == "journal_mode" and _pragma(connection, name) == value:
            continue
        _set_pragma(connection, name, value)


def _set_pragma(connection: DBAPIConnection, name: str, value: str | int) -> None:
    deadline = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            connection.execute(f"PRAGMA {name}={value}")
            return
        except sqlite3.OperationalError as error:
            # Turning WAL on does not wait for its turn as other statements do: a second process may be doing the same.
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(0.01)


def _pragma(connection: DBAPIConnection | sa.PoolProxiedConnection, name: str) -> str | int:
    cursor = connection.cursor()
    try:
        cursor.execute(f"PRAGMA {name}")
        row: Any = cursor.fetchone()
        value: str | int = row[0]
        return value
    finally:
        cursor.close()


def _begin(connection: sa.Connection) -> None:
    safety = connection.get_execution_options().get(_WRITE)
    if safety is None:
        connection.exec_driver_sql("BEGIN")
        return
    raw = connection.connection.dbapi_connection
    assert raw is not None
    _set_pragma(raw, "synchronous", safety)  # now, for inside a transaction it cannot be changed
    connection.exec_driver_sql("BEGIN IMMEDIATE")
