"""Carries runs from `queued` to an end. The ledger is the queue; this room only holds threads.

Trainer processes die with the thread that started them (that is how Linux ties a child to its parent), so the
threads here live as long as the daemon.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import structlog

from ct_daemon.clock import model_time
from ct_daemon.errors import (
    ConflictError,
    ContractError,
    CtDaemonError,
    StateError,
    TrainingError,
    WorkerError,
)
from ct_daemon.failpoints import failpoint
from ct_daemon.folders import StateFolder
from ct_daemon.pipeline.states import ALLOWED, TERMINAL, RunState
from ct_daemon.pipeline.steps import DATA_REASONS, STEPS, Move, Workshop, remove_work
from ct_daemon.protocols import TrainerRunner
from ct_daemon.store.store import Store
from ct_daemon.types import Event, ModelDeployed, Run, RunMoved

log = structlog.get_logger(__name__)

RETRY_S = 5.0
"""How long to wait before a run is taken up again that could not even be recorded (disk full, ledger locked)."""


STOPPED_ON_PURPOSE = frozenset({(TrainingError, "stopped"), (WorkerError, "closed")})
"""The step ended because somebody cancelled the run or the daemon stops."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorSettings:
    """How many runs at once, and how often one is taken up again."""

    runs: int = 1
    attempts: int = 3


