"""The composition root of the daemon: builds the rooms, starts them, keeps them ticking, drains and stops.

Threads: *main* waits for signals; *ticks* looks at one model after the other; *watch* hears of files; *run-N*
carry runs; *worker* holds the worker process; *api* answers the control socket; APScheduler's thread re-scans and
cleans up. All of them find their work in the ledger, so any of them may die with the process at any moment.
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
from ct_daemon.api.server import ApiServer
from ct_daemon.clock import wall
from ct_daemon.config import Config, ModelSettings
from ct_daemon.control import Control, finish_rollback
from ct_daemon.deployment.alias import AliasTarget
from ct_daemon.errors import CtDaemonError, DeployError, StateError, TrainingError, UnknownNameError
from ct_daemon.failpoints import failpoint
from ct_daemon.folders import StateFolder
from ct_daemon.housekeeping import sweep, tidy
from ct_daemon.monitor.monitor import Monitor, Tick
from ct_daemon.monitor.watch import Watch
from ct_daemon.pipeline.executor import Executor, ExecutorSettings
from ct_daemon.pipeline.workshop import Workshop, champion_of, files_of
from ct_daemon.policy import Policy
from ct_daemon.processes.kin import kill_marked
from ct_daemon.protocols import Observer, Source, Trigger, VersionFiles
from ct_daemon.sources.files import FolderSource
from ct_daemon.sources.staging import clean_staging
from ct_daemon.sources.watch import FolderWatcher
from ct_daemon.store.lock import StateLock
from ct_daemon.store.store import Store
from ct_daemon.training.runner import ProcessRunner
from ct_daemon.triggers.concept_drift import ConceptDrift
from ct_daemon.triggers.initial import Initial
from ct_daemon.triggers.new_data import NewData
from ct_daemon.triggers.on_demand import OnDemand
from ct_daemon.types import BatchKind, DeploymentState, Event
from ct_daemon.workers.client import WorkerProcess

log = structlog.get_logger(__name__)

TIDY_EVERY_S = 3600.0
SPOOL_EVERY_S = 30.0
POLITE = {"OMP_WAIT_POLICY": "PASSIVE"}
"""OpenMP threads that wait must not spin: on a busy machine that made a fit ten times slower."""
RETRY_S, LONGEST_RETRY_S = 1.0, 60.0
"""A look that failed is repeated after so long, twice as long each time up to the longest."""
LONGEST_NAP_S = 3600.0
"""A decision that time alone would change is looked at again at least this often, whatever the clocks say."""


class Due:
    """The models that wait for a tick: each at most once, first come first served."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._models: dict[str, bool] = {}
        self._ticking = False
        self._closed = False

    def add(self, model: str, *, only_if_new: bool = False) -> None:
        """Wish for a tick; a full one outweighs one that only looks for new files."""
        with self._changed:
            self._models[model] = self._models.get(model, True) and only_if_new
            self._changed.notify()

    def take(self) -> tuple[str, bool] | None:
        """The next model and whether only new files matter; None when closed."""
        with self._changed:
            self._ticking = False
            self._changed.wait_for(lambda: self._models or self._closed)
            if self._closed:
                return None
            self._ticking = True
            model = next(iter(self._models))
            return model, self._models.pop(model)

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing is being looked at."""
        with self._changed:
            return not self._models and not self._ticking

    def close(self) -> None:
        """No more ticks."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


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
        return self._control

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
        config, folders = self._config, self._folders
        self._store = Store.open(folders.root)
        self._store.database.on_broken = self._ledger_broke
        limits = config.limits
        self._worker = WorkerProcess(
            memory_mb=limits.worker_memory_mb,
            time_s=limits.worker_time,
            idle_s=limits.worker_idle,
            env=POLITE,
        )
        trainer = ProcessRunner(on_start=self._note_trainer, env=POLITE)
        target = AliasTarget(lambda model: config.models[model].alias.folder or folders.deploy)
        shops = {
            model: Workshop(
                model=model,
                settings=settings,
                folders=folders,
                store=self._store,
                worker=self._worker,
                trainer=trainer,
                target=target,
                clock=self._clock,
            )
            for model, settings in config.models.items()
        }
        watches = {model: watch_of(model, settings, folders) for model, settings in config.models.items()}
        self._shops, self._watches = shops, watches
        self._monitor = Monitor(
            store=self._store,
            folders=folders,
            worker=self._worker,
            watches=watches,
            emit=self._emit,
            queued=lambda: self._executor.notify(),
            clock=self._clock,
        )
        self._executor = Executor(
            store=self._store,
            folders=folders,
            trainer=trainer,
            shops=shops,
            settings=ExecutorSettings(runs=limits.runs, attempts=limits.attempts),
            emit=self._emit,
            ended=self._due.add,
            clock=self._clock,
        )
        self._control = Control(
            store=self._store,
            shops=shops,
            monitor=self._monitor,
            executor=self._executor,
            emit=self._emit,
            wake=self._due.add,
            clock=self._clock,
        )
        self._api = ApiServer(
            control=self._control, store=self._store, folders=folders, models=tuple(config.models)
        )
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
        sweep(self._store, self._folders)
        self._clear_leftovers()
        self._reconcile()
        self._executor.start()
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
        # A command that found no daemon may leave its note after the start has looked for notes.
        self._scheduler.add_job(self._take_spool, "interval", seconds=SPOOL_EVERY_S, id="spool")
        self._ticker.start()
        for model in self._config.models:
            self._due.add(model)
        self._api.start()
        self.ready.set()
        log.info(
            "daemon.ready", pid=os.getpid(), models=len(self._config.models), state=str(self._folders.root)
        )

    def _serve(self) -> None:
        """Wait for commands: signals put them into the queue, and this thread is the one that hears signals."""
        while True:
            command = self._commands.get()
            if self._broken is not None:
                raise self._broken
            if command == "stop":
                return
            if not self._retrain():
                again = threading.Timer(RETRY_S, self._commands.put, args=("retrain",))
                again.daemon = True
                again.start()

    def _retrain(self) -> bool:
        """Record the wish of a SIGUSR1; whether that is done. Until then it stays the same wish."""
        wish, self._wish = self._wish, None
        if wish is None:
            return True
        try:
            tickets = self._control.request_by_signal(wish)
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
        """No new ticks, then no new claims and the trainers, then the worker; HTTP last, so that it can answer."""
        log.info("daemon.draining")
        self._closing.set()
        self._watcher.close()
        if self._scheduler.running:
            self._scheduler.pause()  # else jobs that are due while it shuts down complain
            self._scheduler.shutdown(wait=False)
        self._due.close()
        self._executor.stop(self._config.limits.drain, interrupt=self._worker.close)
        self._worker.close()
        if self._ticker.is_alive():
            self._ticker.join(timeout=10.0)
        self._retrain()  # a signal that came meanwhile is not forgotten
        self._api.stop()
        self._store.close()
        log.info("daemon.stopped")

    # --- ticks --------------------------------------------------------------------------------------------

    def _heard(self, folder: Path, names: frozenset[str]) -> None:
        for model, watch in self._watches.items():
            for source in watch.sources:
                if isinstance(source, FolderSource) and source.folder == folder:
                    for name in names:
                        source.renamed_in(name)
                    self._due.add(model, only_if_new=True)

    def _watch_folders(self) -> None:
        folders = {
            (source.folder, source.recursive)
            for watch in self._watches.values()
            for source in watch.sources
            if isinstance(source, FolderSource)
        }
        self._watcher.start(folders)

    def _tick_for_ever(self) -> None:
        failures: Counter[str] = Counter()
        while (due := self._due.take()) is not None:
            model, only_if_new = due
            try:
                tick = self._monitor.tick(model, only_if_new=only_if_new)
                failures[model] = failures[model] + 1 if tick.failed else 0
                self._plan_next(model, tick, failures[model])
            except Exception:  # the thread must live on: the other models need it
                log.exception("tick.broke", model=model)
                self._due.add(model)
                self._closing.wait(RETRY_S)

    def _plan_next(self, model: str, tick: Tick, failures: int) -> None:
        """Come back when a file may have settled, when time alone would change the decision, or to try again."""
        settles = self._monitor.pending_s(model)
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

    # --- at the start -------------------------------------------------------------------------------------

    def _clear_leftovers(self) -> None:
        """End trainers that a former process may have left (the kernel does so too; this is for when it can't)."""
        with self._store.read() as tx:
            active = self._store.runs.all_active(tx)
        for run in active:
            kill_marked(run.id)

    def _reconcile(self) -> None:
        """The target follows the ledger: finish a rollback that a crash cut in two, put a lost alias back."""
        for model, shop in self._shops.items():
            with self._store.read() as tx:
                live, version = champion_of(self._store, tx, model)
            if live is None or version is None:
                continue
            files = files_of(self._folders, version)
            try:
                if live.kind == "rollback" and live.state is DeploymentState.SWITCHING:
                    finish_rollback(shop, live)
                elif live.state is DeploymentState.LIVE and _shown(shop, model) != files:
                    shop.target.deploy(model, files)
                    log.warning("alias.restored", model=model, version=version.version)
            except DeployError as error:  # one model's damage must not keep the others from being served
                log.error("alias.broken", model=model, reason=error.reason, error=str(error))

    def _take_spool(self) -> None:
        """Demands that were written while no daemon ran. A file goes only after its demand is in the ledger."""
        for path, wish in spool.waiting(self._folders.spool):
            try:
                if wish is None:
                    raise UnknownNameError("it holds no wish for a run", reason="no_wish")
                self._control.request_run(
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

    def _note_trainer(self, run_id: str, pid: int, started: float) -> None:
        """Who trains is in the ledger before it works, so that a later daemon could end it."""
        with self._store.write() as tx:
            run = self._store.runs.get(tx, run_id)
            if run.cancel_requested:  # at the moment when its trainer was being started
                raise TrainingError(f"run {run_id} is cancelled", reason="stopped")
            self._store.runs.note_child(tx, run, pid, started)

    def _tidy(self) -> None:
        tidy(self._store, self._folders, self._config)

    def _emit(self, event: Event) -> None:
        for observer in self._observers:
            try:
                observer(event)
            except Exception:
                log.exception("observer.failed", observer=type(observer).__name__)


def _shown(shop: Workshop, model: str) -> VersionFiles | None:
    """What the target shows; None also if it shows nothing usable."""
    try:
        return shop.target.current(model)
    except DeployError as error:
        log.warning("alias.broken", model=model, reason=error.reason, error=str(error))
        return None


def watch_of(model: str, settings: ModelSettings, folders: StateFolder) -> Watch:
    """A model's sources, triggers and policy, from its settings."""
    staging = folders.staging
    sources: list[Source] = [FolderSource("rows", BatchKind.ROWS, settings.source, staging)]
    if settings.labels is not None:
        sources.append(FolderSource("labels", BatchKind.LABELS, settings.labels, staging))
    triggers: list[Trigger] = [OnDemand(), Initial(min_rows=settings.training.min_rows)]
    new_data, drift = settings.triggers.new_data, settings.triggers.concept_drift
    if new_data is not None:
        triggers.append(NewData(rows=new_data.rows, files=new_data.files))
    windows = 1
    if drift is not None:
        windows = drift.looks_at
        triggers.append(
            ConceptDrift(psi=drift.psi, ks=drift.ks, columns=drift.columns, windows=drift.windows, of=windows)
        )
    rules = settings.policy
    policy = Policy(
        cooldown_s=rules.cooldown,
        budget_runs=None if rules.budget is None else rules.budget.runs,
        budget_per_s=0.0 if rules.budget is None else rules.budget.per,
        coalesce_s=rules.coalesce,
        back_off_first_s=rules.back_off.first,
        back_off_longest_s=rules.back_off.longest,
    )
    return Watch(
        model=model,
        settings=settings,
        sources=tuple(sources),
        triggers=tuple(triggers),
        policy=policy,
        windows=windows,
    )
