"""The daemon's life: it starts its parts, keeps them ticking, drains and stops.

Threads: *main* waits for signals; *ticks* looks at one model after the other; *watch* hears of files; *run-N*
carry runs; *worker* holds the worker process; *api* answers the control socket; *metrics* and *metrics-client* answer
Prometheus, for whom *metrics-ledger* reads the ledger; APScheduler's thread re-scans and cleans up. All of them find
their work in the ledger, so any of them may die with the process at any moment.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import FrameType

import structlog
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from ct_daemon import spool
from ct_daemon.clock import wall
from ct_daemon.config import Config
from ct_daemon.control import Control
from ct_daemon.due import Due
from ct_daemon.errors import CtDaemonError, StateError, TrainingError, UnknownNameError
from ct_daemon.failpoints import failpoint
from ct_daemon.folders import StateFolder
from ct_daemon.housekeeping import sweep, tidy
from ct_daemon.monitor.monitor import Tick
from ct_daemon.parts import build
from ct_daemon.protocols import Observer
from ct_daemon.recovery import end_trainers, reconcile
from ct_daemon.sources.files import FolderSource
from ct_daemon.sources.staging import clean_staging
from ct_daemon.sources.watch import FolderWatcher
from ct_daemon.store.lock import StateLock
from ct_daemon.store.store import Store
from ct_daemon.types import Event

log = structlog.get_logger(__name__)

TIDY_EVERY_S = 3600.0
LOOK_AFTER_EVERY_S = 30.0
RETRY_S, LONGEST_RETRY_S = 1.0, 60.0
"""A look that failed is repeated after so long, twice as long each time up to the longest."""
LONGEST_NAP_S = 3600.0
"""A decision that time alone would change is looked at again at least this often, whatever the clocks say."""


class Daemon:
    """One daemon on one state folder.

    Parameters
    ----------
    config : Config
        With absolute paths, as `config.load` gives it.
    observers : sequence of Observer
        Hear every fact; their errors are logged and dropped.
    """

    def __init__(
        self, config: Config, *, observers: Sequence[Observer] = (), clock: Callable[[], datetime] = wall
    ) -> None:
        self._config, self._observers, self._clock = config, tuple(observers), clock
        self._folders = StateFolder(config.state)
        self._commands: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._wish: str | None = None
        self._broken: StateError | None = None
        self._due = Due()
        self._closing = threading.Event()
        self.ready = threading.Event()
        """Set when everything has started."""

    # --- life ---------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Start, serve until SIGTERM or SIGINT (or `ask_to_stop`), stop. Signals only in the main thread."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
                signal.signal(number, self._on_signal)
        self._folders.make()
        with StateLock(self._folders.root):
            self._build()
            try:
                self._start()
                self._serve()
            finally:
                self._stop()

    def ask_to_stop(self) -> None:
        """Like SIGTERM, from any thread."""
        self._commands.put("stop")

    @property
    def control(self) -> Control:
        """The buttons; there once `ready` is set."""
        return self._parts.control

    @property
    def idle(self) -> bool:
        """No tick is due or under way and no run is active."""
        if not self._due.idle:
            return False
        with self._store.read() as tx:
            return not self._store.runs.all_active(tx)

    @property
    def store(self) -> Store:
        """The ledger; there once `ready` is set."""
        return self._store

    def _build(self) -> None:
        self._store = Store.open(self._folders.root)
        self._store.database.on_broken = self._ledger_broke
        self._parts = build(
            self._config,
            self._store,
            self._folders,
            emit=self._emit,
            wake=self._due.add,
            on_trainer=self._note_trainer,
            clock=self._clock,
        )
        self._observers = (*self._observers, self._parts.metrics.observer)
        self._scheduler = BackgroundScheduler(
            timezone="UTC",
            executors={"default": ThreadPoolExecutor(2)},
            job_defaults={"coalesce": True, "misfire_grace_time": None, "max_instances": 1},
        )
        self._watcher = FolderWatcher(self._heard)
        self._ticker = threading.Thread(target=self._tick_for_ever, name="ticks", daemon=True)

    def _start(self) -> None:
        with self._store.write() as tx:
            self._store.models.ensure(tx, tuple(self._config.models))
        clean_staging(self._folders.staging)
        end_trainers(self._store)
        reconcile(self._parts.shops)
        sweep(self._store, self._folders)
        self._parts.executor.start()
        self._take_spool()
        self._watch_folders()
        self._scheduler.start()
        for number, (model, settings) in enumerate(self._config.models.items()):
            every = min(s.rescan for s in (settings.source, settings.labels) if s is not None)
            # Spread over the interval, so that a hundred models don't wake together.
            first = self._clock() + timedelta(seconds=every * (number + 1) / len(self._config.models))
            self._scheduler.add_job(
                self._due.add,
                "interval",
                kwargs={"model": model, "only_if_new": True},
                seconds=every,
                next_run_time=first,
                id=f"rescan:{model}",
            )
        self._scheduler.add_job(
            self._tidy, "interval", seconds=TIDY_EVERY_S, next_run_time=self._clock(), id="tidy"
        )
        self._scheduler.add_job(self._look_after, "interval", seconds=LOOK_AFTER_EVERY_S, id="look after")
        self._ticker.start()
        for model in self._config.models:
            self._due.add(model)
        self._parts.api.start()
        if self._parts.metrics_listener is not None:
            self._parts.metrics_listener.start()
        self.ready.set()
        log.info(
            "daemon.ready", pid=os.getpid(), models=len(self._config.models), state=str(self._folders.root)
        )

    def _serve(self) -> None:
        """Wait for commands: signals put them into the queue, and this thread is the one that hears signals."""
        failures = 0
        while True:
            command = self._commands.get()
            if self._broken is not None:
                raise self._broken
            if command == "stop":
                return
            failures = 0 if self._retrain() else failures + 1
            if failures:
                wait = min(RETRY_S * 2.0 ** min(failures - 1, 10), LONGEST_RETRY_S)
                again = threading.Timer(wait, self._commands.put, args=("retrain",))
                again.daemon = True
                again.start()

    def _retrain(self) -> bool:
        """Record the wish of a SIGUSR1; whether that is done. Until then it stays the same wish."""
        wish, self._wish = self._wish, None
        if wish is None:
            return True
        try:
            tickets = self._parts.control.request_by_signal(wish)
        except CtDaemonError as error:
            log.error("signal.not_recorded", reason=error.reason, error=str(error))
            self._wish = self._wish or wish
            return False
        log.info("signal.acknowledged", demands=[ticket.demand.id for ticket in tickets])
        return True

    def _ledger_broke(self, error: StateError) -> None:
        """The disk refused a write: end with that error; a new start reads what really is on the disk."""
        log.critical("ledger.broken", reason=error.reason, error=str(error))
        self._broken = error
        self._commands.put("broken")

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # Runs between any two instructions of the main thread, itself included: no lock may be taken here.
        if number != signal.SIGUSR1:
            self._commands.put("stop")
        elif self._wish is None:  # ten thousand of them are one wish
            self._wish = uuid.uuid4().hex
            self._commands.put("retrain")

    def _stop(self) -> None:
        """No new ticks, then no new claims and the trainers, then the worker; HTTP last, so that it can answer, and
        of that the metrics last."""
        log.info("daemon.draining")
        self._closing.set()
        self._watcher.close()
        if self._scheduler.running:
            self._scheduler.pause()  # else jobs that are due while it shuts down complain
            self._scheduler.shutdown(wait=False)
        self._due.close()
        self._parts.executor.stop(self._config.limits.drain, interrupt=self._parts.worker.close)
        self._parts.worker.close()
        if self._ticker.is_alive():
            self._ticker.join(timeout=10.0)
        self._retrain()  # a signal that came meanwhile is not forgotten
        self._parts.api.stop()
        if self._parts.metrics_listener is not None:
            self._parts.metrics_listener.stop()
        self._parts.metrics.close()
        self._store.close()
        log.info("daemon.stopped")

    # --- ticks --------------------------------------------------------------------------------------------

    def _heard(self, folder: Path, names: frozenset[str]) -> None:
        for model, watch in self._parts.watches.items():
            for source in watch.sources:
                if isinstance(source, FolderSource) and source.folder == folder:
                    for name in names:
                        source.renamed_in(name)
                    self._due.add(model, only_if_new=True)

    def _watch_folders(self) -> None:
        folders = {
            (source.folder, source.recursive)
            for watch in self._parts.watches.values()
            for source in watch.sources
            if isinstance(source, FolderSource)
        }
        self._watcher.start(folders)

    def _tick_for_ever(self) -> None:
        failures: Counter[str] = Counter()
        while (due := self._due.take()) is not None:
            model, only_if_new = due
            try:
                tick = self._parts.monitor.tick(model, only_if_new=only_if_new)
                failures[model] = failures[model] + 1 if tick.failed else 0
                self._plan_next(model, tick, failures[model])
            except Exception:  # the thread must live on: the other models need it
                log.exception("tick.broke", model=model)
                self._due.add(model)
                self._closing.wait(RETRY_S)

    def _plan_next(self, model: str, tick: Tick, failures: int) -> None:
        """Come back when a file may have settled, when time alone would change the decision, or to try again."""
        settles = self._parts.monitor.pending_s(model)
        if settles is not None:
            self._come_back(model, settles, "settle", only_if_new=True)
        if failures:
            wait = min(RETRY_S * 2.0 ** min(failures - 1, 10), LONGEST_RETRY_S)
            self._come_back(model, wait, "again", only_if_new=False)
        if tick.decision is not None and tick.decision.decision.retry_at is not None:
            wait = (tick.decision.decision.retry_at - tick.decision.decision.now).total_seconds()
            self._come_back(model, min(max(wait, 0.05), LONGEST_NAP_S), "retry", only_if_new=False)

    def _come_back(self, model: str, wait_s: float, why: str, *, only_if_new: bool) -> None:
        self._scheduler.add_job(
            self._due.add,
            "date",
            kwargs={"model": model, "only_if_new": only_if_new},
            run_date=self._clock() + timedelta(seconds=wait_s + 0.01),
            id=f"{why}:{model}",
            replace_existing=True,
        )

    def _take_spool(self) -> None:
        """Demands that were written while no daemon ran. A file goes only after its demand is in the ledger."""
        for path, wish in spool.waiting(self._folders.spool):
            try:
                if wish is None:
                    raise UnknownNameError("it holds no wish for a run", reason="no_wish")
                self._parts.control.request_run(
                    wish.model, origin="spool", key=wish.key, force=wish.force, note=wish.note, id=wish.id
                )
            except StateError:
                raise
            except CtDaemonError as error:
                log.error("spool.refused", file=path.name, error=str(error))
                path.replace(path.with_suffix(".refused"))
                continue
            failpoint("spool.recorded")
            path.unlink()

    def _look_after(self) -> None:
        """What a start does, for what comes late: a command that found no daemon may leave its note after the start
        has looked for notes, and somebody may take an alias away."""
        self._put_off_if_refused(self._take_spool)
        self._put_off_if_refused(lambda: reconcile(self._parts.shops))

    def _tidy(self) -> None:
        self._put_off_if_refused(lambda: tidy(self._store, self._folders, self._config))

    def _put_off_if_refused(self, job: Callable[[], object]) -> None:
        """Work that nobody waits for: what a locked ledger or a full disk refuses now is done the next time."""
        try:
            job()
        except CtDaemonError as error:
            log.warning("job.put_off", reason=error.reason, error=str(error))

    def _note_trainer(self, run_id: str, pid: int, started: float) -> None:
        """Who trains is in the ledger before it works, so that a later daemon could end it."""
        with self._store.write() as tx:
            run = self._store.runs.get(tx, run_id)
            if run.cancel_requested:  # at the moment when its trainer was being started
                raise TrainingError(f"run {run_id} is cancelled", reason="stopped")
            self._store.runs.note_child(tx, run, pid, started)

    def _emit(self, event: Event) -> None:
        for observer in self._observers:
            try:
                observer(event)
            except Exception:
                log.exception("observer.failed", observer=type(observer).__name__)
