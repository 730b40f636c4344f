"""Drift windows that were measured."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, select
from sqlalchemy.dialects.sqlite import insert

from ct_daemon.store import schema
from ct_daemon.store.columns import columns_of, first, values
from ct_daemon.types import DriftReport, Window

_T = schema.windows
_WINDOW = select(*columns_of(_T, Window))
_KEY = ("model", "baseline_digest", "version", "last_batch_seq")


class Windows:
    """One row a window; a window is named by its baseline, its version and its last batch."""

    def add(
        self,
        tx: Connection,
        *,
        model: str,
        version: int,
        baseline_digest: str,
        first_batch_seq: int,
        last_batch_seq: int,
        report: DriftReport,
        measured_at: datetime,
    ) -> Window:
        """Record a window; one that is recorded already is returned as it was."""
        fresh = insert(_T).values(
            model=model,
            version=version,
            baseline_digest=baseline_digest,
            first_batch_seq=first_batch_seq,
            last_batch_seq=last_batch_seq,
            report=report,
            measured_at=measured_at,
        )
        tx.execute(fresh.on_conflict_do_nothing(index_elements=_KEY))
        named = {
            "model": model,
            "baseline_digest": baseline_digest,
            "version": version,
            "last_batch_seq": last_batch_seq,
        }
        found = first(tx, Window, _WINDOW.filter_by(**named))
        if found is None:
            raise RuntimeError(f"window {named} is not there after it was written")
        return found

    def list(
        self,
        tx: Connection,
        model: str,
        *,
        version: int | None = None,
        baseline_digest: str | None = None,
        limit: int = 100,
    ) -> tuple[Window, ...]:
        """The newest `limit` windows, oldest first."""
        found = _WINDOW.where(_T.c.model == model)
        if version is not None:
            found = found.where(_T.c.version == version)
        if baseline_digest is not None:
            found = found.where(_T.c.baseline_digest == baseline_digest)
        return values(tx, Window, found.order_by(_T.c.seq.desc()).limit(limit))[::-1]
