"""Predictions that were made, and how they turned out when labels came."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Select, Table, select
from sqlalchemy.dialects.sqlite import insert

from ct_daemon.store import schema
from ct_daemon.store.columns import columns_of, values
from ct_daemon.types import Outcome, Predictions

_KEY = ("model", "batch_seq", "version")


class Feedback:
    """One row for each batch and version that scored it, and one for how it turned out."""

    def add_predictions(self, tx: Connection, model: str, predictions: Predictions) -> None:
        """Record where predictions lie; scoring a batch again replaces the record."""
        _put(tx, schema.predictions, model, predictions)

    def predictions(
        self, tx: Connection, model: str, *, version: int | None = None, after_seq: int = 0
    ) -> tuple[Predictions, ...]:
        """Predictions for batches after `after_seq`, oldest batch first."""
        return values(tx, Predictions, _list(schema.predictions, Predictions, model, version, after_seq))

    def put_outcome(self, tx: Connection, model: str, outcome: Outcome) -> None:
        """Record how predictions turned out; labels that came later replace the record."""
        _put(tx, schema.outcomes, model, outcome)

    def outcomes(
        self, tx: Connection, model: str, *, version: int | None = None, after_seq: int = 0
    ) -> tuple[Outcome, ...]:
        """Outcomes of batches after `after_seq`, oldest batch first."""
        return values(tx, Outcome, _list(schema.outcomes, Outcome, model, version, after_seq))


def _put(tx: Connection, table: Table, model: str, value: Predictions | Outcome) -> None:
    fresh = insert(table).values(model=model, **asdict(value))
    new = {column.name: fresh.excluded[column.name] for column in table.c if column.name not in _KEY}
    tx.execute(fresh.on_conflict_do_update(index_elements=_KEY, set_=new))


def _list(table: Table, kind: type[Any], model: str, version: int | None, after_seq: int) -> Select[Any]:
    found = select(*columns_of(table, kind)).where(table.c.model == model, table.c.batch_seq > after_seq)
    if version is not None:
        found = found.where(table.c.version == version)
    return found.order_by(table.c.batch_seq, table.c.version)
