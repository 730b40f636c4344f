"""The rooms of a daemon, built and handed to each other: the one place that names the concrete adapters."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from ct_daemon.api.server import ApiServer
from ct_daemon.config import Config, Disarm, ModelSettings, TriggerSettings
from ct_daemon.control import Control, Reloaded
from ct_daemon.deployment.alias import AliasTarget
from ct_daemon.folders import StateFolder
from ct_daemon.living import Living
from ct_daemon.metrics.exposition import Metrics
from ct_daemon.metrics.listener import MetricsListener
from ct_daemon.monitor.monitor import Monitor
from ct_daemon.monitor.patience import PatientWorker
from ct_daemon.monitor.slots import Timetable
from ct_daemon.monitor.watch import Watch
from ct_daemon.pipeline.executor import Executor, ExecutorSettings
from ct_daemon.pipeline.workshop import Workshop
from ct_daemon.policy import Policy
from ct_daemon.protocols import Source, Trigger
from ct_daemon.pulse import Pulse
from ct_daemon.sources.files import FolderSource
from ct_daemon.store.store import Store
from ct_daemon.training.runner import ProcessRunner
from ct_daemon.triggers.concept_drift import ConceptDrift
from ct_daemon.triggers.control import EveryN, Never
from ct_daemon.triggers.initial import Initial
from ct_daemon.triggers.new_data import NewData
from ct_daemon.triggers.on_demand import OnDemand
from ct_daemon.triggers.performance_drop import PerformanceDrop
from ct_daemon.triggers.schedule import Schedule
from ct_daemon.types import BatchKind, Event
from ct_daemon.workers.client import WorkerProcess

WORKER_START_S = 15.0
"""Starting and ending the worker process, beside the time of its requests."""
POLITE = {"OMP_WAIT_POLICY": "PASSIVE"}
"""OpenMP threads that wait must not spin: on a busy machine that made a fit ten times slower."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a daemon is made of, beside its threads."""

    store: Store
    folders: StateFolder
    worker: WorkerProcess
    trainer: ProcessRunner
    clock: Callable[[], datetime]
    pulse: Pulse
    """Of the loop that ticks."""
    shops: Living[Workshop]
    watches: Living[Watch]
    monitor: Monitor
    executor: Executor
    control: Control
    metrics: Metrics
    metrics_listener: MetricsListener | None
    api: ApiServer


def build(
    config: Config,
    store: Store,
    folders: StateFolder,
    *,
    emit: Callable[[Event], None],
    wake: Callable[[str], None],
    on_trainer: Callable[[str, int, float], None],
    clock: Callable[[], datetime],
    reload: Callable[[], Reloaded] | None = None,
) -> Parts:
    """Build everything; nothing is started.

    Parameters
    ----------
    emit : callable
        Hears every fact.
    wake : callable
        Called with a model that should be looked at soon.
    on_trainer : callable
        Hears of each trainer before it is waited for: run, pid, identity.
    reload : callable, optional
        Reads the configuration anew.
    """
    pulse = Pulse()
    limits = config.limits
    worker = WorkerProcess(
        memory_mb=limits.worker_memory_mb,
        time_s=limits.worker_time,
        idle_s=limits.worker_idle,
        env=POLITE | _settings_of_dask(config),
        scratch=folders.scratch,
    )
    trainer = ProcessRunner(on_start=on_trainer, env=POLITE)
    watches = Living(
        {m: watch_of(m, settings, folders, progress=pulse.beat) for m, settings in config.models.items()}
    )
    shops: Living[Workshop] = Living({})
    executor = Executor(
        store=store,
        folders=folders,
        trainer=trainer,
        shops=shops,
        settings=ExecutorSettings(runs=limits.runs, attempts=limits.attempts),
        emit=emit,
        ended=wake,
        clock=clock,
    )
    monitor = Monitor(
        store=store,
        folders=folders,
        worker=PatientWorker(worker, pulse, (limits.runs + 1) * limits.worker_time + WORKER_START_S),
        watches=watches,
        emit=emit,
        queued=executor.notify,
        clock=clock,
        pulse=pulse,
        cluster=config.scale.dask,
    )
    control = Control(
        store=store,
        shops=shops,
        monitor=monitor,
        executor=executor,
        emit=emit,
        wake=wake,
        clock=clock,
        pulse=pulse,
        stalled_after_s=limits.stalled_after,
        reload=reload,
    )
    metrics = Metrics(config.metrics, store, watches, folders.root)
    listen = config.metrics.listen
    api = ApiServer(
        control=control,
        store=store,
        folders=folders,
        settings=config.api,
        hooks=config.hooks,
        scrape=metrics.scrape if listen is None else None,
    )
    parts = Parts(
        store=store,
        folders=folders,
        worker=worker,
        trainer=trainer,
        clock=clock,
        pulse=pulse,
        shops=shops,
        watches=watches,
        monitor=monitor,
        executor=executor,
        control=control,
        metrics=metrics,
        metrics_listener=None if listen is None else MetricsListener(listen, metrics.scrape),
        api=api,
    )
    shops.swap({model: shop_of(model, settings, parts) for model, settings in config.models.items()})
    return parts


