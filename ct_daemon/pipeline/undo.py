"""Going back: a deployment that can't be completed is taken back, and a rollback that was recorded is finished."""

from __future__ import annotations

from collections.abc import Callable

import structlog
from sqlalchemy import Connection

from ct_daemon.errors import DeployError
from ct_daemon.failpoints import failpoint
from ct_daemon.pipeline.workshop import Workshop, files_of
from ct_daemon.types import Deployment, DeploymentState, Run

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
    `recovery.reconcile` puts right a target that does not follow the ledger.
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
    return lambda tx: store.deployments.set_state(tx, deployment.seq, DeploymentState.UNDONE)


def finish_rollback(shop: Workshop, deployment: Deployment) -> Deployment:
    """Switch the target to a recorded rollback; may be done twice.

    Raises
    ------
    DeployError
        If the target can't be switched: then what was live before is live again.
    """
    store, model = shop.store, shop.model
    with shop.deploying:
        with store.read() as tx:
            version = store.versions.get(tx, model, deployment.version)
        try:
            shop.target.deploy(model, files_of(shop.folders, version))
        except DeployError:
            undone = take_back(shop, deployment)
            with store.write() as tx:
                undone(tx)
            raise
        failpoint("rollback.switched")
        with store.write() as tx:
            # Its windows begin now: what came before was compared with another baseline.
            store.models.set_window_from(tx, model, store.batches.totals(tx, model).last_seq)
            return store.deployments.set_state(tx, deployment.seq, DeploymentState.LIVE)
