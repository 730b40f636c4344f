"""Slots of schedules, from the moment they came until a run served them or a reason ended them."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, delete, select, update
from sqlalchemy.dialects.sqlite import insert

from ct_daemon.store import schema
from ct_daemon.store.columns import columns_of, first, values
from ct_daemon.types import Slot

_T = schema.slots
_SLOT = select(*columns_of(_T, Slot))


class Slots:
    """One row a slot, or a stretch of slots that were skipped together. At most one of a model waits."""

    def add(
        self,
        tx: Connection,
        model: str,
        due_at: datetime,
        *,
        first_at: datetime | None = None,
        count: int = 1,
        skipped: str | None = None,
        detail: str = "",
    ) -> bool:
        """Record a slot that came; False if it is known already."""
        fresh = insert(_T).values(
            model=model,
            due_at=due_at,
            first_at=first_at or due_at,
            count=count,
            skipped=skipped,
            detail=detail,
        )
        return tx.execute(fresh.on_conflict_do_nothing(index_elements=["model", "due_at"])).rowcount == 1

    def waiting(self, tx: Connection, model: str) -> Slot | None:
        """The slot that waits for a run."""
        return first(tx, Slot, _SLOT.where(_T.c.model == model, schema.SLOT_WAITS))

    def skip(self, tx: Connection, model: str, reason: str, detail: str) -> None:
        """The slot that waits, if one does, gets no run."""
        waits = update(_T).where(_T.c.model == model, schema.SLOT_WAITS)
        tx.execute(waits.values(skipped=reason, detail=detail))

    def serve(self, tx: Connection, model: str, run_id: str) -> None:
        """The run serves the slot that waits, if one does."""
        tx.execute(update(_T).where(_T.c.model == model, schema.SLOT_WAITS).values(run_id=run_id))

    def list(
        self, tx: Connection, model: str, *, before_seq: int | None = None, limit: int = 100
    ) -> tuple[Slot, ...]:
        """Slots, newest first, from before `before_seq`."""
        found = _SLOT.where(_T.c.model == model)
        if before_seq is not None:
            found = found.where(_T.c.seq < before_seq)
        return values(tx, Slot, found.order_by(_T.c.seq.desc()).limit(limit))

    def keep(self, tx: Connection, model: str, newest: int) -> None:
        """Forget all but the newest so many."""
        border = select(_T.c.seq).where(_T.c.model == model).order_by(_T.c.seq.desc()).limit(1).offset(newest)
        old = tx.execute(border).scalar()
        if old is not None:
            tx.execute(delete(_T).where(_T.c.model == model, _T.c.seq <= old))
