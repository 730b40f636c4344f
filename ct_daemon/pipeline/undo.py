"""A deployment that can't be completed is taken back: what was live before is live again."""

from __future__ import annotations

from collections.abc import Callable

import structlog
from sqlalchemy import Connection

from ct_daemon.errors import DeployError
from ct_daemon.pipeline.workshop import Workshop, files_of
from ct_daemon.store.store import Store
from ct_daemon.types import Deployment, DeploymentState, ModelVersion, Run

log = structlog.get_logger(__name__)


def undo(shop: Workshop, run: Run) -> Callable[[Connection], object]:
    """Put back what was live before the run, if it has begun to deploy; returns what to record with the run's end."""
    with shop.store.read() as tx:
        deployment = shop.store.deployments.of_run(tx, run.id)
    if deployment is None or deployment.state is not DeploymentState.SWITCHING:
        return lambda tx: None
    return take_back(shop, deployment)


def take_back(shop: Workshop, deployment: Deployment) -> Callable[[Connection], object]:
    """Let the target show again what was live before a deployment that can't be completed.

    Returns what to record: the ledger's champion is the one before, whatever the target could be brought to show;
    a start puts right a target that does not follow the ledger.
    """
    store, model = shop.store, shop.model
    with store.read() as tx:
        before = None
        if deployment.previous is not None:
            before = store.versions.get(tx, model, deployment.previous)
    try:
        with shop.deploying:
            if before is None:
                shop.target.withdraw(model)
            else:
                shop.target.deploy(model, files_of(shop.folders, before))
    except DeployError as error:
        log.error("alias.broken", model=model, reason=error.reason, error=str(error))

    def record(tx: Connection) -> None:
        store.deployments.set_state(tx, deployment.seq, DeploymentState.UNDONE)
        if before is not None:
            store.models.set_window_from(tx, model, _measured_until(store, tx, before))

    return record


def _measured_until(store: Store, tx: Connection, version: ModelVersion) -> int:
    """The batch up to which rows have been compared with a version's baseline, or lie in it."""
    windows = store.windows.list(
        tx, version.model, version=version.version, baseline_digest=version.baseline_digest, limit=1
    )
    if windows:
        return windows[-1].last_batch_seq
    snapshot = store.versions.snapshot_get(tx, version.snapshot)
    return store.batches.totals(tx, version.model).last_seq if snapshot is None else snapshot.last_seq
