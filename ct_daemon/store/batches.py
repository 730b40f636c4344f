"""The files that arrived, what became of each, and the parts that a training is made of."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, case, func, select
from sqlalchemy.dialects.sqlite import insert

from ct_daemon.errors import ConflictError, UnknownNameError
from ct_daemon.store import schema
from ct_daemon.store.columns import columns_of, first, values
from ct_daemon.types import Arrival, Batch, BatchKind, BatchStatus, FileStamp, SnapshotPart


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Sums over accepted batches."""

    rows: int
    """Rows of batches of rows."""
    labelled_rows: int
    """Rows that have a label, as far as counts can tell: labels that came with rows and in batches of labels, but
    no more than rows. Below that bound, a row labelled in several files counts once for each, and a label whose row
    never came counts too."""
    files: int
    """Batches of rows."""
    last_seq: int
    """The newest batch of either kind."""


_T, _F = schema.batches, schema.files
_BATCH = select(*columns_of(_T, Batch))


class Batches:
    """Every complete file, in the order of arrival."""

    def known(self, tx: Connection, model: str, source: str) -> dict[str, FileStamp]:
        """The files of a source that have been looked at, by name."""
        rows = tx.execute(
            select(_F.c.name, _F.c.size_bytes, _F.c.mtime_ns, _F.c.inode).where(
                _F.c.model == model, _F.c.source == source
            )
        )
        return {
            name: FileStamp(size_bytes=size, mtime_ns=mtime, inode=int(inode))
            for name, size, mtime, inode in rows
        }

    def add(
        self,
        tx: Connection,
        *,
        arrival: Arrival,
        model: str,
        kind: BatchKind,
        status: BatchStatus,
        dedupe_key: str,
        rows: int = 0,
        labelled_rows: int = 0,
        object_path: str | None = None,
        event_from_at: datetime | None = None,
        event_until_at: datetime | None = None,
        reason: str | None = None,
        detail: str = "",
        arrived_at: datetime,
    ) -> Batch:
        """Record what became of a file, and remember the file so that it is not taken again.

        Raises
        ------
        ConflictError
            `already_taken`: an accepted batch of this model and kind has the same `dedupe_key`.
        """
        fresh = insert(_T).values(
            model=model,
            source=arrival.source,
            name=arrival.name,
            kind=kind,
            status=status,
            digest=arrival.digest,
            dedupe_key=dedupe_key,
            size_bytes=arrival.stamp.size_bytes,
            arrived_at=arrived_at,
            rows=rows,
            labelled_rows=labelled_rows,
            object_path=object_path,
            event_from_at=event_from_at,
            event_until_at=event_until_at,
            reason=reason,
            detail=detail,
        )
        once = fresh.on_conflict_do_nothing(
            index_elements=["model", "kind", "dedupe_key"], index_where=schema.ACCEPTED
        )
        seq = tx.execute(once.returning(_T.c.seq)).scalar()
        if seq is None:
            raise ConflictError(
                f"{arrival.name!r}: model {model} has already taken {kind.value} with the key {dedupe_key}; "
                "record it as a duplicate",
                reason="already_taken",
            )
        self.remember(tx, model, arrival, seq)
        return self.get(tx, seq)

    def remember(self, tx: Connection, model: str, arrival: Arrival, batch_seq: int) -> None:
        """Note that a file with this stamp has been looked at and what it led to; its last stamp counts."""
        fresh = insert(_F).values(
            model=model,
            source=arrival.source,
            name=arrival.name,
            size_bytes=arrival.stamp.size_bytes,
            mtime_ns=arrival.stamp.mtime_ns,
            inode=str(arrival.stamp.inode),
            batch_seq=batch_seq,
        )
        new = {name: fresh.excluded[name] for name in ("size_bytes", "mtime_ns", "inode", "batch_seq")}
        tx.execute(fresh.on_conflict_do_update(index_elements=["model", "source", "name"], set_=new))

    def accepted_with_digest(self, tx: Connection, model: str, kind: BatchKind, digest: str) -> Batch | None:
        """The accepted batch that came as exactly these bytes."""
        same = _BATCH.where(_T.c.model == model, _T.c.kind == kind, _T.c.digest == digest)
        return first(tx, Batch, same.where(_T.c.status == BatchStatus.ACCEPTED).order_by(_T.c.seq))

    def accepted_with_name(self, tx: Connection, model: str, source: str, name: str) -> Batch | None:
        """The newest accepted batch that came under this name."""
        same = _BATCH.where(_T.c.model == model, _T.c.source == source, _T.c.name == name)
        return first(tx, Batch, same.where(_T.c.status == BatchStatus.ACCEPTED).order_by(_T.c.seq.desc()))

    def accepted_with_key(self, tx: Connection, model: str, kind: BatchKind, dedupe_key: str) -> Batch | None:
        """The accepted batch for which `add` would refuse another with this key."""
        same = _BATCH.where(_T.c.model == model, _T.c.kind == kind, _T.c.dedupe_key == dedupe_key)
        return first(tx, Batch, same.where(schema.ACCEPTED))

    def get(self, tx: Connection, seq: int) -> Batch:
        """One batch; `UnknownNameError` if there is none."""
        found = first(tx, Batch, _BATCH.where(_T.c.seq == seq))
        if found is None:
            raise UnknownNameError(
                f"there is no batch {seq}: 'ct-daemon status' shows the newest ones", reason="unknown_batch"
            )
        return found

    def list(
        self,
        tx: Connection,
        model: str,
        *,
        status: BatchStatus | None = None,
        kind: BatchKind | None = None,
        after_seq: int = 0,
        before_seq: int | None = None,
        newest_first: bool = False,
        limit: int = 100,
    ) -> tuple[Batch, ...]:
        """Batches after `after_seq` and before `before_seq`, in the order of arrival or against it."""
        found = _BATCH.where(_T.c.model == model, _T.c.seq > after_seq)
        if before_seq is not None:
            found = found.where(_T.c.seq < before_seq)
        if status is not None:
            found = found.where(_T.c.status == status)
        if kind is not None:
            found = found.where(_T.c.kind == kind)
        return values(tx, Batch, found.order_by(_T.c.seq.desc() if newest_first else _T.c.seq).limit(limit))

    def counts(self, tx: Connection, model: str) -> dict[str, dict[str, int]]:
        """How many files of each kind ended how; every kind and status is named."""
        rows = tx.execute(
            select(_T.c.kind, _T.c.status, func.count())
            .where(_T.c.model == model)
            .group_by(_T.c.kind, _T.c.status)
        )
        found = {kind.value: {status.value: 0 for status in BatchStatus} for kind in BatchKind}
        for kind, status, count in rows:
            found[kind.value][status.value] = count
        return found

    def totals(self, tx: Connection, model: str, *, after_seq: int = 0) -> Totals:
        """What the accepted batches after `after_seq` added; without any, `last_seq` is `after_seq`.

        Labels that came after it count though their rows came before.
        """
        now, then = _sums(tx, model), _sums(tx, model, until_seq=after_seq)
        return Totals(
            rows=now.rows - then.rows,
            labelled_rows=now.labelled_rows - then.labelled_rows,
            files=now.files - then.files,
            last_seq=max(now.last_seq, after_seq),
        )

    def training_parts(self, tx: Connection, model: str, window_rows: int | None) -> tuple[SnapshotPart, ...]:
        """The batches to train on, in the order of arrival; none if there are no rows.

        Parameters
        ----------
        window_rows : int or None
            Take the newest batches of rows that together have so many labelled rows (of all their rows where
            labels come in files of their own), and the labels that came no earlier. None takes everything.
        """
        start = 0 if window_rows is None else window_start(tx, model, window_rows)
        rows = tx.execute(
            select(_T.c.seq, _T.c.kind, _T.c.object_path, _T.c.digest, _T.c.rows)
            .where(_T.c.model == model, _T.c.status == BatchStatus.ACCEPTED, _T.c.seq >= start)
            .where(_T.c.object_path.is_not(None))
            .order_by(_T.c.seq)
        )
        parts = tuple(
            SnapshotPart(seq=seq, kind=kind, path=path, digest=digest, rows=count)
            for seq, kind, path, digest, count in rows
        )
        return parts if any(part.kind is BatchKind.ROWS for part in parts) else ()


