"""Carries runs from `queued` to an end. The ledger is the queue; this room only holds threads.

Trainer processes die with the thread that started them (that is how Linux ties a child to its parent), so the
threads here live as long as the daemon.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from datetime import datetime

import structlog
from structlog.contextvars import bound_contextvars

from ct_daemon.errors import ConflictError, CtDaemonError, StateError
from ct_daemon.failpoints import failpoint
from ct_daemon.folders import StateFolder
from ct_daemon.pipeline.ends import CANCELLED, WAITED_FOR, PassingError, end_of, on_purpose, passes
from ct_daemon.pipeline.states import ALLOWED, TERMINAL, RunState
from ct_daemon.pipeline.steps import STEPS, remove_work
from ct_daemon.pipeline.undo import undo
from ct_daemon.pipeline.workshop import Move, Workshop
from ct_daemon.protocols import TrainerRunner
from ct_daemon.store.runs import PUT_DOWN
from ct_daemon.store.store import Store
from ct_daemon.types import Event, ModelDeployed, Run, RunMoved, Transition

log = structlog.get_logger(__name__)

RETRY_S, LONGEST_RETRY_S = 5.0, 300.0
"""How long to wait for a ledger that is locked or a disk that is full; before a step, twice as long each time."""
TRAINER_GRACE_S = 2.0
"""A trainer that is to end may take so long before it is killed."""
HURRY_S = 0.1
"""A stop that is in no hurry looks so often whether it has become one."""
LAST_S = 10.0
"""After the drain, threads that still work on something are left behind after so long."""
REMOVED = Move(to=RunState.FAILED, reason="model_removed", detail="not configured any more")


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
        What the runs of each model work with; may be exchanged while runs are under way.
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
        self._held: dict[str, Workshop] = {}
        """What each run under way has begun with: a reload changes it for later runs only."""
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

    def stop(
        self, drain_s: float, *, interrupt: Callable[[], None], hurry: Callable[[], bool] = lambda: False
    ) -> None:
        """Claim nothing more; give running steps `drain_s`, then end their trainers and call `interrupt`, which
        ends what the worker does for them.

        A run that was interrupted keeps its state in the ledger and is taken up by the next start.

        Parameters
        ----------
        hurry : callable
            Asked again and again: once it is true, nothing is waited for any more.
        """
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if not self._drained(drain_s, hurry):
            interrupt()
        end = time.monotonic() + LAST_S
        while any(thread.is_alive() for thread in self._threads):
            if time.monotonic() > end:  # the ledger is left as after a crash; the next start takes the run up
                log.error("run.left_behind", runs=sorted(self._working))
                return
            # A thread may be just about to start a trainer, so once is not enough.
            working = list(self._working)
            for run_id in working:
                self._trainer.stop(run_id, grace_s=0.0 if hurry() else TRAINER_GRACE_S / len(working))
            for thread in self._threads:
                thread.join(timeout=0.2)

    def _drained(self, drain_s: float, hurry: Callable[[], bool]) -> bool:
        """Wait for the running steps; whether they have ended."""
        end = time.monotonic() + drain_s
        with self._changed:
            # A signal handler may take no lock, so it can't notify: hence the short waits.
            while self._working and not hurry() and (left := end - time.monotonic()) > 0:
                self._changed.wait(timeout=min(left, HURRY_S))
            return not self._working

    def drop(self, models: Collection[str]) -> None:
        """These models are not configured any more: their runs under way end, unless they are being deployed."""
        for run in list(self._working.values()):
            if run.model in models:
                self._trainer.stop(run.id, grace_s=TRAINER_GRACE_S)

    def cancel(self, run_id: str) -> Run:
        """End a run before it goes live: at once if nobody has claimed it, else as soon as its step is ended.

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
        if state is RunState.QUEUED:
            with suppress(ConflictError):  # claimed meanwhile: then whoever carries it sees the request
                return self._record_now(run, CANCELLED)
        self._trainer.stop(run_id, grace_s=5.0)
        self.notify()
        with self._store.read() as tx:
            return self._store.runs.get(tx, run_id)

    # --- work ---------------------------------------------------------------------------------------------

    def _take_over(self, run: Run) -> None:
        """A run that no process works on any more: go on with it, or give up after too many tries."""
        with self._store.write() as tx:
            run = self._store.runs.take_over(tx, run.id, self._clock())
        crashes = run.attempt - 1 - run.results.get(PUT_DOWN, 0)
        if crashes >= self._settings.attempts:
            detail = f"it was at work in {crashes} crashes, the last time in {run.state}"
            self._record(run, Move(to=RunState.FAILED, reason="interrupted_too_often", detail=detail))
            return
        log.info(
            "run.resumed",
            run=run.id,
            model=run.model,
            decision=run.decision_seq,
            state=run.state,
            attempt=run.attempt,
        )
        self._resumable.append(run)

    def _work(self) -> None:
        while not self._stopping:
            run = None
            try:
                run = self._next()
                if run is not None:
                    with _told(run):
                        self._carry(run)
            except StateError as error:
                log.error("run.not_recorded", run=run and run.id, reason=error.reason, error=str(error))
                self._again_later(run)
            except Exception:  # the thread must live on: other runs need it
                log.exception("run.lost_its_thread", run=run and run.id)
                self._again_later(run)
            finally:
                if run is not None:
                    self._let_go(run)

    def _let_go(self, run: Run) -> None:
        with self._changed:
            self._working.pop(run.id, None)
            self._held.pop(run.id, None)
            self._changed.notify_all()

    def _again_later(self, run: Run | None) -> None:
        """Something unforeseen: the run keeps its recorded state and is taken up again."""
        if run is None:
            self._pause(RETRY_S)
            return
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
        """The next run to work on; None when there was none for a while, or when stopping."""
        with self._changed:
            if self._stopping:
                return None
            if self._resumable:
                run = self._resumable.pop(0)
                self._working[run.id] = run
                return run
        found = self._claim()
        if found is None:
            with self._changed:
                if not self._stopping and not self._resumable:
                    self._changed.wait(timeout=RETRY_S)
        return found

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
            except ConflictError:  # cancelled, or another thread was faster
                self._let_go(waiting)
                continue
            except BaseException:
                self._let_go(waiting)
                raise
            failpoint("run.claimed")
            with _told(run):
                self._emit(RunMoved(run=run, transition=moved, lasted_s=_lasted_s(waiting, moved)))
            return run
        return None

    def _carry(self, run: Run) -> None:
        """Walk one run to its end, or until the daemon stops."""
        shop = self._shops.get(run.model)
        if shop is None:
            self._record(run, REMOVED)
            return
        self._held[run.id] = shop
        waits = 0
        while RunState(run.state) not in TERMINAL:
            with self._store.read() as tx:
                wanted = self._store.runs.get(tx, run.id).cancel_requested
            if wanted and RunState.CANCELLED in ALLOWED[RunState(run.state)]:
                run = self._record(run, CANCELLED)
                continue
            if run.model not in self._shops and RunState.CANCELLED in ALLOWED[RunState(run.state)]:
                run = self._record(run, REMOVED)  # while it worked; one that is being deployed goes on
                continue
            if self._stopping:
                log.info("run.interrupted", run=run.id, model=run.model, state=run.state)
                with self._store.write() as tx:
                    self._store.runs.put_down(tx, run)
                return
            try:
                move = self._step(shop, run)
            except PassingError as error:
                log.warning("run.waits", run=run.id, model=run.model, state=run.state, error=str(error))
                self._pause(min(RETRY_S * 2.0**waits, LONGEST_RETRY_S))
                waits += 1
                continue
            if move is not None:
                run = self._record(run, move)

    def _step(self, shop: Workshop, run: Run) -> Move | None:
        """One step with its errors turned into ends; None when it was stopped on purpose.

        Raises
        ------
        PassingError
            The ledger is locked or the disk is full: nothing is wrong with the run, it waits.
        """
        try:
            return STEPS[RunState(run.state)](shop, run)
        except Exception as error:
            if passes(error):
                raise PassingError(str(error)) from error
            if not isinstance(error, CtDaemonError):
                log.exception("run.step_broke", run=run.id, state=run.state)
                error = CtDaemonError(f"{type(error).__name__}: {error}", reason="internal_error")
            elif isinstance(error, StateError):
                raise
            elif on_purpose(error, stopping=self._stopping):
                return None
            return end_of(error, RunState(run.state))

    def _pause(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopping, timeout=seconds)

    def _record(self, run: Run, move: Move) -> Run:
        """Write the move down, as soon as the ledger takes it.

        What the step did is done: it is not done again only because another process holds the ledger's lock or the
        disk is full at this moment.
        """
        while True:
            try:
                return self._record_now(run, move)
            except StateError as error:
                if error.reason not in WAITED_FOR or self._stopping:
                    raise
                log.warning("run.waits", run=run.id, model=run.model, state=run.state, error=str(error))
                self._pause(RETRY_S)

    def _record_now(self, run: Run, move: Move) -> Run:
        """The move with all that belongs to it, in one transaction."""
        shop = self._held.get(run.id) or self._shops.get(run.model)
        fails = move.to in TERMINAL and move.to is not RunState.SUCCEEDED
        undone = undo(shop, run) if fails and shop is not None else None
        with self._store.write() as tx:
            move.record(tx)
            if undone is not None:
                undone(tx)
            wanted = self._store.runs.get(tx, run.id).cancel_requested
            if wanted and move.to not in TERMINAL and RunState.CANCELLED in ALLOWED[RunState(run.state)]:
                # Asked for while the step was at work: before it goes live is the last moment.
                move = replace(move, to=CANCELLED.to, reason=CANCELLED.reason, detail=CANCELLED.detail)
            terminal, results = move.to in TERMINAL, dict(move.results)
            if terminal:
                ended_at = self._store.models.state(tx, run.model).now(self._clock())
                results["ended_at"] = ended_at.isoformat()
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
        self._emit(RunMoved(run=moved, transition=transition, lasted_s=_lasted_s(run, transition)))
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


def _told(run: Run) -> AbstractContextManager[None]:
    """Every line that is logged in the block, by whatever room, names the run."""
    return bound_contextvars(model=run.model, run=run.id, decision=run.decision_seq)


def _lasted_s(before: Run, transition: Transition) -> float:
    """How long the run was in the state that it leaves, since the present attempt took it up."""
    return max((transition.at - before.updated_at).total_seconds(), 0.0)
