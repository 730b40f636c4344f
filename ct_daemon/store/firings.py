"""What triggers claimed, and which run answered."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select, update
from sqlalchemy.dialects.sqlite import insert

from ct_daemon.store import schema
from ct_daemon.types import Firing, TriggerKind

_T = schema.firings


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedFiring:
    """A firing in the ledger; `run_id` is the run that answered it, `lapsed_at` when its evidence was gone before."""

    seq: int
    firing: Firing
    at: datetime
    run_id: str | None
    lapsed_at: datetime | None = None


class Firings:
    """One row for each piece of evidence (`dedupe_key`) that a trigger brought."""

    def add(self, tx: Connection, firing: Firing, at: datetime) -> bool:
        """Record a firing; False if this evidence is known already. Evidence that had lapsed counts as new."""
        fresh = insert(_T).values(
            model=firing.model,
            trigger=firing.trigger,
            dedupe_key=firing.dedupe_key,
            reason=firing.reason,
            evidence=dict(firing.evidence),
            at=at,
        )
        once = fresh.on_conflict_do_update(
            index_elements=["model", "trigger", "dedupe_key"],
            set_={"at": fresh.excluded.at, "lapsed_at": None},
            where=_T.c.lapsed_at.is_not(None) & _T.c.run_id.is_(None),
        )
        return tx.execute(once).rowcount == 1

    def lapse(self, tx: Connection, model: str, triggers: Iterable[TriggerKind], at: datetime) -> None:
        """These triggers are quiet: what they claimed and no run has answered is no longer so."""
        quiet = _T.c.trigger.in_(tuple(triggers))
        tx.execute(update(_T).where(_T.c.model == model, quiet, schema.UNANSWERED).values(lapsed_at=at))

    def unanswered(
        self, tx: Connection, model: str, claims: Iterable[Firing]
    ) -> tuple[datetime | None, datetime | None]:
        """When the first and the last evidence that no run has answered were seen; (None, None) if all of what is
        claimed now has been answered.

        Evidence that newer evidence of the same trigger took the place of counts, so that evidence which keeps
        coming is not waited for without end. Demands are no evidence: they wait by themselves.
        """
        claimed = {(firing.trigger, firing.dedupe_key) for firing in claims}
        waiting = tx.execute(
            select(_T.c.trigger, _T.c.dedupe_key, _T.c.at)
            .where(_T.c.model == model, schema.UNANSWERED, _T.c.trigger != TriggerKind.ON_DEMAND)
            .order_by(_T.c.at)
        ).all()
        if not any((row.trigger, row.dedupe_key) in claimed for row in waiting):
            return None, None
        return waiting[0].at, waiting[-1].at

    def waits(self, tx: Connection, firing: Firing) -> bool:
        """Whether no run has answered this evidence yet."""
        same = (_T.c.model == firing.model) & (_T.c.trigger == firing.trigger)
        found = select(_T.c.seq).where(same, _T.c.dedupe_key == firing.dedupe_key, schema.UNANSWERED)
        return tx.execute(found.limit(1)).first() is not None

    def answer(self, tx: Connection, model: str, run_id: str) -> None:
        """The run answers all firings that no run has answered yet."""
        tx.execute(update(_T).where(_T.c.model == model, schema.UNANSWERED).values(run_id=run_id))

    def list(
        self,
        tx: Connection,
        model: str,
        limit: int = 100,
        *,
        trigger: TriggerKind | None = None,
        before_seq: int | None = None,
    ) -> tuple[RecordedFiring, ...]:
        """Firings of one trigger or of all, newest first, from before `before_seq`."""
        found = select(_T).where(_T.c.model == model)
        if trigger is not None:
            found = found.where(_T.c.trigger == trigger)
        if before_seq is not None:
            found = found.where(_T.c.seq < before_seq)
        rows = tx.execute(found.order_by(_T.c.seq.desc()).limit(limit))
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
                lapsed_at=row.lapsed_at,
            )
            for row in rows
        )
