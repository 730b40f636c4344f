"""One tick looks at one model: poll → take → join labels → compare windows → triggers → policy → record.

A tick happens on new evidence or when time alone could change a decision. What it learns goes into the ledger, never
into memory only, so that a crash between any two lines costs nothing: the next tick does what is missing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import TypeVar

import structlog
from structlog.contextvars import bound_contextvars

from ct_daemon.errors import ConflictError, CtDaemonError, StateError, WorkerError
from ct_daemon.failpoints import failpoint
from ct_daemon.folders import StateFolder
from ct_daemon.monitor.deciding import Decider
from ct_daemon.monitor.measuring import Measurer
from ct_daemon.monitor.taking import Taker
from ct_daemon.monitor.watch import Watch
from ct_daemon.protocols import Worker
from ct_daemon.pulse import Pulse
from ct_daemon.store.store import Store
from ct_daemon.types import Arrival, Demand, Event, RecordedDecision, Ticked, TickFailed

log = structlog.get_logger(__name__)

T = TypeVar("T")
STOPPING = (WorkerError, "closed")
"""No fault: the daemon ends the worker when it stops."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """What came of a look at a model."""

    decision: RecordedDecision | None = None
    """The newest decision; None where there was nothing to look at, or it could not be made."""
    look_again_s: float | None = None
    """Seconds until time alone may lead to another decision."""
    failed: bool = False
    """Something is still owed: the model should be looked at again soon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fault:
    reason: str
    message: str


