"""What triggers claimed, and which run answered."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, select, update
from sqlalchemy.dialects.sqlite import insert

from ct_daemon.store import schema
from ct_daemon.types import Firing

_T = schema.firings


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedFiring:
    """A firing in the ledger; `run_id` is the run that answered it."""

    seq: int
    firing: Firing
    at: datetime
    run_id: str | None


class Firings:
    """One row for each piece of evidence (`dedupe_key`) that a trigger brought."""

    def add(self, tx: Connection, firing: Firing, at: datetime) -> bool:
        """Record a firing; False if this evidence is known already."""
        fresh = insert(_T).values(
            model=firing.model,
            trigger=firing.trigger,
            dedupe_key=firing.dedupe_key,
            reason=firing.reason,
            evidence=dict(firing.evidence),
            at=at,
        )
        once = fresh.on_conflict_do_nothing(index_elements=["model", "trigger", "dedupe_key"])
        return tx.execute(once).rowcount == 1

    def unanswered(self, tx: Connection, model: str) -> tuple[datetime | None, datetime | None]:
        """When the first and the last firing that no run has answered were seen."""
        waiting = select(func.min(_T.c.at), func.max(_T.c.at)).where(_T.c.model == model, schema.UNANSWERED)
        oldest, newest = tx.execute(waiting).one()
        return oldest, newest

    def answer(self, tx: Connection, model: str, run_id: str) -> None:
        """The run answers all firings that no run has answered yet."""
        tx.execute(update(_T).where(_T.c.model == model, schema.UNANSWERED).values(run_id=run_id))

    def list(self, tx: Connection, model: str, limit: int = 100) -> tuple[RecordedFiring, ...]:
        """Firings, newest first."""
        rows = tx.execute(select(_T).where(_T.c.model == model).order_by(_T.c.seq.desc()).limit(limit))
        return tuple(
            RecordedFiring(
                seq=row.seq,
                firing=Firing(
                    model=row.model,
                    trigger=row.trigger,
                    dedupe_key=row.dedupe_key,
                    reason=row.reason,
                    evidence=row.evidence,
                ),
                at=row.at,
                run_id=row.run_id,
            )
            for row in rows
        )
