"""What a start puts right before anything else works: trainers left behind, targets that don't follow the ledger."""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from ct_daemon.control import finish_rollback
from ct_daemon.errors import DeployError
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
    """The target follows the ledger: finish a rollback that a crash cut in two, put a lost alias back."""
    for model, shop in shops.items():
        with shop.store.read() as tx:
            live, version = champion_of(shop.store, tx, model)
        if live is None or version is None:
            continue
        files = files_of(shop.folders, version)
        try:
            if live.kind == "rollback" and live.state is DeploymentState.SWITCHING:
                finish_rollback(shop, live)
            elif live.state is DeploymentState.LIVE and _shown(shop, model) != files:
                shop.target.deploy(model, files)
                log.warning("alias.restored", model=model, version=version.version)
        except DeployError as error:  # one model's damage must not keep the others from being served
            log.error("alias.broken", model=model, reason=error.reason, error=str(error))


def _shown(shop: Workshop, model: str) -> VersionFiles | None:
    """What the target shows; None also if it shows nothing usable."""
    try:
        return shop.target.current(model)
    except DeployError as error:
        log.warning("alias.broken", model=model, reason=error.reason, error=str(error))
        return None
