"""The tables of the newest revision. Change them together with a new module in `migrations/versions/`.

What must be unique is unique here, by an index, whatever the code above believes. A condition of a partial index
is a constant: SQLite uses such an index only for a query that spells the same condition.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.types import TypeEngine

from ct_daemon.store.columns import AnyText, Json, OneOf, UtcTime
from ct_daemon.types import (
    BatchKind,
    BatchStatus,
    Contract,
    Decision,
    DeploymentState,
    DriftReport,
    Quality,
    Rule,
    Situation,
    Snapshot,
    TriggerKind,
    Verdict,
)

metadata = MetaData()

ACCEPTED = text("status = 'accepted'")
"""A batch that counts."""
PENDING = text("run_id IS NULL AND cancelled = 0")
"""A demand that waits."""
UNANSWERED = text("run_id IS NULL AND lapsed_at IS NULL")
"""A firing that no run has answered and whose evidence is still there."""
SLOT_WAITS = text("run_id IS NULL AND skipped IS NULL")
"""A slot of a schedule that neither a run has served nor a reason has ended."""
ACTIVE = text("active = 1")
"""A run that has not ended."""


def _seq() -> Column[int]:
    """A number that grows with each row; numbers of deleted rows don't come again (`sqlite_autoincrement`)."""
    return Column("seq", Integer, primary_key=True)


def _must(name: str, kind: type[TypeEngine[Any]] | TypeEngine[Any], *more: ForeignKey) -> Column[Any]:
    return Column(name, kind, *more, nullable=False)


models = Table(
    "models",
    metadata,
    Column("model", Text, primary_key=True),
    _must("paused", Boolean),
    Column("pause_reason", Text),
    Column("contract", Json(Contract)),
    Column("event_until_at", UtcTime),
    Column("last_error", AnyText),
    _must("window_seq_from", Integer),
    Column("clock_at", UtcTime),
    Column("clock_set_at", UtcTime),
    Column("schedule", Text),
    Column("schedule_seen_at", UtcTime),
)

batches = Table(
    "batches",
    metadata,
    _seq(),
    _must("model", Text),
    _must("source", Text),
    _must("name", AnyText),
    _must("kind", OneOf(BatchKind)),
    _must("status", OneOf(BatchStatus)),
    _must("digest", Text),
    _must("dedupe_key", Text),
    _must("size_bytes", Integer),
    _must("arrived_at", UtcTime),
    _must("rows", Integer),
    _must("labelled_rows", Integer),
    Column("object_path", Text),
    Column("event_from_at", UtcTime),
    Column("event_until_at", UtcTime),
    Column("reason", Text),
    _must("detail", AnyText),
    Index("batches_by_model", "model", "seq"),
    # Covers the totals, which are asked for at every tick.
    Index("batches_by_status", "model", "status", "seq", "kind", "rows", "labelled_rows"),
    Index("batches_by_digest", "model", "kind", "digest"),
    Index("batches_by_name", "model", "source", "name", "seq"),
    Index("batches_taken_once", "model", "kind", "dedupe_key", unique=True, sqlite_where=ACCEPTED),
    sqlite_autoincrement=True,
)

files = Table(
    "files",
    metadata,
    _must("model", Text),
    _must("source", Text),
    _must("name", AnyText),
    _must("size_bytes", Integer),
    _must("mtime_ns", Integer),
    _must("inode", Text),  # up to 2**64 - 1, beyond SQLite's integers
    _must("batch_seq", Integer, ForeignKey("batches.seq")),
    PrimaryKeyConstraint("model", "source", "name"),
)

predictions = Table(
    "predictions",
    metadata,
    _must("model", Text),
    _must("batch_seq", Integer, ForeignKey("batches.seq")),
    _must("version", Integer),
    _must("path", Text),
    _must("rows", Integer),
    PrimaryKeyConstraint("model", "batch_seq", "version"),
    Index("predictions_by_version", "model", "version", "batch_seq"),
)

outcomes = Table(
    "outcomes",
    metadata,
    _must("model", Text),
    _must("batch_seq", Integer, ForeignKey("batches.seq")),
    _must("version", Integer),
    _must("rows", Integer),
    _must("error_sum", Float),
    _must("squared_sum", Float),
    PrimaryKeyConstraint("model", "batch_seq", "version"),
    Index("outcomes_by_version", "model", "version", "batch_seq"),
)

windows = Table(
    "windows",
    metadata,
    _seq(),
    _must("model", Text),
    _must("version", Integer),
    _must("baseline_digest", Text),
    _must("first_batch_seq", Integer),
    _must("last_batch_seq", Integer),
    _must("report", Json(DriftReport, sparse=True)),
    _must("measured_at", UtcTime),
    UniqueConstraint("model", "baseline_digest", "version", "last_batch_seq"),
    Index("windows_by_model", "model", "seq"),
    sqlite_autoincrement=True,
)