class Monitor:
    """Ticks models, one at a time each; several threads may tick different models.

    Parameters
    ----------
    emit : callable
        Hears the facts of a tick.
    queued : callable
        Called after a run was queued.
    watches : mapping of str to Watch
        Who is under watch; may be exchanged while the monitor works (`refresh`).
    pulse : Pulse, optional
        Hears that a tick makes progress.
    cluster : str, optional
        Address of a Dask scheduler, for windows.
    """

    def __init__(
        self,
        *,
        store: Store,
        folders: StateFolder,
        worker: Worker,
        watches: Mapping[str, Watch],
        emit: Callable[[Event], None],
        queued: Callable[[], None],
        clock: Callable[[], datetime],
        pulse: Pulse | None = None,
        cluster: str | None = None,
    ) -> None:
        self._store, self._watches, self._emit, self._clock = store, watches, emit, clock
        self._pulse = pulse or Pulse()
        self._taker = Taker(
            store=store, folders=folders, worker=worker, emit=emit, clock=clock, pulse=self._pulse
        )
        self._measurer = Measurer(
            store=store, folders=folders, worker=worker, emit=emit, clock=clock, cluster=cluster
        )
        self._decider = Decider(store=store, emit=emit, queued=queued, clock=clock)
        self._locks: dict[str, threading.RLock] = {}
        self._owed = set(watches)
        """Models whose newest facts no decision has seen yet, as far as this process knows."""
        self._faults: dict[str, tuple[_Fault, ...]] = {}

    @property
    def failing(self) -> tuple[str, ...]:
        """Models whose last look met a fault, by name."""
        return tuple(sorted(self._faults.keys() & self._watches.keys()))

    def refresh(self, models: Iterable[str]) -> None:
        """The settings of these models are new: what they decide is owed again."""
        self._owed.update(models)

    def tick(self, model: str, *, only_if_new: bool = False) -> Tick:
        """Look at one model. An error of this model is recorded and does not leave this function.

        A part that fails does not keep the later ones from being done: a folder that is gone stops no decision.

        Parameters
        ----------
        only_if_new : bool
            Stop after polling if no file was taken and nothing is owed: nothing but time has changed, and time has
            its own ticks.
        """
        watch, began = self._watches.get(model), self._clock()
        if watch is None:
            return Tick()  # not configured any more
        failpoint("tick.begin")
        with bound_contextvars(model=model), self._lock(model):
            faults: list[_Fault] = []
            taken = partial(self._owed.add, model)
            for source in watch.sources:
                self._tried(model, partial(self._taker.poll, watch, source, taken), faults)
            if only_if_new and model not in self._owed:
                self._note(model, faults, began)
                return Tick()  # a folder that can't be listed is looked at again by the next listing
            self._owed.add(model)
            owed: list[_Fault] = []
            self._tried(model, partial(self._measurer.join_labels, watch), owed)
            self._tried(model, partial(self._measurer.measure_windows, watch), owed)
            decided = self._tried(model, partial(self._decider.decide, watch), owed)
            if not owed:
                self._owed.discard(model)
            self._note(model, [*faults, *owed], began)
            if decided is None:
                return Tick(failed=True)
            return Tick(decision=decided.recorded, look_again_s=decided.look_again_s, failed=bool(owed))

    def _tried(self, model: str, part: Callable[[], T], faults: list[_Fault]) -> T | None:
        """What the part answers; its error goes to `faults`."""
        self._pulse.beat()
        try:
            return part()
        except CtDaemonError as error:
            if (type(error), error.reason) != STOPPING:
                faults.append(_Fault(reason=error.reason, message=str(error)))
        except Exception as error:
            log.exception("tick.broke", model=model)
            faults.append(_Fault(reason="internal_error", message=f"{type(error).__name__}: {error}"))
        return None

    def _note(self, model: str, faults: list[_Fault], began: datetime) -> None:
        """Tell of faults that are new, and keep the present ones where `status` finds them."""
        before = self._faults.get(model, ())
        for fault in faults:
            if fault not in before:
                self._emit(TickFailed(model=model, reason=fault.reason, message=fault.message))
        if faults:
            self._faults[model] = tuple(faults)
        else:
            self._faults.pop(model, None)
        text = "; ".join(f"{fault.reason}: {fault.message}" for fault in faults) or None
        with suppress(StateError):  # a full disk can't record that it is full; the event has said so
            self._remember(model, text)
        at = self._clock()
        lasted_s = max((at - began).total_seconds(), 0.0)
        reasons = tuple(dict.fromkeys(fault.reason for fault in faults))
        self._emit(Ticked(model=model, at=at, lasted_s=lasted_s, faults=reasons))

    def _remember(self, model: str, message: str | None) -> None:
        with self._store.read() as tx:
            known = self._store.models.state(tx, model).last_error
        if known != message:
            with self._store.write() as tx:
                self._store.models.set_error(tx, model, message)

    def pending_s(self, model: str) -> float | None:
        """Seconds until a file may have settled, or None."""
        watch = self._watches.get(model)
        sources = () if watch is None else watch.sources
        waits = [wait for source in sources if (wait := source.pending_s()) is not None]
        return min(waits, default=None)

    def adopt(
        self, demand: Demand, reference: Iterable[Arrival]
    ) -> tuple[Demand, bool, RecordedDecision | None]:
        """Take reference rows like any other, then put the wish that they belong to into the ledger and answer it.

        No tick comes between the two: rows without the wish could start a first training.

        Raises
        ------
        ContractError
            A reference file was put aside; its reason is that of the quarantine.
        """
        watch = self._watch(demand.model)
        with self._lock(demand.model):
            batches = [self._taker.take_reference(watch, arrival).seq for arrival in reference]
            return self.demand(replace(demand, adopt={**(demand.adopt or {}), "batches": batches}))

    def _lock(self, model: str) -> threading.RLock:
        """One at a time for each model; a reload may bring new ones."""
        return self._locks.setdefault(model, threading.RLock())

    def _watch(self, model: str) -> Watch:
        if model not in self._watches:
            raise ConflictError(f"model {model} is not configured", reason="unknown_model")
        return self._watches[model]

    def demand(self, demand: Demand) -> tuple[Demand, bool, RecordedDecision | None]:
        """Put a person's wish into the ledger, then answer it.

        Returns
        -------
        (Demand, bool, RecordedDecision or None)
            The demand as recorded (the earlier one for a repeated key), whether it is new, and the decision: None if
            none could be made just now, so that the next tick makes it.
        """
        watch = self._watch(demand.model)
        with self._store.write() as tx:
            recorded, is_new = self._store.demands.add(tx, demand)
        failpoint("demand.recorded")
        decision = None
        try:
            if is_new:
                decision = self._decider.decide(watch).recorded
            else:
                with self._store.read() as tx:
                    decision = self._store.decisions.newest(tx, demand.model)
        except CtDaemonError as error:
            # The wish is safe in the ledger.
            log.error("demand.not_decided", model=demand.model, demand=recorded.id, error=str(error))
            self._owed.add(demand.model)
        failpoint("demand.answered")
        with self._store.read() as tx:
            return self._store.demands.get(tx, recorded.id), is_new, decision
