"""The tables of the label store as they are now. How they came to be is in `migrations/versions`.

    labelers      who answers
    segments      what a clip shows: packed frames and actions, and the clip's name
    queries       two segments to compare, whether that is done or was withdrawn, and who holds it now
    answers       append-only: a correction is a new row that supersedes the old one
    progress      one row that the trainer overwrites

The answers of a query form one chain: the first supersedes nothing, and each later one supersedes the one before.
Two unique indexes keep it a chain, so a query never has two answers that count, whatever the code does.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)

HEAD = "0003"
"""The newest revision in `migrations/versions`: what an up-to-date database says of itself."""


class UTCDateTime(TypeDecorator[datetime]):
    """Times with a zone on our side and UTC in the database. A time without a zone is refused."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError(f"time {value.isoformat()} has no time zone")
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        # SQLite keeps no zone; what it keeps was made UTC on the way in.
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

labelers = Table(
    "labelers",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(200), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("created_at", UTCDateTime, nullable=False),
    UniqueConstraint("name", "kind"),
    CheckConstraint("kind IN ('human', 'synthetic')", name="kind"),
)

segments = Table(
    "segments",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("data", LargeBinary, nullable=False),
    Column("clip", String(64), nullable=False),
    Column("length", Integer, nullable=False),
    Column("audit_reward", LargeBinary, nullable=False),
    Column("created_at", UTCDateTime, nullable=False),
)

queries = Table(
    "queries",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("left_segment", ForeignKey("segments.id"), nullable=False),
    Column("right_segment", ForeignKey("segments.id"), nullable=False),
    Column("strategy", String(64), nullable=False),
    Column("score", Float, nullable=False),
    Column("question", Text, nullable=False),
    Column("step", BigInteger, nullable=False),
    Column("created_at", UTCDateTime, nullable=False),
    Column("status", String(16), nullable=False),
    Column("leased_by", ForeignKey("labelers.id")),
    Column("leased_at", UTCDateTime),
    Column("lease_expires_at", UTCDateTime),
    UniqueConstraint("left_segment", "right_segment"),
    CheckConstraint("left_segment <> right_segment", name="two_segments"),
    CheckConstraint("status IN ('open', 'answered', 'skipped', 'expired')", name="status"),
    CheckConstraint("status = 'open' OR leased_by IS NULL", name="lease_while_open"),
    CheckConstraint("(leased_by IS NULL) = (lease_expires_at IS NULL)", name="lease_whole"),
    Index(None, "status", "id"),
)

answers = Table(
    "answers",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("client_uuid", String(64), nullable=False, unique=True),
    Column("query_id", ForeignKey("queries.id"), nullable=False),
    Column("labeler_id", ForeignKey("labelers.id"), nullable=False),
    Column("answer", String(16), nullable=False),
    Column("mu", Float),
    Column("left_shown", ForeignKey("segments.id"), nullable=False),
    Column("shown_at", UTCDateTime),
    Column("answered_at", UTCDateTime),
    Column("recorded_at", UTCDateTime, nullable=False),
    Column("supersedes", Integer, unique=True),
    UniqueConstraint("id", "query_id"),
    ForeignKeyConstraint(["supersedes", "query_id"], ["answers.id", "answers.query_id"]),
    CheckConstraint("answer IN ('left', 'right', 'tie', 'skip', 'withdrawn')", name="answer"),
    CheckConstraint("(answer IN ('skip', 'withdrawn')) = (mu IS NULL)", name="mu"),
    CheckConstraint("answer <> 'withdrawn' OR supersedes IS NOT NULL", name="withdrawn"),
    Index(
        "uq_answers_first",
        "query_id",
        unique=True,
        sqlite_where=text("supersedes IS NULL"),
        postgresql_where=text("supersedes IS NULL"),
    ),
    Index(None, "labeler_id", "id"),
    Index(None, "query_id"),
)

progress = Table(
    "progress",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("data", JSON, nullable=False),
    Column("updated_at", UTCDateTime, nullable=False),
    CheckConstraint("id = 1", name="one_row"),
)
