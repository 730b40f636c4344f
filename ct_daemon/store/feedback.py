"""Predictions that were made, and how they turned out when labels came."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, Table, and_, func, or_, select
from sqlalchemy.dialects.sqlite import insert

from ct_daemon.store import schema
from ct_daemon.store.columns import columns_of, values
from ct_daemon.types import Outcome, Predictions

_KEY = ("model", "batch_seq", "version")
_B, _P, _O = schema.batches, schema.predictions, schema.outcomes


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Predictions of rows that have no label yet, some or all of them."""

    predictions: Predictions
    rows_path: str
    """The stored rows, relative to the state folder."""
    outcome: Outcome | None
    """Of the rows that have a label, if any has."""
    arrived_at: datetime
    """When the rows came."""


class Feedback:
    """One row for each batch and version that scored it, and one for how it turned out."""

    def add_predictions(self, tx: Connection, model: str, predictions: Predictions) -> None:
        """Record where predictions lie; scoring a batch again replaces the record."""
        _put(tx, schema.predictions, model, predictions)

    def predictions(
        self,
        tx: Connection,
        model: str,
        *,
        version: int | None = None,
        after_seq: int = 0,
        until_seq: int | None = None,
    ) -> tuple[Predictions, ...]:
        """Predictions for batches after `after_seq` and up to `until_seq`, oldest batch first."""
        found = _list(schema.predictions, Predictions, model, version, after_seq)
        if until_seq is not None:
            found = found.where(_P.c.batch_seq <= until_seq)
        return values(tx, Predictions, found)

    def put_outcome(self, tx: Connection, model: str, outcome: Outcome) -> None:
        """Record how predictions turned out; labels that came later replace the record."""
        _put(tx, schema.outcomes, model, outcome)

    def outcomes(
        self, tx: Connection, model: str, *, version: int | None = None, after_seq: int = 0
    ) -> tuple[Outcome, ...]:
        """Outcomes of batches after `after_seq`, oldest batch first."""
        return values(tx, Outcome, _list(schema.outcomes, Outcome, model, version, after_seq))

    def newest(self, tx: Connection, model: str, version: int, rows: int) -> tuple[Outcome, ...]:
        """The newest outcomes of a version that together reach so many labelled rows, newest first."""
        mine = select(*columns_of(_O, Outcome)).where(
            _O.c.model == model, _O.c.version == version, _O.c.rows > 0
        )
        taken: list[Outcome] = []
        reached = 0
        for row in tx.execute(mine.order_by(_O.c.batch_seq.desc())).mappings():
            taken.append(Outcome(**row))
            reached += taken[-1].rows
            if reached >= rows:
                break
        return tuple(taken)

    def totals(self, tx: Connection, model: str, version: int) -> tuple[int, float]:
        """Labelled rows of a version, and the sum of their errors."""
        mine = (_O.c.model == model) & (_O.c.version == version)
        found = tx.execute(select(func.sum(_O.c.rows), func.sum(_O.c.error_sum)).where(mine)).one()
        return int(found[0] or 0), float(found[1] or 0.0)

    def waiting(self, tx: Connection, model: str, *, after_seq: int, limit: int) -> tuple[Waiting, ...]:
        """The newest predictions that wait for labels, for batches after `after_seq` whose rows are still stored;
        oldest batch first."""
        same = and_(_O.c.model == _P.c.model, _O.c.batch_seq == _P.c.batch_seq, _O.c.version == _P.c.version)
        found = tx.execute(
            select(
                *columns_of(_P, Predictions),
                _B.c.object_path,
                _B.c.arrived_at,
                _O.c.rows.label("labelled"),
                _O.c.error_sum,
                _O.c.squared_sum,
            )
            .join_from(_P, _B, _B.c.seq == _P.c.batch_seq)
            .outerjoin(_O, same)
            .where(_P.c.model == model, _P.c.batch_seq > after_seq, _B.c.object_path.is_not(None))
            .where(or_(_O.c.rows.is_(None), _O.c.rows < _P.c.rows))
            .order_by(_P.c.batch_seq.desc(), _P.c.version.desc())
            .limit(limit)
        ).all()
        return tuple(_waiting(row) for row in reversed(found))


def _waiting(row: Row[Any]) -> Waiting:
    made = Predictions(batch_seq=row.batch_seq, version=row.version, path=row.path, rows=row.rows)
    outcome = None
    if row.labelled is not None:
        outcome = Outcome(
            batch_seq=row.batch_seq,
            version=row.version,
            rows=row.labelled,
            error_sum=row.error_sum,
            squared_sum=row.squared_sum,
        )
    return Waiting(predictions=made, rows_path=row.object_path, outcome=outcome, arrived_at=row.arrived_at)


def _put(tx: Connection, table: Table, model: str, value: Predictions | Outcome) -> None:
    fresh = insert(table).values(model=model, **asdict(value))
    new = {column.name: fresh.excluded[column.name] for column in table.c if column.name not in _KEY}
    tx.execute(fresh.on_conflict_do_update(index_elements=_KEY, set_=new))


def _list(table: Table, kind: type[Any], model: str, version: int | None, after_seq: int) -> Select[Any]:
    found = select(*columns_of(table, kind)).where(table.c.model == model, table.c.batch_seq > after_seq)
    if version is not None:
        found = found.where(table.c.version == version)
    return found.order_by(table.c.batch_seq, table.c.version)
