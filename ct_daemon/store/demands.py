"""People's wishes for a run, from the acknowledgement until a run serves them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

from sqlalchemy import Connection, or_, select, update
from sqlalchemy.dialects.sqlite import insert

from ct_daemon.errors import ConflictError, UnknownNameError
from ct_daemon.store import schema
from ct_daemon.store.columns import columns_of, first, values
from ct_daemon.types import Demand

_T = schema.demands
_DEMAND = select(*columns_of(_T, Demand))


class Demands:
    """One row a demand; asking twice with the same key is asking once."""

    def add(self, tx: Connection, demand: Demand) -> tuple[Demand, bool]:
        """Record a demand.

        Returns
        -------
        (Demand, bool)
            The recorded one, and whether it is new. A repeat (same model and `dedupe_key`) gives the first one.
        """
        fresh = insert(_T).values(**asdict(demand))
        once = fresh.on_conflict_do_nothing(index_elements=["model", "dedupe_key"])
        if tx.execute(once).rowcount:
            return demand, True
        same = _DEMAND.where(_T.c.model == demand.model, _T.c.dedupe_key == demand.dedupe_key)
        return values(tx, Demand, same)[0], False

    def pending(self, tx: Connection, model: str) -> tuple[Demand, ...]:
        """Demands that wait for a run, oldest first."""
        waiting = _DEMAND.where(_T.c.model == model, schema.PENDING)
        return values(tx, Demand, waiting.order_by(_T.c.asked_at, _T.c.id))

    def get(self, tx: Connection, id: str) -> Demand:
        """One demand; `UnknownNameError` if there is none."""
        found = first(tx, Demand, _DEMAND.where(_T.c.id == id))
        if found is None:
            raise UnknownNameError(
                f"there is no demand {id!r}: check the id that the trigger was acknowledged with",
                reason="unknown_demand",
            )
        return found

    def of(self, tx: Connection, ids: Iterable[str]) -> tuple[Demand, ...]:
        """Those of these demands that there are, oldest first."""
        return values(tx, Demand, _DEMAND.where(_T.c.id.in_(tuple(ids))).order_by(_T.c.asked_at, _T.c.id))

    def with_key(self, tx: Connection, model: str, dedupe_key: str) -> Demand | None:
        """The demand that was asked for with this key."""
        return first(tx, Demand, _DEMAND.where(_T.c.model == model, _T.c.dedupe_key == dedupe_key))

    def served_by(self, tx: Connection, model: str, run_id: str) -> tuple[Demand, ...]:
        """The demands that a run serves, oldest first."""
        mine = _DEMAND.where(_T.c.model == model, _T.c.run_id == run_id)
        return values(tx, Demand, mine.order_by(_T.c.asked_at, _T.c.id))

    def adopting(self, tx: Connection) -> tuple[Demand, ...]:
        """Wishes to adopt that wait for a run, or whose run has not ended."""
        under_way = select(schema.runs.c.id).where(schema.ACTIVE)
        wishes = _DEMAND.where(_T.c.adopt.is_not(None), _T.c.cancelled.is_(False))
        return values(tx, Demand, wishes.where(or_(_T.c.run_id.is_(None), _T.c.run_id.in_(under_way))))

    def serve(self, tx: Connection, ids: Iterable[str], run_id: str) -> None:
        """The run serves these demands; one that is served or cancelled already stays so."""
        tx.execute(update(_T).where(_T.c.id.in_(tuple(ids)), schema.PENDING).values(run_id=run_id))

    def cancel(self, tx: Connection, id: str) -> Demand:
        """Take a waiting demand back; doing it twice is harmless.

        Raises
        ------
        ConflictError
            `demand_served`: a run serves it already.
        """
        tx.execute(update(_T).where(_T.c.id == id, schema.PENDING).values(cancelled=True))
        demand = self.get(tx, id)
        if demand.run_id is not None:
            raise ConflictError(
                f"demand {id} is served by run {demand.run_id}: cancel the run", reason="demand_served"
            )
        return demand
