"""Slots of a schedule: each ends as a run or as a recorded skip."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the slots, and up to when a model's schedule has been looked at."""
    op.add_column("models", sa.Column("schedule", sa.Text()))
    op.add_column("models", sa.Column("schedule_seen_at", sa.Text()))
    op.create_table(
        "slots",
        sa.Column("seq", sa.Integer(), primary_key=True),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("due_at", sa.Text(), nullable=False),
        sa.Column("first_at", sa.Text(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Text()),
        sa.Column("skipped", sa.Text()),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.UniqueConstraint("model", "due_at"),
        sqlite_autoincrement=True,
    )
    op.create_index("slots_by_model", "slots", ["model", "seq"])
    op.create_index(
        "slots_one_waits",
        "slots",
        ["model"],
        unique=True,
        sqlite_where=sa.text("run_id IS NULL AND skipped IS NULL"),
    )
