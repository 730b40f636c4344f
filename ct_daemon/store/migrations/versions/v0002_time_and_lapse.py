"""Model time goes on between batches; evidence that is no longer there lapses; a grown file is found by name."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the model's clock, the end of an unanswered firing, and an index of names."""
    op.add_column("models", sa.Column("clock_at", sa.Text()))
    op.add_column("models", sa.Column("clock_set_at", sa.Text()))
    op.execute("UPDATE models SET clock_at = event_until_at")
    op.add_column("firings", sa.Column("lapsed_at", sa.Text()))
    op.create_index("batches_by_name", "batches", ["model", "source", "name", "seq"])
    op.drop_index("firings_unanswered", "firings")
    op.create_index(
        "firings_unanswered",
        "firings",
        ["model", "at"],
        sqlite_where=sa.text("run_id IS NULL AND lapsed_at IS NULL"),
    )
