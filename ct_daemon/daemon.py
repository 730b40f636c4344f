"""The daemon's life: it starts its parts, keeps them ticking, drains and stops.

Threads: *main* waits for signals; *ticks* looks at one model after the other; *watch* hears of files; *run-N*
carry runs; *worker* holds the worker process; *api* answers the control socket, *api-tcp* the address where there
is one; *metrics* and *metrics-client* answer Prometheus, for whom *metrics-ledger* reads the ledger; APScheduler's
thread re-scans and cleans up. All of them find their work in the ledger, so any of them may die with the process at
any moment.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime
from functools import partial
from pathlib import Path

import structlog

from ct_daemon import spool
from ct_daemon.agenda import RETRY_S, Agenda, retry_s
from ct_daemon.backups import deleting
from ct_daemon.clock import ClockSteps, wall
from ct_daemon.commands import Command, Commands, answer
from ct_daemon.config import Config
from ct_daemon.control import Control, Reloaded
from ct_daemon.due import Due
from ct_daemon.errors import (
    ConfigError,
    ConflictError,
    CtDaemonError,
    StateError,
    TrainingError,
    UnknownNameError,
    WorkerError,
)
from ct_daemon.failpoints import failpoint
from ct_daemon.folders import StateFolder
from ct_daemon.housekeeping import sweep, tidy
from ct_daemon.notify import Notifier
from ct_daemon.parts import build
from ct_daemon.protocols import Observer
from ct_daemon.recovery import end_trainers, reconcile
from ct_daemon.reload import Change, apply_change, read_change
from ct_daemon.sources.files import FolderSource
from ct_daemon.sources.staging import clean_staging
from ct_daemon.sources.watch import FolderWatcher
from ct_daemon.store.lock import StateLock
from ct_daemon.store.store import Store
from ct_daemon.types import Event
from ct_daemon.vitals import Vitals

log = structlog.get_logger(__name__)

TIDY_EVERY_S = 3600.0
LOOK_AFTER_EVERY_S = 30.0
ADOPT_S = 60.0
"""Beside what the worker may take, for a wish to adopt that waited for the start."""
STOP_MARGIN_S = 30.0
"""A stop takes at most `limits.drain` and so long: trainers and the worker are ended, answers are finished."""
LAST_TICK_S = 8.0
"""A tick that is under way may take so long to its end, of that time."""
USUAL_STOP_S = 90.0
"""What service managers allow a stop by default; a longer drain is announced to them."""


class Daemon:
    """One daemon on one state folder.

    Parameters
    ----------
    config : Config
        With absolute paths, as `config.load` gives it.
    observers : sequence of Observer
        Hear every fact; their errors are logged and dropped.
    path : Path, optional
        The file that `config` came from; `reload` reads it again.
    notifier : Notifier, optional
        Tells the service manager.
    """

    def __init__(
        self,
        config: Config,
        *,
        observers: Sequence[Observer] = (),
        clock: Callable[[], datetime] = wall,
        path: Path | None = None,
        notifier: Notifier | None = None,
    ) -> None:
        self._path = None if path is None else path.absolute()
        self._notifier = notifier or Notifier()
        self._config, self._observers, self._clock = config, tuple(observers), clock
        self._folders = StateFolder(config.state)
        self._commands = Commands()
        self._broken: StateError | None = None
        self._due = Due()
        self._steps = ClockSteps(clock, time.monotonic)
        self._closing = threading.Event()
        self.ready = threading.Event()
        """Set when everything has started."""

    # --- life ---------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Start, serve until SIGTERM or SIGINT (or `ask_to_stop`), stop. Signals only in the main thread."""
        if threading.current_thread() is threading.main_thread():
            self._commands.listen(reloads=self._path is not None)
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

    def reload(self) -> Reloaded:
        """Like SIGHUP, from any thread but the main one, and waits for what comes of it.

        Raises
        ------
        ConfigError
            The file has faults: nothing has changed.
        ConflictError
            There is no file, or the daemon is stopping.
        """
        done: Reloaded = self._commands.ask("reload")
        return done

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
            reload=self.reload,
        )
        self._observers = (*self._observers, self._parts.metrics.observer)
        self._agenda = Agenda(self._due, self._clock)
        self._watched: set[tuple[Path, bool]] = set()
        self._watcher = FolderWatcher(self._heard)
        self._ticker = threading.Thread(target=self._tick_for_ever, name="ticks", daemon=True)
        self._vitals = Vitals(
            self._notifier, self._parts, self._ticker, stalled_after_s=self._config.limits.stalled_after
        )

    def _start(self) -> None:
        with self._store.write() as tx:
            self._store.models.ensure(tx, tuple(self._config.models))
            known = {state.model for state in self._store.models.all(tx)}
            self._store.models.forget_schedules(tx, known - self._config.models.keys())
        clean_staging(self._folders.staging)
        end_trainers(self._store)
        reconcile(self._parts.shops)
        sweep(self._store, self._folders)
        self._parts.executor.start()
        self._take_spool()
        self._watch_folders()
        self._agenda.start()
        self._agenda.rescan(self._config.models)
        self._agenda.every(TIDY_EVERY_S, "tidy", self._tidy, now=True)
        self._agenda.every(LOOK_AFTER_EVERY_S, "look after", self._look_after)
        self._ticker.start()
        for model in self._config.models:
            self._due.add(model)
        self._parts.api.start()
        if self._parts.metrics_listener is not None:
            self._parts.metrics_listener.start()
        self._vitals.ready()
        self.ready.set()
        log.info(
            "daemon.ready", pid=os.getpid(), models=len(self._config.models), state=str(self._folders.root)
        )

    def _serve(self) -> None:
        """Wait for commands: signals put them into the queue, and this thread is the one that hears signals."""
        failures = 0
        while True:
            command = self._next_command()
            if self._broken is not None:
                raise self._broken
            if command.name == "stop":
                return
            if command.name == "reload":
                answer(command, self._reload)
            elif command.name == "status":
                self._vitals.to_log()
            elif command.name == "retrain":
                failures = 0 if self._retrain() else failures + 1
                if failures:
                    again = threading.Timer(retry_s(failures), self._commands.put, args=("retrain",))
                    again.daemon = True
                    again.start()

    def _next_command(self) -> Command:
        """The next thing to do; until it comes, the watchdog is fed as long as the loop makes progress."""
        while True:
            self._vitals.look()
            if self._steps.back():
                log.warning("clock.set_back")
                self._agenda.all_now()
                for model in self._parts.watches:
                    self._due.add(model)
            command = self._commands.next(self._vitals.wake_s)
            if command is not None:
                return command

    def _retrain(self) -> bool:
        """Record the wish of a SIGUSR1; whether that is done. Until then it stays the same wish."""
        wish, self._commands.wish = self._commands.wish, None
        if wish is None:
            return True
        try:
            tickets = self._parts.control.request_by_signal(wish)
        except CtDaemonError as error:
            log.error("signal.not_recorded", reason=error.reason, error=str(error))
            self._commands.wish = self._commands.wish or wish
            return False
        log.info("signal.acknowledged", demands=[ticket.demand.id for ticket in tickets])
        return True

    def _ledger_broke(self, error: StateError) -> None:
        """The disk refused a write: end with that error; a new start reads what really is on the disk."""
        log.critical("ledger.broken", reason=error.reason, error=str(error))
        self._broken = error
        self._commands.put("broken")

    def _stop(self) -> None:
        """No new ticks, then no new claims and the trainers, then the worker; HTTP last, so that it can answer, and
        of that the metrics last."""
        log.info("daemon.draining")
        drain_s = self._config.limits.drain
        self._notifier.stopping(f"draining for at most {drain_s:g} s")
        if drain_s + STOP_MARGIN_S > USUAL_STOP_S:
            self._notifier.extend(drain_s + STOP_MARGIN_S)
        self._closing.set()
        self._parts.control.stopping = True
        self._commands.close()
        self._watcher.close()
        self._agenda.stop()
        self._due.close()
        self._parts.executor.stop(drain_s, interrupt=self._parts.worker.close, hurry=self._commands.hurried)
        self._parts.worker.close()
        if self._ticker.is_alive():
            self._ticker.join(timeout=LAST_TICK_S)
        self._retrain()  # a signal that came meanwhile is not forgotten
        self._parts.api.stop()
        if self._parts.metrics_listener is not None:
            self._parts.metrics_listener.stop()
        self._parts.metrics.close()
        self._store.close()
        log.info("daemon.stopped")

    # --- reload -------------------------------------------------------------------------------------------

    def _reload(self) -> Reloaded:
        """Take what the file says now; if it has faults, nothing changes and everybody who looks is told."""
        if self._path is None:
            raise ConflictError("this daemon was not started from a file", reason="no_config_file")
        self._notifier.reloading()
        try:
            change = read_change(self._path, self._config)
            with self._store.write() as tx:
                self._store.models.ensure(tx, change.told.added)
                self._store.models.forget_schedules(tx, change.told.removed)
            self._parts.api.reload_secrets(change.config.hooks)
            self._take_over(change)
        except CtDaemonError as error:
            faults = [str(fault) for fault in error.faults] if isinstance(error, ConfigError) else []
            log.error("reload.refused", reason=error.reason, error=str(error), faults=faults)
            self._parts.control.config_error = str(error)
            raise
        finally:
            self._vitals.ready()
        return change.told

    def _take_over(self, change: Change) -> None:
        told = change.told
        apply_change(change, self._parts)
        self._config = change.config
        self._parts.control.config_error = None
        self._agenda.forget((*told.removed, *told.changed))
        again = {model: self._config.models[model] for model in (*told.added, *told.changed)}
        self._agenda.rescan(again)
        self._watch_folders()
        self._parts.monitor.refresh(again)
        for model in again:
            self._due.add(model)
        if told.removed:
            self._agenda.once("drop", partial(self._parts.executor.drop, told.removed))
        self._agenda.hasten("look after")  # an alias may have another place
        log.info("reload.done", **{key: value for key, value in asdict(told).items() if value})

    # --- ticks --------------------------------------------------------------------------------------------

    def _heard(self, folder: Path, names: frozenset[str]) -> None:
        for model, watch in self._parts.watches.items():
            for source in watch.sources:
                if isinstance(source, FolderSource) and source.folder == folder:
                    for name in names:
                        source.renamed_in(name)
                    self._due.add(model, only_if_new=True)

    def _watch_folders(self) -> None:
        """Hear of the folders of all sources. The new watcher begins before the old one ends: nothing is missed."""
        folders = {
            (source.folder, source.recursive)
            for watch in self._parts.watches.values()
            for source in watch.sources
            if isinstance(source, FolderSource)
        }
        if folders != self._watched:
            old, self._watcher = self._watcher, FolderWatcher(self._heard)
            self._watcher.start(folders)
            old.close()
            self._watched = folders

    def _take_due(self) -> tuple[str, bool] | None:
        self._parts.pulse.rest()
        due = self._due.take()
        self._parts.pulse.beat()
        return due

    def _tick_for_ever(self) -> None:
        failures: Counter[str] = Counter()
        self._parts.pulse.claim()
        while (due := self._take_due()) is not None:
            model, only_if_new = due
            try:
                tick = self._parts.monitor.tick(model, only_if_new=only_if_new)
                failures[model] = failures[model] + 1 if tick.failed else 0
                settles_s = self._parts.monitor.pending_s(model)
                self._agenda.after(model, tick, settles_s=settles_s, failures=failures[model])
            except Exception:  # the thread must live on: the other models need it
                log.exception("tick.broke", model=model)
                self._due.add(model)
                with self._parts.pulse.waiting(2 * RETRY_S):
                    self._closing.wait(RETRY_S)

    def _take_spool(self) -> None:
        """Demands that were written while no daemon ran. A file goes only after its demand is in the ledger."""
        for path, wish in spool.waiting(self._folders.spool):
            try:
                if wish is None:
                    raise UnknownNameError("it holds no wish for a run", reason="no_wish")
                if wish.adopt is not None:  # its rows are read first; a start may take so long
                    self._notifier.extend(ADOPT_S + 3 * self._config.limits.worker_time)
                self._parts.control.take_wish(wish)
            except StateError:
                raise
            except WorkerError as error:  # nothing is known against the wish: it is taken later
                log.warning("spool.waits", file=path.name, reason=error.reason, error=str(error))
                continue
            except CtDaemonError as error:
                log.error("spool.refused", file=path.name, error=str(error))
                path.replace(path.with_suffix(".refused"))
                continue
            except (
                Exception
            ):  # it was acknowledged, so it stays and is tried again; the start and the others go on
                log.exception("spool.broke", file=path.name)
                continue
            failpoint("spool.recorded")
            path.unlink()

    def _look_after(self) -> None:
        """What a start does, for what comes late: a command that found no daemon may leave its note after the start
        has looked for notes, and somebody may take an alias away."""
        self._put_off_if_refused(self._take_spool)
        self._put_off_if_refused(lambda: reconcile(self._parts.shops))

    def _tidy(self) -> None:
        with deleting(self._folders.root) as may:
            if may:
                self._put_off_if_refused(lambda: tidy(self._store, self._folders, self._config))
            else:
                log.info("retention.put_off", why="a backup is being made")

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
