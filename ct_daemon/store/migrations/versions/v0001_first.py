"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make all tables in an empty file."""
    op.create_table(
        "models",
        sa.Column("model", sa.Text(), primary_key=True),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("pause_reason", sa.Text()),
        sa.Column("contract", sa.Text()),
        sa.Column("event_until_at", sa.Text()),
        sa.Column("last_error", sa.Text()),
        sa.Column("window_seq_from", sa.Integer(), nullable=False),
    )

    op.create_table(
        "batches",
        sa.Column("seq", sa.Integer(), primary_key=True),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("dedupe_key", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.Integer(), nullable=False),
        sa.Column("arrived_at", sa.Text(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("labelled_rows", sa.Integer(), nullable=False),
        sa.Column("object_path", sa.Text()),
        sa.Column("event_from_at", sa.Text()),
        sa.Column("event_until_at", sa.Text()),
        sa.Column("reason", sa.Text()),
        sa.Column("detail", sa.Text(), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("batches_by_digest", "batches", ["model", "kind", "digest"])
    op.create_index("batches_by_model", "batches", ["model", "seq"])
    op.create_index(
        "batches_by_status", "batches", ["model", "status", "seq", "kind", "rows", "labelled_rows"]
    )
    op.create_index(
        "batches_taken_once",
        "batches",
        ["model", "kind", "dedupe_key"],
        unique=True,
        sqlite_where=sa.text("status = 'accepted'"),
    )

    op.create_table(
        "files",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.Integer(), nullable=False),
        sa.Column("mtime_ns", sa.Integer(), nullable=False),
        sa.Column("inode", sa.Text(), nullable=False),
        sa.Column("batch_seq", sa.Integer(), sa.ForeignKey("batches.seq"), nullable=False),
        sa.PrimaryKeyConstraint("model", "source", "name"),
    )

    op.create_table(
        "predictions",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("batch_seq", sa.Integer(), sa.ForeignKey("batches.seq"), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("model", "batch_seq", "version"),
    )
    op.create_index("predictions_by_version", "predictions", ["model", "version", "batch_seq"])

    op.create_table(
        "outcomes",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("batch_seq", sa.Integer(), sa.ForeignKey("batches.seq"), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("error_sum", sa.Float(), nullable=False),
        sa.Column("squared_sum", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("model", "batch_seq", "version"),
    )
    op.create_index("outcomes_by_version", "outcomes", ["model", "version", "batch_seq"])

    op.create_table(
        "windows",
        sa.Column("seq", sa.Integer(), primary_key=True),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("baseline_digest", sa.Text(), nullable=False),
        sa.Column("first_batch_seq", sa.Integer(), nullable=False),
        sa.Column("last_batch_seq", sa.Integer(), nullable=False),
        sa.Column("report", sa.Text(), nullable=False),
        sa.Column("measured_at", sa.Text(), nullable=False),
        sa.UniqueConstraint("model", "baseline_digest", "version", "last_batch_seq"),
        sqlite_autoincrement=True,
    )
    op.create_index("windows_by_model", "windows", ["model", "seq"])

    op.create_table(
        "demands",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("dedupe_key", sa.Text(), nullable=False),
        sa.Column("force", sa.Boolean(), nullable=False),
        sa.Column("asked_at", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text()),
        sa.Column("cancelled", sa.Boolean(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.UniqueConstraint("model", "dedupe_key"),
    )
    op.create_index(
        "demands_pending",
        "demands",
        ["model", "asked_at", "id"],
        sqlite_where=sa.text("run_id IS NULL AND cancelled = 0"),
    )

    op.create_table(
        "firings",
        sa.Column("seq", sa.Integer(), primary_key=True),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("dedupe_key", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text()),
        sa.UniqueConstraint("model", "trigger", "dedupe_key"),
        sqlite_autoincrement=True,
    )
    op.create_index("firings_by_model", "firings", ["model", "seq"])
    op.create_index("firings_unanswered", "firings", ["model", "at"], sqlite_where=sa.text("run_id IS NULL"))

    op.create_table(
        "decisions",
        sa.Column("seq", sa.Integer(), primary_key=True),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("situation", sa.Text(), nullable=False),
        sa.Column("observation", sa.Text(), nullable=False),
        sa.Column("first_at", sa.Text(), nullable=False),
        sa.Column("last_at", sa.Text(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Text()),
        sqlite_autoincrement=True,
    )
    op.create_index("decisions_by_model", "decisions", ["model", "seq"])

    op.create_table(
        "runs",
        sa.Column("seq", sa.Integer(), primary_key=True),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("decision_seq", sa.Integer(), sa.ForeignKey("decisions.seq"), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("decided_at", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.Text(), nullable=False),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("snapshot", sa.Text()),
        sa.Column("candidate", sa.Integer()),
        sa.Column("child_pid", sa.Integer()),
        sa.Column("child_started", sa.Float()),
        sa.Column("results", sa.Text(), nullable=False),
        sa.UniqueConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index("runs_by_decision", "runs", ["decision_seq"])
    op.create_index("runs_by_model", "runs", ["model", "seq"])
    op.create_index("runs_one_active", "runs", ["model"], unique=True, sqlite_where=sa.text("active = 1"))
    op.create_index("runs_queue", "runs", ["seq"], sqlite_where=sa.text("active = 1"))

    op.create_table(
        "transitions",
        sa.Column("seq", sa.Integer(), primary_key=True),
        sa.Column("run_id", sa.Text(), sa.ForeignKey("runs.id"), nullable=False),
        sa.Column("from_state", sa.Text()),
        sa.Column("to_state", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("detail", sa.Text(), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("transitions_by_run", "transitions", ["run_id", "seq"])

    op.create_table(
        "snapshots",
        sa.Column("digest", sa.Text(), primary_key=True),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("snapshot", sa.Text(), nullable=False),
    )
    op.create_index("snapshots_by_model", "snapshots", ["model"])

    op.create_table(
        "version_numbers",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("model", "version"),
        sa.UniqueConstraint("model", "run_id"),
    )

    op.create_table(
        "versions",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("baseline_digest", sa.Text(), nullable=False),
        sa.Column("snapshot", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("quality", sa.Text()),
        sa.PrimaryKeyConstraint("model", "version"),
    )

    op.create_table(
        "deployments",
        sa.Column("seq", sa.Integer(), primary_key=True),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("baseline_digest", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.Column("decided_at", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text()),
        sa.Column("previous", sa.Integer()),
        sa.UniqueConstraint("run_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("deployments_by_model", "deployments", ["model", "seq"])