def _settings_of_dask(config: Config) -> dict[str, str]:
    """The variables by which Dask is told of certificates and limits, where a cluster is used."""
    if config.scale.dask is None:
        return {}
    return {name: value for name, value in os.environ.items() if name.startswith("DASK_")}


def shop_of(model: str, settings: ModelSettings, parts: Parts, *, known: Workshop | None = None) -> Workshop:
    """What a model's runs work with, from its settings; a model that is `known` keeps its lock.

    Each has a target of its own, so that a run that began before a reload ends where it began.
    """
    target = AliasTarget(lambda _: settings.alias.folder or parts.folders.deploy)
    if known is not None:
        return replace(known, settings=settings, target=target)
    return Workshop(
        model=model,
        settings=settings,
        folders=parts.folders,
        store=parts.store,
        worker=parts.worker,
        trainer=parts.trainer,
        target=target,
        clock=parts.clock,
    )


def watch_of(
    model: str, settings: ModelSettings, folders: StateFolder, *, progress: Callable[[], object] = object
) -> Watch:
    """A model's sources, triggers and policy, from its settings."""
    files = partial(FolderSource, staging=folders.staging, progress=progress)
    sources: list[Source] = [files("rows", BatchKind.ROWS, settings.source)]
    if settings.labels is not None:
        sources.append(files("labels", BatchKind.LABELS, settings.labels))
    triggers: list[Trigger] = [OnDemand(), Initial(min_rows=settings.training.min_rows)]
    triggers += _evidence(settings.triggers)
    chosen = settings.triggers
    timetable = None
    if chosen.schedule is not None:
        timetable = Timetable(calendar=chosen.schedule.calendar(model), missed=chosen.schedule.missed)
        triggers.append(Schedule(rule=timetable.calendar.rule))
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
        windows=1 if chosen.concept_drift is None else chosen.concept_drift.looks_at,
        labels=None if chosen.performance_drop is None else chosen.performance_drop.labels,
        timetable=timetable,
    )


def _evidence(chosen: TriggerSettings) -> list[Trigger]:
    """The triggers that look at data, as far as they are configured."""
    found: list[Trigger] = []
    new, drift, drop, control = chosen.new_data, chosen.concept_drift, chosen.performance_drop, chosen.control
    if new is not None:
        found.append(NewData(rows=new.rows, files=new.files, max_rows=new.max_rows, max_age_s=new.max_age))
    if drift is not None:
        disarm = drift.disarm or Disarm()
        found.append(
            ConceptDrift(
                psi=drift.psi,
                ks=drift.ks,
                missing=drift.missing,
                unseen=drift.unseen,
                joint=drift.joint,
                columns=drift.columns,
                among=None if drift.among is None else frozenset(drift.among),
                windows=drift.windows,
                of=drift.of or drift.windows,
                disarm_psi=disarm.psi,
                disarm_ks=disarm.ks,
            )
        )
    if drop is not None:
        found.append(
            PerformanceDrop(min_labels=drop.min_labels, absolute=drop.absolute, relative=drop.relative)
        )
    if control is not None:
        n = 1 if control.fire == "always" else control.n
        found.append(Never() if control.fire == "never" else EveryN(n=n))
    return found