class Executor:
    """Claims queued runs and walks them through their steps.

    Parameters
    ----------
    shops : mapping of str to Workshop
        What the runs of each model work with.
    emit : callable
        Hears `RunMoved` and `ModelDeployed`.
    ended : callable
        Called with the model when a run has ended, so that waiting demands are looked at again.
    """

    def __init__(
        self,
        *,
        store: Store,
        folders: StateFolder,
        trainer: TrainerRunner,
        shops: Mapping[str, Workshop],
        settings: ExecutorSettings,
        emit: Callable[[Event], None],
        ended: Callable[[str], None],
        clock: Callable[[], datetime],
    ) -> None:
        self._store, self._folders, self._trainer = store, folders, trainer
        self._shops, self._settings = shops, settings
        self._emit, self._ended, self._clock = emit, ended, clock
        self._changed = threading.Condition()
        self._resumable: list[Run] = []
        self._working: dict[str, Run] = {}
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._work, name=f"run-{number}", daemon=True)
            for number in range(settings.runs)
        ]

    # --- life ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Take over what a former process left, then begin to work."""
        with self._store.read() as tx:
            left = [run for run in self._store.runs.all_active(tx) if run.state != RunState.QUEUED]
        for run in left:
            self._take_over(run)
        for thread in self._threads:
            thread.start()

    def notify(self) -> None:
        """A run may have been queued."""
        with self._changed:
            self._changed.notify_all()

    def stop(self, drain_s: float, *, interrupt: Callable[[], None]) -> None:
        """Claim nothing more; give running steps `drain_s`, then end their trainers and call `interrupt`, which
        ends what the worker does for them.

        A run that was interrupted keeps its state in the ledger and is taken up by the next start.
        """
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        with self._changed:
            self._changed.wait_for(lambda: not self._working, timeout=drain_s)
            interrupted = bool(self._working)
        if interrupted:
            interrupt()
        while any(thread.is_alive() for thread in self._threads):
            # A thread may be just about to start a trainer, so once is not enough.
            for run_id in list(self._working):
                self._trainer.stop(run_id, grace_s=2.0)
            for thread in self._threads:
                thread.join(timeout=0.2)

    def cancel(self, run_id: str) -> Run:
        """End a run before it goes live.

        Raises
        ------
        ConflictError
            If it has ended, or is being deployed (roll back instead).
        """
        with self._store.write() as tx:
            run = self._store.runs.get(tx, run_id)
            state = RunState(run.state)
            if state in TERMINAL:
                raise ConflictError(f"run {run_id} has ended: {run.state}", reason="run_ended")
            if RunState.CANCELLED not in ALLOWED[state]:
                raise ConflictError(
                    f"run {run_id} is being deployed; let it end, then use 'ct-daemon rollback'",
                    reason="run_deploying",
                )
            self._store.runs.request_cancel(tx, run_id)
        self._trainer.stop(run_id, grace_s=5.0)
        self.notify()
        with self._store.read() as tx:
            return self._store.runs.get(tx, run_id)

    # --- work ---------------------------------------------------------------------------------------------

    def _take_over(self, run: Run) -> None:
        """A run that no process works on any more: go on with it, or give up after too many tries."""
        with self._store.write() as tx:
            run = self._store.runs.take_over(tx, run.id, self._clock())
        if run.attempt > self._settings.attempts:
            detail = f"taken up {run.attempt - 1} times and interrupted in {run.state} each time"
            self._record(run, Move(to=RunState.FAILED, reason="interrupted_too_often", detail=detail))
            return
        log.info("run.resumed", run=run.id, model=run.model, state=run.state, attempt=run.attempt)
        self._resumable.append(run)

    def _work(self) -> None:
        while True:
            run = self._next()
            if run is None:
                return
            try:
                self._carry(run)
            except StateError as error:
                log.error("run.not_recorded", run=run.id, reason=error.reason, error=str(error))
                self._again_later(run)
            except Exception:
                log.exception("run.lost_its_thread", run=run.id)
                self._again_later(run)
            finally:
                with self._changed:
                    self._working.pop(run.id, None)
                    self._changed.notify_all()

    def _again_later(self, run: Run) -> None:
        """The ledger could not be written; the run keeps its recorded state and is taken up again."""
        timer = threading.Timer(RETRY_S, self._retake, args=(run,))
        timer.daemon = True
        timer.start()

    def _retake(self, run: Run) -> None:
        if self._stopping:
            return
        try:
            with self._store.read() as tx:
                run = self._store.runs.get(tx, run.id)
            if RunState(run.state) not in TERMINAL:
                self._take_over(run)
        except StateError as error:
            log.error("run.not_recorded", run=run.id, reason=error.reason, error=str(error))
            self._again_later(run)
            return
        self.notify()

    def _next(self) -> Run | None:
        """The next run to work on; None when stopping."""
        while True:
            with self._changed:
                if self._stopping:
                    return None
                run = self._resumable.pop(0) if self._resumable else None
                if run is not None:
                    self._working[run.id] = run
                    return run
            try:
                run = self._claim()
            except StateError as error:
                log.error("run.not_claimed", reason=error.reason, error=str(error))
                run = None
            if run is not None:
                return run
            with self._changed:
                if not self._stopping and not self._resumable:
                    self._changed.wait(timeout=RETRY_S)

    def _claim(self) -> Run | None:
        with self._store.read() as tx:
            queued = self._store.runs.queued(tx)
        for waiting in queued:
            if waiting.model not in self._shops:
                continue
            with self._changed:
                if waiting.id in self._working:
                    continue
                self._working[waiting.id] = waiting
            try:
                with self._store.write() as tx:
                    run, moved = self._store.runs.claim(tx, waiting.id, RunState.SNAPSHOTTING, self._clock())
            except ConflictError:
                with self._changed:
                    self._working.pop(waiting.id, None)
                continue  # cancelled, or another thread was faster
            failpoint("run.claimed")
            self._emit(RunMoved(run=run, transition=moved))
            return run
        return None

    def _carry(self, run: Run) -> None:
        """Walk one run to its end, or until the daemon stops."""
        shop = self._shops.get(run.model)
        if shop is None:
            self._record(
                run, Move(to=RunState.FAILED, reason="model_removed", detail="not configured any more")
            )
            return
        while RunState(run.state) not in TERMINAL:
            with self._store.read() as tx:
                wanted = self._store.runs.get(tx, run.id).cancel_requested
            if wanted and RunState.CANCELLED in ALLOWED[RunState(run.state)]:
                move = Move(to=RunState.CANCELLED, reason="cancelled", detail="a person cancelled it")
            elif self._stopping:
                log.info("run.interrupted", run=run.id, model=run.model, state=run.state)
                return
            else:
                found = self._step(shop, run)
                if found is None:
                    continue
                move = found
            run = self._record(run, move)

    def _step(self, shop: Workshop, run: Run) -> Move | None:
        """One step with its errors turned into ends; None when its trainer was stopped on purpose."""
        try:
            return STEPS[RunState(run.state)](shop, run)
        except StateError as error:
            if error.reason != "disk_full":
                raise
            return _end_of(error)
        except CtDaemonError as error:
            if (type(error), error.reason) in STOPPED_ON_PURPOSE:
                return None
            return _end_of(error)
        except Exception as error:
            log.exception("run.step_broke", run=run.id, state=run.state)
            return Move(
                to=RunState.FAILED, reason="internal_error", detail=f"{type(error).__name__}: {error}"
            )

    def _record(self, run: Run, move: Move) -> Run:
        """Write the move down, with all that belongs to it, in one transaction."""
        terminal = move.to in TERMINAL
        results = dict(move.results)
        with self._store.write() as tx:
            if terminal:
                state = self._store.models.state(tx, run.model)
                results["ended_at"] = model_time(state.event_until_at, self._clock()).isoformat()
            move.record(tx)
            moved, transition = self._store.runs.move(
                tx,
                run,
                move.to,
                self._clock(),
                terminal=terminal,
                reason=move.reason,
                detail=move.detail,
                results=results,
                snapshot=move.snapshot,
                candidate=move.candidate,
            )
        if move.failpoint is not None:
            failpoint(move.failpoint)
        self._emit(RunMoved(run=moved, transition=transition))
        if terminal:
            self._finish(moved)
        return moved

    def _finish(self, run: Run) -> None:
        remove_work(self._folders, run.id)
        if run.state == RunState.SUCCEEDED and run.candidate is not None:
            with self._store.read() as tx:
                live = self._store.deployments.live(tx, run.model)
                version = self._store.versions.get(tx, run.model, run.candidate)
            if live is not None:
                self._emit(ModelDeployed(deployment=live, version=version))
        self._ended(run.model)


def _end_of(error: CtDaemonError) -> Move:
    rejected = isinstance(error, TrainingError | ContractError) and error.reason in DATA_REASONS
    return Move(to=RunState.REJECTED if rejected else RunState.FAILED, reason=error.reason, detail=str(error))
