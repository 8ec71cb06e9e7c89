"""The first tables, and the triggers that make answers append-only."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)

# REPLACE deletes without firing the DELETE trigger, hence the third one. PostgreSQL has no REPLACE.
_SQLITE_TRIGGERS = (
    """
    CREATE TRIGGER answers_no_update BEFORE UPDATE ON answers
    BEGIN SELECT RAISE(ABORT, 'answers are append-only: no UPDATE'); END
    """,
    """
    CREATE TRIGGER answers_no_delete BEFORE DELETE ON answers
    BEGIN SELECT RAISE(ABORT, 'answers are append-only: no DELETE'); END
    """,
    """
    CREATE TRIGGER answers_no_replace BEFORE INSERT ON answers
    WHEN EXISTS (
        SELECT 1 FROM answers
        WHERE id = NEW.id OR client_uuid = NEW.client_uuid OR supersedes = NEW.supersedes
            OR (query_id = NEW.query_id AND supersedes IS NULL AND NEW.supersedes IS NULL)
    )
    BEGIN SELECT RAISE(ABORT, 'answers are append-only: no REPLACE'); END
    """,
)
_POSTGRESQL_TRIGGERS = (
    """
    CREATE FUNCTION answers_refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'answers are append-only: no %', TG_OP; END $$
    """,
    "CREATE TRIGGER answers_no_update BEFORE UPDATE ON answers FOR EACH ROW EXECUTE FUNCTION answers_refuse()",
    "CREATE TRIGGER answers_no_delete BEFORE DELETE ON answers FOR EACH ROW EXECUTE FUNCTION answers_refuse()",
    "CREATE TRIGGER answers_no_truncate BEFORE TRUNCATE ON answers EXECUTE FUNCTION answers_refuse()",
)


def upgrade() -> None:
    op.create_table(
        "labelers",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.UniqueConstraint("name", "kind"),
        sa.CheckConstraint("kind IN ('human', 'synthetic')", name="kind"),
    )
    op.create_table(
        "segments",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.Column("clip", sa.String(64), nullable=False),
        sa.Column("length", sa.Integer, nullable=False),
        sa.Column("audit_reward", sa.LargeBinary, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
    )
    op.create_table(
        "queries",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("left_segment", sa.String(64), sa.ForeignKey("segments.id"), nullable=False),
        sa.Column("right_segment", sa.String(64), sa.ForeignKey("segments.id"), nullable=False),
        sa.Column("strategy", sa.String(64), nullable=False),
        sa.Column("score", sa.Float, nullable=False),
        sa.Column("question", sa.Text, nullable=False),
        sa.Column("step", sa.BigInteger, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("leased_by", sa.Integer, sa.ForeignKey("labelers.id")),
        sa.Column("leased_at", _TIME),
        sa.Column("lease_expires_at", _TIME),
        sa.UniqueConstraint("left_segment", "right_segment"),
        sa.CheckConstraint("left_segment <> right_segment", name="two_segments"),
        sa.CheckConstraint("status IN ('open', 'answered', 'skipped')", name="status"),
        sa.CheckConstraint("status = 'open' OR leased_by IS NULL", name="lease_while_open"),
        sa.CheckConstraint("(leased_by IS NULL) = (lease_expires_at IS NULL)", name="lease_whole"),
    )
    op.create_index(None, "queries", ["status", "id"])
    op.create_table(
        "answers",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("client_uuid", sa.String(64), nullable=False, unique=True),
        sa.Column("query_id", sa.Integer, sa.ForeignKey("queries.id"), nullable=False),
        sa.Column("labeler_id", sa.Integer, sa.ForeignKey("labelers.id"), nullable=False),
        sa.Column("answer", sa.String(16), nullable=False),
        sa.Column("mu", sa.Float),
        sa.Column("left_shown", sa.String(64), sa.ForeignKey("segments.id"), nullable=False),
        sa.Column("shown_at", _TIME),
        sa.Column("answered_at", _TIME),
        sa.Column("recorded_at", _TIME, nullable=False),
        sa.Column("supersedes", sa.Integer, unique=True),
        sa.UniqueConstraint("id", "query_id"),
        sa.ForeignKeyConstraint(["supersedes", "query_id"], ["answers.id", "answers.query_id"]),
        sa.CheckConstraint("answer IN ('left', 'right', 'tie', 'skip', 'withdrawn')", name="answer"),
        sa.CheckConstraint("(answer IN ('skip', 'withdrawn')) = (mu IS NULL)", name="mu"),
        sa.CheckConstraint("answer <> 'withdrawn' OR supersedes IS NOT NULL", name="withdrawn"),
    )
    first = sa.text("supersedes IS NULL")
    op.create_index(
        "uq_answers_first", "answers", ["query_id"], unique=True, sqlite_where=first, postgresql_where=first
    )
    op.create_index(None, "answers", ["labeler_id", "id"])
    op.create_table(
        "progress",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("data", sa.JSON, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.CheckConstraint("id = 1", name="one_row"),
    )
    sqlite = op.get_context().dialect.name == "sqlite"
    for statement in _SQLITE_TRIGGERS if sqlite else _POSTGRESQL_TRIGGERS:
        op.execute(statement)
