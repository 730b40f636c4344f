"""The rooms of a daemon, built and handed to each other: the one place that names the concrete adapters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from ct_daemon.api.server import ApiServer
from ct_daemon.config import Config, ModelSettings
from ct_daemon.control import Control
from ct_daemon.deployment.alias import AliasTarget
from ct_daemon.folders import StateFolder
from ct_daemon.metrics.exposition import Metrics
from ct_daemon.metrics.listener import MetricsListener
from ct_daemon.monitor.monitor import Monitor
from ct_daemon.monitor.watch import Watch
from ct_daemon.pipeline.executor import Executor, ExecutorSettings
from ct_daemon.pipeline.workshop import Workshop
from ct_daemon.policy import Policy
from ct_daemon.protocols import Source, Trigger
from ct_daemon.sources.files import FolderSource
from ct_daemon.store.store import Store
from ct_daemon.training.runner import ProcessRunner
from ct_daemon.triggers.concept_drift import ConceptDrift
from ct_daemon.triggers.initial import Initial
from ct_daemon.triggers.new_data import NewData
from ct_daemon.triggers.on_demand import OnDemand
from ct_daemon.types import BatchKind, Event
from ct_daemon.workers.client import WorkerProcess

POLITE = {"OMP_WAIT_POLICY": "PASSIVE"}
"""OpenMP threads that wait must not spin: on a busy machine that made a fit ten times slower."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a daemon is made of, beside its threads."""

    store: Store
    worker: WorkerProcess
    shops: Mapping[str, Workshop]
    watches: Mapping[str, Watch]
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
    """
    limits = config.limits
    worker = WorkerProcess(
        memory_mb=limits.worker_memory_mb, time_s=limits.worker_time, idle_s=limits.worker_idle, env=POLITE
    )
    trainer = ProcessRunner(on_start=on_trainer, env=POLITE)
    target = AliasTarget(lambda model: config.models[model].alias.folder or folders.deploy)
    shops = {
        model: Workshop(
            model=model,
            settings=settings,
            folders=folders,
            store=store,
            worker=worker,
            trainer=trainer,
            target=target,
            clock=clock,
        )
        for model, settings in config.models.items()
    }
    watches = {model: watch_of(model, settings, folders) for model, settings in config.models.items()}
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
        worker=worker,
        watches=watches,
        emit=emit,
        queued=executor.notify,
        clock=clock,
    )
    control = Control(
        store=store,
        shops=shops,
        monitor=monitor,
        executor=executor,
        emit=emit,
        wake=wake,
        clock=clock,
    )
    metrics = Metrics(config.metrics, store, watches, folders.root)
    listen = config.metrics.listen
    api = ApiServer(
        control=control,
        store=store,
        folders=folders,
        models=tuple(config.models),
        scrape=metrics.scrape if listen is None else None,
    )
    return Parts(
        store=store,
        worker=worker,
        shops=shops,
        watches=watches,
        monitor=monitor,
        executor=executor,
        control=control,
        metrics=metrics,
        metrics_listener=None if listen is None else MetricsListener(listen, metrics.scrape),
        api=api,
    )


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