demands = Table(
    "demands",
    metadata,
    Column("id", Text, primary_key=True),
    _must("model", Text),
    _must("origin", Text),
    _must("dedupe_key", Text),
    _must("force", Boolean),
    _must("asked_at", UtcTime),
    Column("run_id", Text),
    _must("cancelled", Boolean),
    _must("note", Text),
    Column("adopt", Json(dict)),
    UniqueConstraint("model", "dedupe_key"),
    Index("demands_pending", "model", "asked_at", "id", sqlite_where=PENDING),
)

firings = Table(
    "firings",
    metadata,
    _seq(),
    _must("model", Text),
    _must("trigger", OneOf(TriggerKind)),
    _must("dedupe_key", Text),
    _must("reason", Text),
    _must("evidence", Json(dict)),
    _must("at", UtcTime),
    Column("run_id", Text),
    Column("lapsed_at", UtcTime),
    UniqueConstraint("model", "trigger", "dedupe_key"),
    Index("firings_by_model", "model", "seq"),
    Index("firings_unanswered", "model", "at", sqlite_where=UNANSWERED),
    sqlite_autoincrement=True,
)

slots = Table(
    "slots",
    metadata,
    _seq(),
    _must("model", Text),
    _must("due_at", UtcTime),
    _must("first_at", UtcTime),
    _must("count", Integer),
    Column("run_id", Text),
    Column("skipped", Text),
    _must("detail", Text),
    UniqueConstraint("model", "due_at"),
    Index("slots_by_model", "model", "seq"),
    Index("slots_one_waits", "model", unique=True, sqlite_where=SLOT_WAITS),
    sqlite_autoincrement=True,
)

decisions = Table(
    "decisions",
    metadata,
    _seq(),
    _must("model", Text),
    _must("verdict", OneOf(Verdict)),
    _must("rule", OneOf(Rule)),
    _must("decision", Json(Decision)),
    _must("situation", Json(Situation)),
    _must("observation", Json(dict)),
    _must("first_at", UtcTime),
    _must("last_at", UtcTime),
    _must("count", Integer),
    Column("run_id", Text),
    Index("decisions_by_model", "model", "seq"),
    sqlite_autoincrement=True,
)

runs = Table(
    "runs",
    metadata,
    _seq(),
    _must("id", Text),
    _must("model", Text),
    _must("state", Text),
    _must("active", Boolean),
    _must("attempt", Integer),
    _must("decision_seq", Integer, ForeignKey("decisions.seq")),
    _must("created_at", UtcTime),
    _must("decided_at", UtcTime),
    _must("updated_at", UtcTime),
    _must("trigger", Text),
    _must("cancel_requested", Boolean),
    Column("reason", Text),
    _must("detail", AnyText),
    Column("snapshot", Text),
    Column("candidate", Integer),
    Column("child_pid", Integer),
    Column("child_started", Float),
    _must("results", Json(dict)),
    UniqueConstraint("id"),
    Index("runs_by_model", "model", "seq"),
    Index("runs_by_decision", "decision_seq"),
    Index("runs_one_active", "model", unique=True, sqlite_where=ACTIVE),
    Index("runs_queue", "seq", sqlite_where=ACTIVE),
    sqlite_autoincrement=True,
)

transitions = Table(
    "transitions",
    metadata,
    _seq(),
    _must("run_id", Text, ForeignKey("runs.id")),
    Column("from_state", Text),
    _must("to_state", Text),
    _must("attempt", Integer),
    _must("at", UtcTime),
    Column("reason", Text),
    _must("detail", AnyText),
    Index("transitions_by_run", "run_id", "seq"),
    sqlite_autoincrement=True,
)

snapshots = Table(
    "snapshots",
    metadata,
    Column("digest", Text, primary_key=True),
    _must("model", Text),
    _must("rows", Integer),
    _must("snapshot", Json(Snapshot)),
    Index("snapshots_by_model", "model"),
)

# A number stays taken when its version is deleted, so that it never names anything else.
version_numbers = Table(
    "version_numbers",
    metadata,
    _must("model", Text),
    _must("version", Integer),
    _must("run_id", Text),
    PrimaryKeyConstraint("model", "version"),
    UniqueConstraint("model", "run_id"),
)

versions = Table(
    "versions",
    metadata,
    _must("model", Text),
    _must("version", Integer),
    _must("run_id", Text),
    _must("path", Text),
    _must("digest", Text),
    _must("baseline_digest", Text),
    _must("snapshot", Text),
    _must("created_at", UtcTime),
    Column("quality", Json(Quality)),
    PrimaryKeyConstraint("model", "version"),
)

deployments = Table(
    "deployments",
    metadata,
    _seq(),
    _must("model", Text),
    _must("version", Integer),
    _must("baseline_digest", Text),
    _must("kind", Text),
    _must("state", OneOf(DeploymentState)),
    _must("at", UtcTime),
    _must("decided_at", UtcTime),
    Column("run_id", Text),
    Column("previous", Integer),
    UniqueConstraint("run_id"),
    Index("deployments_by_model", "model", "seq"),
    sqlite_autoincrement=True,
)
