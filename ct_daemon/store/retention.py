"""What may be forgotten, and forgetting it. Files are the caller's: it deletes them *after* the commit.

Deleted in that order, a crash leaves a file that nothing refers to, never a reference without its file.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Table, delete, select, update

from ct_daemon.store import schema
from ct_daemon.store.batches import oldest_reaching, window_start
from ct_daemon.store.columns import columns_of, values
from ct_daemon.store.deployments import Deployments
from ct_daemon.store.versions import Versions
from ct_daemon.types import Batch, BatchStatus, ModelVersion, Window

AT_ONCE = 1000
"""Most things of one kind in one pass, so that the writer is not kept; the next pass goes on."""

_B, _D, _W, _R, _S = schema.batches, schema.decisions, schema.windows, schema.runs, schema.snapshots


@dataclass(frozen=True, slots=True, kw_only=True)
class Expired:
    """What one pass forgets. Numbers are `seq`, paths are relative to the state folder."""

    decisions: tuple[int, ...] = ()
    windows: tuple[int, ...] = ()
    profiles: tuple[tuple[str, int], ...] = ()
    """(baseline digest, last batch) of the windows whose profiles go, as in `StateFolder.profile`."""
    versions: tuple[ModelVersion, ...] = ()
    """Their folders go, and their predictions."""
    snapshots: tuple[str, ...] = ()
    """Digests of snapshots whose manifests go."""
    batches: tuple[Batch, ...] = ()
    """Accepted batches whose stored rows (`object_path`) go; the record of the batch stays."""
    quarantined: tuple[Batch, ...] = ()
    """Quarantined batches whose copies (`object_path`) go; the record stays."""

    @property
    def nothing(self) -> bool:
        """Whether there is nothing to forget."""
        return self == Expired()


def expired(
    tx: Connection,
    model: str,
    *,
    decisions: int,
    windows: int,
    versions: int,
    rows: int | None,
    window_rows: int | None,
    quarantined: int | None = None,
) -> Expired:
    """What the model's history holds beyond what is to be kept.

    Parameters
    ----------
    decisions, windows, versions, quarantined : int
        Keep the newest so many. Decisions that began a run stay with it. The live version, the one before it and
        the candidate of an active run always stay. `quarantined` None keeps all copies.
    rows : int or None
        Keep so many stored rows beyond the training window; None keeps all.
    window_rows : int or None
        The training window in labelled rows; None means that all rows are in it, so that none expire.
    """
    kept, gone_versions = _split_versions(tx, model, versions)
    gone_windows = values(tx, Window, _beyond(_W, Window, _W.c.model == model, windows))
    used = _used_snapshots(tx, model, kept)
    gone_batches: tuple[Batch, ...] = ()
    if rows is not None and window_rows is not None:
        gone_batches = _old_batches(tx, model, window_rows, rows, used)
    return Expired(
        decisions=_old_decisions(tx, model, decisions),
        windows=tuple(window.seq for window in gone_windows),
        profiles=tuple((window.baseline_digest, window.last_batch_seq) for window in gone_windows),
        versions=gone_versions,
        snapshots=_unused_snapshots(tx, model, used),
        batches=gone_batches,
        quarantined=() if quarantined is None else _old_quarantined(tx, model, quarantined),
    )


def forget(tx: Connection, model: str, gone: Expired) -> None:
    """Delete the rows, and the paths of files that go."""
    _delete(tx, _D, _D.c.seq, gone.decisions)
    _delete(tx, _W, _W.c.seq, gone.windows)
    _delete(tx, _S, _S.c.digest, gone.snapshots)
    for version in gone.versions:
        Versions().delete(tx, model, version.version)
        made = schema.predictions.c
        tx.execute(delete(schema.predictions).where(made.model == model, made.version == version.version))
    paths = [batch.object_path for batch in (*gone.batches, *gone.quarantined)]
    if paths:
        tx.execute(
            update(_B).where(_B.c.model == model, _B.c.object_path.in_(paths)).values(object_path=None)
        )


def _delete(tx: Connection, table: Table, column: ColumnElement[Any], gone: Iterable[object]) -> None:
    which = tuple(gone)
    if which:
        tx.execute(delete(table).where(column.in_(which)))


def _beyond(table: Table, kind: type[Any], which: ColumnElement[bool], keep: int) -> Select[Any]:
    """Rows beyond the newest `keep`, the newest of them first."""
    ordered = select(*columns_of(table, kind)).where(which).order_by(table.c.seq.desc())
    return ordered.limit(AT_ONCE).offset(keep)


def _old_decisions(tx: Connection, model: str, keep: int) -> tuple[int, ...]:
    oldest_kept = (
        select(_D.c.seq).where(_D.c.model == model).order_by(_D.c.seq.desc()).limit(1).offset(keep - 1)
    )
    border = tx.execute(oldest_kept).scalar()
    if border is None:
        return ()
    of_a_run = select(_R.c.seq).where(_R.c.decision_seq == _D.c.seq).exists()
    old = select(_D.c.seq).where(_D.c.model == model, _D.c.seq < border, ~of_a_run)
    return tuple(tx.execute(old.order_by(_D.c.seq).limit(AT_ONCE)).scalars())


def _split_versions(
    tx: Connection, model: str, keep: int
) -> tuple[tuple[ModelVersion, ...], tuple[ModelVersion, ...]]:
    """Versions that stay, and versions that go."""
    deployments = Deployments()
    live = deployments.live(tx, model)
    before = None if live is None else deployments.before(tx, model, live.version)
    used = {deployment.version for deployment in (live, before) if deployment is not None}
    used |= set(tx.execute(select(_R.c.candidate).where(_R.c.model == model, schema.ACTIVE)).scalars())
    all_versions = Versions().list(tx, model)
    gone = tuple(version for version in all_versions[keep:] if version.version not in used)
    return tuple(version for version in all_versions if version not in gone), gone


def _used_snapshots(tx: Connection, model: str, kept: tuple[ModelVersion, ...]) -> set[str]:
    """Digests of the snapshots of versions that stay and of the newest run that has one.

    An active run may be writing its manifest at this moment. If no batch came since the run before, it writes that
    run's manifest once more, so that one must not be deleted under its hands.
    """
    of_runs = select(_R.c.snapshot).where(_R.c.model == model, _R.c.snapshot.is_not(None))
    newest = tx.execute(of_runs.order_by(_R.c.seq.desc()).limit(1)).scalars()
    return {version.snapshot for version in kept} | set(newest)


def _unused_snapshots(tx: Connection, model: str, used: set[str]) -> tuple[str, ...]:
    known = tx.execute(select(_S.c.digest).where(_S.c.model == model)).scalars()
    return tuple(digest for digest in known if digest not in used)[:AT_ONCE]


def _old_batches(
    tx: Connection, model: str, window_rows: int, rows: int, used: set[str]
) -> tuple[Batch, ...]:
    """Stored batches older than `rows` beyond the training window, but for those that the `used` snapshots are made
    of and those not yet compared with the live baseline."""
    border = oldest_reaching(tx, model, "rows", rows, before_seq=window_start(tx, model, window_rows))
    if Deployments().live(tx, model) is not None:
        compared = select(schema.models.c.window_seq_from).where(schema.models.c.model == model)
        border = min(border, tx.execute(compared).scalar_one() + 1)
    old = select(_B.c.seq).where(
        _B.c.model == model,
        _B.c.status == BatchStatus.ACCEPTED,
        _B.c.object_path.is_not(None),
        _B.c.seq < border,
    )
    snapshots = [Versions().snapshot_get(tx, digest) for digest in used]
    needed = {part.seq for snapshot in snapshots if snapshot is not None for part in snapshot.parts}
    gone = [seq for seq in tx.execute(old.order_by(_B.c.seq)).scalars() if seq not in needed][:AT_ONCE]
    if not gone:
        return ()
    return values(tx, Batch, select(*columns_of(_B, Batch)).where(_B.c.seq.in_(gone)).order_by(_B.c.seq))


def _old_quarantined(tx: Connection, model: str, keep: int) -> tuple[Batch, ...]:
    """One batch for each copy that goes; a copy that a newer record shares stays with that one."""
    copies = (_B.c.model == model) & (_B.c.status == BatchStatus.QUARANTINED) & _B.c.object_path.is_not(None)
    paths = select(_B.c.object_path).where(copies).order_by(_B.c.seq.desc()).limit(keep)
    kept = set(tx.execute(paths).scalars())
    gone = {batch.object_path: batch for batch in values(tx, Batch, _beyond(_B, Batch, copies, keep))}
    return tuple(batch for path, batch in gone.items() if path not in kept)
