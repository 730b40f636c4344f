"""What is put right at the start and now and then: trainers left behind, targets that don't follow the ledger."""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from ct_daemon.errors import DeployError
from ct_daemon.pipeline.undo import finish_rollback
from ct_daemon.pipeline.workshop import Workshop, champion_of, files_of
from ct_daemon.processes.kin import kill_marked
from ct_daemon.protocols import VersionFiles
from ct_daemon.store.store import Store
from ct_daemon.types import DeploymentState

log = structlog.get_logger(__name__)


def end_trainers(store: Store) -> None:
    """End trainers that a former process may have left (the kernel does so too; this is for when it can't)."""
    with store.read() as tx:
        active = store.runs.all_active(tx)
    for run in active:
        kill_marked(run.id)


def reconcile(shops: Mapping[str, Workshop]) -> None:
    """The target follows the ledger: finish a rollback that was cut in two, put a lost alias back, take one away that
    nothing stands behind."""
    for shop in shops.values():
        try:
            with shop.deploying:
                _follow(shop)
        except DeployError as error:  # one model's damage must not keep the others from being served
            log.error("alias.broken", model=shop.model, reason=error.reason, error=str(error))


def _follow(shop: Workshop) -> None:
    model = shop.model
    with shop.store.read() as tx:
        live, version = champion_of(shop.store, tx, model)
        tried = bool(shop.store.deployments.list(tx, model, limit=1))
    if live is None or version is None:
        if tried and shop.target.current(model) is not None:
            shop.target.withdraw(model)
            log.warning("alias.withdrawn", model=model)
        return
    files = files_of(shop.folders, version)
    if live.kind == "rollback" and live.state is DeploymentState.SWITCHING:
        finish_rollback(shop, live)
    elif live.state is DeploymentState.LIVE and _shown(shop, model) != files:
        shop.target.deploy(model, files)
        log.warning("alias.restored", model=model, version=version.version)


def _shown(shop: Workshop, model: str) -> VersionFiles | None:
    """What the target shows; None also if it shows nothing usable."""
    try:
        return shop.target.current(model)
    except DeployError as error:
        log.warning("alias.broken", model=model, reason=error.reason, error=str(error))
        return None
