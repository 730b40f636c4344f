"""What was made live and when. The history only grows."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, func, select, update
from sqlalchemy.dialects.sqlite import insert

from ct_daemon.errors import UnknownNameError
from ct_daemon.store import schema
from ct_daemon.store.columns import columns_of, first, values
from ct_daemon.types import Deployment, DeploymentState

_T = schema.deployments
_DEPLOYMENT = select(*columns_of(_T, Deployment))


class Deployments:
    """The newest deployment of a model that is not undone is the live one."""

    def add(
        self,
        tx: Connection,
        *,
        model: str,
        version: int,
        baseline_digest: str,
        kind: str,
        at: datetime,
        decided_at: datetime,
        run_id: str | None = None,
    ) -> Deployment:
        """Record a deployment before the target is switched; for a run that has one, that one is returned."""
        live = self.live(tx, model)
        fresh = insert(_T).values(
            model=model,
            version=version,
            baseline_digest=baseline_digest,
            kind=kind,
            state=DeploymentState.SWITCHING,
            at=at,
            decided_at=decided_at,
            run_id=run_id,
            previous=None if live is None else live.version,
        )
        once = fresh.on_conflict_do_nothing(index_elements=["run_id"])
        seq = tx.execute(once.returning(_T.c.seq)).scalar()
        mine = _T.c.run_id == run_id if seq is None else _T.c.seq == seq
        return values(tx, Deployment, _DEPLOYMENT.where(mine))[0]

    def set_state(self, tx: Connection, seq: int, state: DeploymentState) -> Deployment:
        """Note how far a deployment is."""
        if tx.execute(update(_T).where(_T.c.seq == seq).values(state=state)).rowcount == 0:
            raise UnknownNameError(f"there is no deployment {seq}", reason="unknown_deployment")
        return values(tx, Deployment, _DEPLOYMENT.where(_T.c.seq == seq))[0]

    def of_run(self, tx: Connection, run_id: str) -> Deployment | None:
        """The deployment that a run has begun."""
        return first(tx, Deployment, _DEPLOYMENT.where(_T.c.run_id == run_id))

    def live(self, tx: Connection, model: str) -> Deployment | None:
        """The deployment that counts."""
        return first(
            tx,
            Deployment,
            _DEPLOYMENT.where(_T.c.model == model, _T.c.state != DeploymentState.UNDONE).order_by(
                _T.c.seq.desc()
            ),
        )

    def live_models(self, tx: Connection) -> set[str]:
        """The models that have a live deployment."""
        return set(
            tx.execute(select(_T.c.model).where(_T.c.state != DeploymentState.UNDONE).distinct()).scalars()
        )

    def before(self, tx: Connection, model: str, version: int) -> Deployment | None:
        """What a rollback from `version` goes back to: what was live before it was first deployed.

        That is the newest deployment before its first one, not undone, of another version than it and the live one
        whose files have not been removed by retention. So one rollback after another goes further back, and never
        forth again.
        """
        live = self.live(tx, model)
        other = {version} if live is None else {version, live.version}
        own = select(func.min(_T.c.seq)).where(
            _T.c.model == model, _T.c.version == version, _T.c.state != DeploymentState.UNDONE
        )
        began = tx.execute(own).scalar() or 0
        kept = (
            select(schema.versions.c.version)
            .where(schema.versions.c.model == model, schema.versions.c.version == _T.c.version)
            .exists()
        )
        return first(
            tx,
            Deployment,
            _DEPLOYMENT.where(_T.c.model == model, _T.c.state != DeploymentState.UNDONE)
            .where(_T.c.version.not_in(other), kept, _T.c.seq < began)
            .order_by(_T.c.seq.desc()),
        )

    def list(self, tx: Connection, model: str, limit: int = 100) -> tuple[Deployment, ...]:
        """Deployments, newest first."""
        return values(
            tx, Deployment, _DEPLOYMENT.where(_T.c.model == model).order_by(_T.c.seq.desc()).limit(limit)
        )