def _sums(tx: Connection, model: str, *, until_seq: int | None = None) -> Totals:
    of_rows = _T.c.kind == BatchKind.ROWS
    found = select(
        func.coalesce(func.sum(case((of_rows, _T.c.rows), else_=0)), 0),
        func.coalesce(func.sum(_T.c.labelled_rows), 0),
        func.coalesce(func.sum(case((of_rows, 1), else_=0)), 0),
        func.coalesce(func.max(_T.c.seq), 0),
    ).where(_T.c.model == model, _T.c.status == BatchStatus.ACCEPTED)
    if until_seq is not None:
        found = found.where(_T.c.seq <= until_seq)
    rows, labels, files, last_seq = tx.execute(found).one()
    return Totals(rows=rows, labelled_rows=min(rows, labels), files=files, last_seq=last_seq)


def window_start(tx: Connection, model: str, window_rows: int) -> int:
    """The oldest batch of rows in the training window of `window_rows` labelled rows; 0 without batches.

    Where labels come in files of their own, nothing here tells which rows they belong to. The rows that still wait
    for theirs are counted on top, so that the window is not short of labelled rows wherever those that wait lie.
    """
    late = select(_T.c.seq).where(
        _T.c.model == model, _T.c.status == BatchStatus.ACCEPTED, _T.c.kind == BatchKind.LABELS
    )
    if tx.execute(late.limit(1)).first() is None:
        return oldest_reaching(tx, model, "labelled_rows", window_rows)
    sums = _sums(tx, model)
    return oldest_reaching(tx, model, "rows", window_rows + sums.rows - sums.labelled_rows)


def oldest_reaching(
    tx: Connection, model: str, counted: str, amount: int, *, before_seq: int | None = None
) -> int:
    """Going back in time from `before_seq` (or from now), the batch of rows at which the sum of the column
    `counted` reaches `amount`; the oldest one if it is never reached, 0 if there is none."""
    column = _T.c[counted]
    newer = (func.sum(column).over(order_by=_T.c.seq.desc()) - column).label("newer")
    stored = select(_T.c.seq, newer).where(
        _T.c.model == model,
        _T.c.status == BatchStatus.ACCEPTED,
        _T.c.kind == BatchKind.ROWS,
        _T.c.object_path.is_not(None),
    )
    if before_seq is not None:
        stored = stored.where(_T.c.seq < before_seq)
    inner = stored.subquery()
    found = tx.execute(select(func.min(inner.c.seq)).where(inner.c.newer < amount)).scalar()
    return 0 if found is None else int(found)
