"""What is remembered of a model beside its history."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, or_, select, update
from sqlalchemy.dialects.sqlite import insert

from ct_daemon.clock import model_time
from ct_daemon.errors import UnknownNameError
from ct_daemon.store import schema
from ct_daemon.store.columns import columns_of, first, values
from ct_daemon.types import Contract


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelState:
    """A model as the ledger knows it."""

    model: str
    paused: bool = False
    pause_reason: str | None = None
    contract: Contract | None = None
    event_until_at: datetime | None = None
    """The newest event time seen."""
    last_error: str | None = None
    window_seq_from: int = 0
    """Batches after this one belong to the next drift window."""
    clock_at: datetime | None = None
    clock_set_at: datetime | None = None
    """The model's clock, as `clock.model_time` reads it."""
    schedule: str | None = None
    """The schedule that `schedule_seen_at` speaks of."""
    schedule_seen_at: datetime | None = None
    """Slots up to here (wall clock) have been recorded."""

    def now(self, wall: datetime) -> datetime:
        """Model time at a moment of the wall clock."""
        return model_time(self.clock_at, self.clock_set_at, wall)


_T = schema.models
_STATE = select(*columns_of(_T, ModelState))


class Models:
    """One row a model. Methods for a single model raise `UnknownNameError` for one that `ensure` never saw."""

    def ensure(self, tx: Connection, names: Iterable[str]) -> None:
        """Know these models; what is known of them already stays."""
        for name in names:
            fresh = insert(_T).values(model=name, paused=False, window_seq_from=0)
            tx.execute(fresh.on_conflict_do_nothing(index_elements=["model"]))

    def state(self, tx: Connection, model: str) -> ModelState:
        """What is remembered of a model."""
        found = first(tx, ModelState, _STATE.where(_T.c.model == model))
        if found is None:
            raise _unknown(model)
        return found

    def state_or_new(self, tx: Connection, model: str) -> ModelState:
        """Like `state`; a model that is configured but that no daemon has seen yet is as if new."""
        return first(tx, ModelState, _STATE.where(_T.c.model == model)) or ModelState(model=model)

    def all(self, tx: Connection) -> tuple[ModelState, ...]:
        """All models by name, those no longer configured too."""
        return values(tx, ModelState, _STATE.order_by(_T.c.model))

    def pause(self, tx: Connection, model: str, reason: str) -> None:
        """Start no runs for the model until `resume`."""
        self._set(tx, model, paused=True, pause_reason=reason)

    def resume(self, tx: Connection, model: str) -> None:
        """Start runs for the model again."""
        self._set(tx, model, paused=False, pause_reason=None)

    def set_contract(self, tx: Connection, model: str, contract: Contract) -> None:
        """From now on rows must look like this."""
        self._set(tx, model, contract=contract)

    def raise_event_time(self, tx: Connection, model: str, at: datetime, seen_at: datetime) -> None:
        """Note an event time that was seen at a moment of the wall clock; model time never goes back by it."""
        behind = or_(_T.c.event_until_at.is_(None), _T.c.event_until_at < at)
        tx.execute(update(_T).where(_T.c.model == model, behind).values(event_until_at=at))
        state = self.state(tx, model)
        if state.clock_at is None or state.now(seen_at) < at:
            self._set(tx, model, clock_at=at, clock_set_at=seen_at)

    def set_window_from(self, tx: Connection, model: str, seq: int) -> None:
        """Let the next drift window begin after the batch `seq`."""
        self._set(tx, model, window_seq_from=seq)

    def set_schedule_seen(self, tx: Connection, model: str, schedule: str, at: datetime) -> None:
        """Slots of this schedule up to `at` have been recorded, or don't count."""
        self._set(tx, model, schedule=schedule, schedule_seen_at=at)

    def forget_schedules(self, tx: Connection, models: Iterable[str]) -> None:
        """These have no schedule now: one that they get later counts from then on."""
        had = _T.c.model.in_(tuple(models)) & _T.c.schedule.is_not(None)
        tx.execute(update(_T).where(had).values(schedule=None, schedule_seen_at=None))

    def set_error(self, tx: Connection, model: str, error: str | None) -> None:
        """Note why the model's last tick failed; None when it went well."""
        self._set(tx, model, last_error=error)

    def _set(self, tx: Connection, model: str, **columns: Any) -> None:  # noqa: ANN401  (values of columns)
        if tx.execute(update(_T).where(_T.c.model == model).values(**columns)).rowcount == 0:
            raise _unknown(model)


def _unknown(model: str) -> UnknownNameError:
    return UnknownNameError(
        f"there is no model {model!r} in the ledger: 'ct-daemon status' lists the models",
        reason="unknown_model",
    )
