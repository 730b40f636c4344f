"""Model time goes on between batches; evidence that is no longer there lapses."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Remember the model's clock, and when a firing ended unanswered."""
    op.add_column("models", sa.Column("clock_at", sa.Text()))
    op.add_column("models", sa.Column("clock_set_at", sa.Text()))
    op.add_column("firings", sa.Column("lapsed_at", sa.Text()))
    op.drop_index("firings_unanswered", "firings")
    op.create_index(
        "firings_unanswered",
        "firings",
        ["model", "at"],
        sqlite_where=sa.text("run_id IS NULL AND lapsed_at IS NULL"),
    )
