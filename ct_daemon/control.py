"""What a person may ask of the running daemon. Signals, HTTP and the command all come here; no rule lives outside."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy import Connection

from ct_daemon import views
from ct_daemon.adopting import as_arrival, refuse_unfit, staged
from ct_daemon.config import ModelSettings
from ct_daemon.errors import (
    ArtifactError,
    ConflictError,
    CtDaemonError,
    DeployError,
    StateError,
    UnknownNameError,
)
from ct_daemon.failpoints import failpoint
from ct_daemon.manifests import check_version
from ct_daemon.monitor.monitor import Monitor
from ct_daemon.pipeline.adopted import refuse_second
from ct_daemon.pipeline.executor import Executor
from ct_daemon.pipeline.states import RunState
from ct_daemon.pipeline.undo import finish_rollback
from ct_daemon.pipeline.workshop import Workshop, champion_of, files_of
from ct_daemon.pulse import Pulse
from ct_daemon.spool import SpooledWish
from ct_daemon.store.store import Store
from ct_daemon.types import (
    Demand,
    Deployment,
    Event,
    ModelDeployed,
    ModelVersion,
    RecordedDecision,
    Rule,
    Run,
)

log = structlog.get_logger(__name__)

STALLED_AFTER_S = 60.0
"""A loop that shows nothing for so long counts as stalled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """The reply to a person's wish: it is in the ledger, and this is what the policy said."""

    demand: Demand
    is_new: bool
    decision: RecordedDecision | None
    verdict: str
    """`start`, `joined`, `hold`, or `recorded` when the policy could not be asked right now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reloaded:
    """What a reload has changed: names of models, and paths of other settings."""

    path: str
    """The file that was read."""
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    """Other settings that are new and in force."""
    needs_restart: tuple[str, ...] = ()
    """Settings that differ in the file and stay as they were until the next start."""


class Control:
    """The daemon's buttons.

    Parameters
    ----------
    wake : callable
        Called with a model that should be looked at soon.
    pulse : Pulse, optional
        Of the loop that ticks; `health` looks at it.
    stalled_after_s : float
        A loop that shows nothing for so long counts as stalled.
    reload : callable, optional
        Reads the configuration anew.
    """

    config_error: str | None = None
    """Why the newest configuration was refused; None since one was taken."""

    def __init__(
        self,
        *,
        store: Store,
        shops: Mapping[str, Workshop],
        monitor: Monitor,
        executor: Executor,
        emit: Callable[[Event], None],
        wake: Callable[[str], None],
        clock: Callable[[], datetime],
        pulse: Pulse | None = None,
        stalled_after_s: float = STALLED_AFTER_S,
        reload: Callable[[], Reloaded] | None = None,
    ) -> None:
        self._pulse, self._stalled_after_s, self._reload = pulse, stalled_after_s, reload
        self._store, self._shops, self._monitor, self._executor = store, shops, monitor, executor
        self._emit, self._wake, self._clock = emit, wake, clock
        self.stopping = False
        """Set when the daemon has begun to stop: wishes are still recorded, for the next start."""

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models under care."""
        return tuple(self._shops)

    def settings(self, model: str) -> ModelSettings:
        """What is configured for a model."""
        return self._shop(model).settings

    def request_run(
        self,
        model: str,
        *,
        origin: str,
        key: str | None = None,
        force: bool = False,
        note: str = "",
        id: str | None = None,
    ) -> Ticket:
        """Ask for a retraining. When this returns, the wish survives a power cut.

        Parameters
        ----------
        origin : str
            ``signal``, ``http``, ``cli``, ``spool``, ``webhook`` or ``alertmanager``.
        key : str, optional
            Idempotency key: the same key gives the same demand.
        force : bool
            A run of its own: don't join one that is waiting.
        id : str, optional
            The id that the wish was acknowledged with before; a fresh one is given where it can't be used.
        """
        self._shop(model)
        number = uuid.uuid4().hex
        demand = Demand(
            id=id if id is not None and self._is_free(id) else f"d-{number[:12]}",
            model=model,
            origin=origin,
            dedupe_key=key if key is not None else f"{origin}:{number}",
            force=force,
            asked_at=self._clock(),
            note=note,
        )
        recorded, is_new, decision = self._monitor.demand(demand)
        log.info(
            "demand.acknowledged",
            model=model,
            demand=recorded.id,
            origin=origin,
            run=recorded.run_id,
            decision=decision and decision.seq,
        )
        return Ticket(demand=recorded, is_new=is_new, decision=decision, verdict=_verdict(recorded, decision))

    def adopt(
        self,
        model: str,
        digest: str,
        *,
        origin: str,
        key: str | None = None,
        note: str = "",
        id: str | None = None,
    ) -> Ticket:
        """Bring a model made elsewhere under care. When this returns, its reference rows are taken and the wish
        survives a power cut; a run of its own judges it, and makes it live.

        Parameters
        ----------
        digest : str
            Of the staged copies (`adopting.stage`).
        origin, key, note, id
            As `request_run`.

        Raises
        ------
        ConflictError
            `version_live`, or `adopt_waiting`: another one is on its way.
        ArtifactError
            As `adopting.staged` and `adopting.refuse_unfit`.
        ContractError
            The reference rows don't fit; its reason is that of the quarantine.
        """
        shop = self._shop(model)
        with shop.store.read() as tx:
            known = None if key is None else shop.store.demands.with_key(tx, model, key)
            if known is None:
                refuse_second(shop.store, tx, model)
        if known is not None:
            return Ticket(demand=known, is_new=False, decision=None, verdict="recorded")
        adoption = staged(shop.folders, digest)
        refuse_unfit(adoption.artifact, shop.settings.training)
        number = uuid.uuid4().hex
        demand = Demand(
            id=id if id is not None and self._is_free(id) else f"d-{number[:12]}",
            model=model,
            origin=origin,
            dedupe_key=key if key is not None else f"{origin}:{number}",
            force=True,
            asked_at=self._clock(),
            note=note,
            adopt={"digest": digest},
        )
        arrivals = (
            as_arrival(shop.folders, path) for path in adoption.reference
        )  # each copied when it is taken
        recorded, is_new, decision = self._monitor.adopt(demand, arrivals)
        log.info("demand.acknowledged", model=model, demand=recorded.id, origin=origin, run=recorded.run_id)
        return Ticket(demand=recorded, is_new=is_new, decision=decision, verdict=_verdict(recorded, decision))

    def take_wish(self, wish: SpooledWish) -> Ticket:
        """A wish that was left while no daemon ran."""
        if wish.adopt is not None:
            return self.adopt(
                wish.model, wish.adopt, origin="spool", key=wish.key, note=wish.note, id=wish.id
            )
        return self.request_run(
            wish.model, origin="spool", key=wish.key, force=wish.force, note=wish.note, id=wish.id
        )

    def request_by_signal(self, wish: str) -> tuple[Ticket, ...]:
        """SIGUSR1: every model that listens to the signal. One that still waits for its run is asked once only.

        Parameters
        ----------
        wish : str
            Names the signal: asking again for the same one, after an error in the middle, asks for nothing twice.

        Raises
        ------
        CtDaemonError
            The first error. Unless it is the ledger that can't be written, all models have been asked.
        """
        tickets: list[Ticket] = []
        failed: CtDaemonError | None = None
        for model, shop in self._shops.items():
            if not shop.settings.triggers.on_demand.signal:
                continue
            try:
                with shop.store.read() as tx:
                    waiting = [d for d in shop.store.demands.pending(tx, model) if d.origin == "signal"]
                key = waiting[0].dedupe_key if waiting else f"signal:{wish}"
                tickets.append(self.request_run(model, origin="signal", key=key))
            except StateError:
                raise  # the others would meet the same ledger
            except CtDaemonError as error:
                failed = failed or error
        if failed is not None:
            raise failed
        return tuple(tickets)

    def health(self) -> tuple[str, ...]:
        """Names of the models whose last look met a fault, once it is sure that the ledger can be written.

        Raises
        ------
        StateError
            Nothing can be recorded at this moment: nothing can be acknowledged. Or `loop_stalled`: what is
            recorded is not looked at.
        """
        still_s = 0.0 if self._pulse is None else self._pulse.still_s()
        if still_s > self._stalled_after_s:
            raise StateError(
                f"the loop has shown no progress for {still_s:.0f} s; its place is in the log (loop.stalled); "
                "SIGTERM and a new start lose nothing",
                reason="loop_stalled",
            )
        self._store.database.probe()
        return self._monitor.failing

    def reload(self) -> Reloaded:
        """Read the configuration anew and take what can be taken while running.

        Raises
        ------
        ConfigError
            The file has faults: nothing has changed.
        ConflictError
            There is no file, or the daemon is stopping.
        """
        if self._reload is None:
            raise ConflictError("this daemon was not started from a file", reason="no_config_file")
        return self._reload()

    def cancel(self, run_id: str) -> Run:
        """End a run before it goes live."""
        return self._executor.cancel(run_id)

    def withdraw(self, demand_id: str) -> Demand:
        """Take a wish back that waits for its run; doing it twice is harmless.

        Raises
        ------
        ConflictError
            `demand_served`: a run serves it already.
        """
        with self._store.write() as tx:
            demand = self._store.demands.cancel(tx, demand_id)
        log.info("demand.withdrawn", model=demand.model, demand=demand.id)
        self._wake(demand.model)
        return demand

    def pause(self, model: str, reason: str = "") -> None:
        """No run starts until resumed; demands wait in the ledger, a run under way goes on."""
        shop = self._shop(model)
        with shop.store.write() as tx:
            shop.store.models.pause(tx, model, reason)
        log.info("model.paused", model=model, reason=reason)
        self._wake(model)

    def resume(self, model: str) -> None:
        """Let runs start again."""
        shop = self._shop(model)
        with shop.store.write() as tx:
            shop.store.models.resume(tx, model)
        log.info("model.resumed", model=model)
        self._wake(model)

    def rollback(self, model: str, to_version: int | None = None) -> Deployment:
        """Put the version before (or `to_version`) back, with its baseline.

        Raises
        ------
        ConflictError
            If there is none, it is live already, or a run is deploying at this moment.
        DeployError
            If its files are not what was published, or the target can't be switched; what was live stays so.
        """
        shop = self._shop(model)
        store, now = shop.store, self._clock()
        with shop.deploying:
            with store.read() as tx:
                version = _goes_back_to(store, tx, model, to_version)
            try:
                check_version(files_of(shop.folders, version))
            except ArtifactError as error:
                raise DeployError(
                    f"version {version.version} of {model} can't be put back: {error}", reason=error.reason
                ) from error
            with store.write() as tx:
                _goes_back_to(store, tx, model, version.version)  # a run may have begun to deploy meanwhile
                deployment = store.deployments.add(
                    tx,
                    model=model,
                    version=version.version,
                    baseline_digest=version.baseline_digest,
                    kind="rollback",
                    at=now,
                    decided_at=store.models.state(tx, model).now(now),
                )
            failpoint("rollback.recorded")
            try:
                deployment = finish_rollback(shop, deployment)
            except StateError as error:  # recorded, so it is promised: `recovery.reconcile` finishes it
                log.error("rollback.not_finished", model=model, reason=error.reason, error=str(error))
        log.info("model.rolled_back", model=model, version=deployment.version, previous=deployment.previous)
        self._emit(ModelDeployed(deployment=deployment, version=version))
        self._wake(model)
        return deployment

    def _is_free(self, demand_id: str) -> bool:
        """Whether a demand may get this id: it looks like one of ours and names no other demand."""
        if not views.DEMAND_ID.fullmatch(demand_id):
            return False
        with self._store.read() as tx:
            return not self._store.demands.of(tx, [demand_id])

    def _shop(self, model: str) -> Workshop:
        if model not in self._shops:
            names = ", ".join(sorted(self._shops)[:10])
            raise UnknownNameError(
                f"there is no model {model!r}; configured: {names}", reason="unknown_model"
            )
        return self._shops[model]


def _goes_back_to(store: Store, tx: Connection, model: str, to_version: int | None) -> ModelVersion:
    """The version that a rollback makes live, or why there is none."""
    active = store.runs.active(tx, model)
    if active is not None and active.state in (RunState.DEPLOYING, RunState.VERIFYING):
        raise ConflictError(
            f"run {active.id} is deploying; try again when it has ended", reason="run_deploying"
        )
    live, _ = champion_of(store, tx, model)
    if live is None:
        raise ConflictError(f"model {model} has no live version to roll back from", reason="nothing_live")
    if to_version is None:
        before = store.deployments.before(tx, model, live.version)
        if before is None:
            raise ConflictError(
                f"model {model} has no version before {live.version}", reason="no_version_before"
            )
        to_version = before.version
    if to_version == live.version:
        raise ConflictError(f"version {to_version} of {model} is live already", reason="already_live")
    return store.versions.get(tx, model, to_version)


def _verdict(demand: Demand, decision: RecordedDecision | None) -> str:
    if decision is None:
        return "recorded"
    if demand.run_id is None:
        return "hold"
    return "joined" if decision.decision.rule is Rule.JOINED else "start"
