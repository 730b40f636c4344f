"""Published versions, their numbers, and the snapshots that they were made of."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, delete, func, select
from sqlalchemy.dialects.sqlite import insert

from ct_daemon.errors import ConflictError, UnknownNameError
from ct_daemon.store import schema
from ct_daemon.store.columns import columns_of, first, values
from ct_daemon.types import ModelVersion, Snapshot

_T, _N, _S = schema.versions, schema.version_numbers, schema.snapshots
_VERSION = select(*columns_of(_T, ModelVersion))


class Versions:
    """The versions of all models, by number from 1."""

    def reserve(self, tx: Connection, model: str, run_id: str) -> int:
        """The number for the run's version: always the same for one run, and above all numbers before."""
        taken = tx.execute(select(_N.c.version).where(_N.c.model == model, _N.c.run_id == run_id)).scalar()
        if taken is not None:
            return int(taken)
        newest = tx.execute(select(func.max(_N.c.version)).where(_N.c.model == model)).scalar()
        number = (newest or 0) + 1
        tx.execute(insert(_N).values(model=model, version=number, run_id=run_id))
        return number

    def publish(self, tx: Connection, version: ModelVersion) -> ModelVersion:
        """Record a version whose files are in place. Repeating it returns what was recorded first.

        Raises
        ------
        ConflictError
            `version_differs`: the number names other files already.
        """
        number = insert(_N).values(model=version.model, version=version.version, run_id=version.run_id)
        tx.execute(number.on_conflict_do_nothing(index_elements=["model", "version"]))
        fresh = insert(_T).values({column.name: getattr(version, column.name) for column in _T.c})
        tx.execute(fresh.on_conflict_do_nothing(index_elements=["model", "version"]))
        recorded = self.get(tx, version.model, version.version)
        if recorded.digest != version.digest:
            raise ConflictError(
                f"version {version.version} of {version.model} is recorded with digest {recorded.digest}, not "
                f"{version.digest}: reserve a number of its own for it",
                reason="version_differs",
            )
        return recorded

    def get(self, tx: Connection, model: str, version: int) -> ModelVersion:
        """One version; `UnknownNameError` if there is none."""
        found = self.find(tx, model, version)
        if found is None:
            raise UnknownNameError(
                f"model {model} has no version {version}: it never was, or retention has removed it",
                reason="unknown_version",
            )
        return found

    def find(self, tx: Connection, model: str, version: int) -> ModelVersion | None:
        """One version, or None."""
        return first(tx, ModelVersion, _VERSION.where(_T.c.model == model, _T.c.version == version))

    def list(
        self, tx: Connection, model: str, *, before: int | None = None, limit: int | None = None
    ) -> tuple[ModelVersion, ...]:
        """The versions of a model, newest first, from before version `before`."""
        found = _VERSION.where(_T.c.model == model)
        if before is not None:
            found = found.where(_T.c.version < before)
        return values(tx, ModelVersion, found.order_by(_T.c.version.desc()).limit(limit))

    def unrecorded(self, tx: Connection, *, but_of: Collection[str]) -> tuple[tuple[str, int], ...]:
        """Model and number of all that were reserved but are not recorded (any more), except for these runs."""
        recorded = select(_T.c.version).where(_T.c.model == _N.c.model, _T.c.version == _N.c.version).exists()
        found = select(_N.c.model, _N.c.version).where(~recorded, _N.c.run_id.not_in(tuple(but_of)))
        return tuple((model, version) for model, version in tx.execute(found))

    def snapshot_digests(self, tx: Connection) -> tuple[str, ...]:
        """Digests of the snapshots of all models."""
        return tuple(tx.execute(select(_S.c.digest)).scalars())

    def delete(self, tx: Connection, model: str, version: int) -> None:
        """Forget a version; its number stays taken."""
        tx.execute(delete(_T).where(_T.c.model == model, _T.c.version == version))

    def snapshot_add(self, tx: Connection, snapshot: Snapshot, rows: int) -> None:
        """Record a snapshot of `rows` rows; one that is recorded already stays."""
        fresh = insert(_S).values(digest=snapshot.digest, model=snapshot.model, rows=rows, snapshot=snapshot)
        tx.execute(fresh.on_conflict_do_nothing(index_elements=["digest"]))

    def snapshot_get(self, tx: Connection, digest: str) -> Snapshot | None:
        """The snapshot of that digest."""
        found: Snapshot | None = tx.execute(select(_S.c.snapshot).where(_S.c.digest == digest)).scalar()
        return found
