"""An index by which the answers of one query are found without a walk over all answers."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(op.f("ix_answers_query_id"), "answers", ["query_id"])
