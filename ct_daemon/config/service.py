"""Limits of the whole daemon, and what it keeps."""

from __future__ import annotations

from pydantic import Field

from ct_daemon.config.values import Duration, Strict


class Limits(Strict):
    """Limits of the whole daemon."""

    runs: int = Field(default=1, ge=1, le=64, description="Runs at the same time, all models together.")
    attempts: int = Field(
        default=3, ge=1, le=20, description="How often a run is taken up again after a crash."
    )
    worker_memory_mb: int = Field(
        default=4096, ge=256, description="Memory of the process that reads and scores."
    )
    worker_time: Duration = Field(default=300.0, gt=0, description="Longest time for one request to it.")
    worker_idle: Duration = Field(default=60.0, description="It ends after so long without work.")
    stalled_after: Duration = Field(
        default=60.0,
        gt=0,
        description="The loop counts as stalled on /healthz when it shows nothing for so long.",
    )
    drain: Duration = Field(default=20.0, description="On SIGTERM, a trainer may go on for so long.")


class Retention(Strict):
    """What is kept. Nothing that a kept version refers to is ever deleted."""

    decisions: int = Field(default=10_000, ge=10, description="Decisions per model.")
    windows: int = Field(default=1_000, ge=10, description="Drift reports per model.")
    versions: int = Field(
        default=10, ge=2, description="Versions per model; the live one and the one before stay."
    )
    quarantined: int = Field(default=1_000, ge=0, description="Copies of quarantined files per model.")
    run_logs: int = Field(
        default=200, ge=1, description="Runs, all models together, whose output and metrics are kept."
    )
    rows: int | None = Field(
        default=None, ge=1000, description="Stored rows per model beyond the training window (default: all)."
    )
