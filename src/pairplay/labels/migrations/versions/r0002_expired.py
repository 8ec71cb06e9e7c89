"""Queries may expire: one more status. Every row, key, index and trigger stays what it was."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_STATUS = "status IN ('open', 'answered', 'skipped', 'expired')"
_COLUMNS = (
    "id, left_segment, right_segment, strategy, score, question, step, created_at, status, leased_by, leased_at, "
    "lease_expires_at"
)


def upgrade() -> None:
    if op.get_context().dialect.name == "sqlite":
        _rebuild()
        return
    op.drop_constraint(op.f("ck_queries_status"), "queries")
    op.create_check_constraint(op.f("ck_queries_status"), "queries", _STATUS)


def _rebuild() -> None:
    """SQLite cannot change a check, only copy the table (sqlite.org/lang_altertable.html, section 7).

    `answers` refers to `queries` by name and finds the new one there: the store opens a migration with foreign keys
    off, and looks whether all still hold before it commits.
    """
    op.create_table(
        "queries_new",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("left_segment", sa.String(64), nullable=False),
        sa.Column("right_segment", sa.String(64), nullable=False),
        sa.Column("strategy", sa.String(64), nullable=False),
        sa.Column("score", sa.Float, nullable=False),
        sa.Column("question", sa.Text, nullable=False),
        sa.Column("step", sa.BigInteger, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("leased_by", sa.Integer),
        sa.Column("leased_at", _TIME),
        sa.Column("lease_expires_at", _TIME),
        # op.f: by the names that the table has, not after that of the copy.
        sa.PrimaryKeyConstraint("id", name=op.f("pk_queries")),
        sa.ForeignKeyConstraint(["left_segment"], ["segments.id"], name=op.f("fk_queries_left_segment")),
        sa.ForeignKeyConstraint(["right_segment"], ["segments.id"], name=op.f("fk_queries_right_segment")),
        sa.ForeignKeyConstraint(["leased_by"], ["labelers.id"], name=op.f("fk_queries_leased_by")),
        sa.UniqueConstraint("left_segment", "right_segment", name=op.f("uq_queries_left_segment_right_segment")),
        sa.CheckConstraint("left_segment <> right_segment", name=op.f("ck_queries_two_segments")),
        sa.CheckConstraint(_STATUS, name=op.f("ck_queries_status")),
        sa.CheckConstraint("status = 'open' OR leased_by IS NULL", name=op.f("ck_queries_lease_while_open")),
        sa.CheckConstraint("(leased_by IS NULL) = (lease_expires_at IS NULL)", name=op.f("ck_queries_lease_whole")),
    )
    op.execute(f"INSERT INTO queries_new ({_COLUMNS}) SELECT {_COLUMNS} FROM queries")  # noqa: S608 - our own constant
    op.drop_table("queries")
    op.rename_table("queries_new", "queries")
    op.create_index(op.f("ix_queries_status_id"), "queries", ["status", "id"])
