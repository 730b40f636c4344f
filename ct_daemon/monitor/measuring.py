"""Batches become measurements: labels are held against predictions, windows of rows against the live baseline."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Connection

from ct_daemon.failpoints import failpoint
from ct_daemon.folders import StateFolder, make_folder
from ct_daemon.monitor.watch import Watch
from ct_daemon.pipeline.workshop import champion_of
from ct_daemon.protocols import CompareRequest, JoinRequest, Worker
from ct_daemon.store.store import Store
from ct_daemon.types import Batch, BatchKind, BatchStatus, DriftMeasured, Event, QualityMeasured, Window

PAGE = 1000
"""So many batches are read from the ledger at once."""
RECENT_PREDICTIONS = 200
"""So many batches of predictions wait for their labels; older ones are no longer looked at."""


class Measurer:
    """Measures what has been taken; see `Monitor` for the parameters."""

    def __init__(
        self,
        *,
        store: Store,
        folders: StateFolder,
        worker: Worker,
        emit: Callable[[Event], None],
        clock: Callable[[], datetime],
    ) -> None:
        self._store, self._folders, self._worker = store, folders, worker
        self._emit, self._clock = emit, clock
        self._labels_joined: dict[str, int] = {}

    def join_labels(self, watch: Watch) -> None:
        """Hold labels that came since the last join against the predictions that wait for them."""
        model = watch.model
        if watch.settings.labels is None:
            self._labels_joined[model] = 0
            return
        with self._store.read() as tx:
            newest = self._store.batches.list(
                tx, model, status=BatchStatus.ACCEPTED, kind=BatchKind.LABELS, newest_first=True, limit=1
            )
            joined = self._labels_joined.get(model, 0)
            if not newest or newest[0].seq <= joined:
                self._labels_joined[model] = joined
                return
            known = {(o.batch_seq, o.version): o for o in self._store.feedback.outcomes(tx, model)}
            waiting = [
                p
                for p in self._store.feedback.predictions(tx, model)
                if (p.batch_seq, p.version) not in known or known[p.batch_seq, p.version].rows < p.rows
            ][-RECENT_PREDICTIONS:]
            labels = (
                self._store.batches.list(
                    tx,
                    model,
                    status=BatchStatus.ACCEPTED,
                    kind=BatchKind.LABELS,
                    after_seq=min(p.batch_seq for p in waiting),
                    limit=100_000,
                )
                if waiting
                else []
            )
        if labels:
            root = self._folders.root
            result = self._worker.join(
                JoinRequest(
                    predictions=tuple((p.batch_seq, p.version, str(root / p.path)) for p in waiting),
                    labels=tuple(str(root / b.object_path) for b in labels if b.object_path),
                    columns=watch.settings.data.columns,
                    task=watch.settings.data.task,
                )
            )
            fresh = tuple(o for o in result.outcomes if known.get((o.batch_seq, o.version)) != o)
            with self._store.write() as tx:
                for outcome in fresh:
                    self._store.feedback.put_outcome(tx, model, outcome)
            failpoint("outcome.recorded")
            if fresh:
                self._emit(QualityMeasured(model=model, outcomes=fresh))
        self._labels_joined[model] = newest[0].seq

    def measure_windows(self, watch: Watch) -> None:
        """Compare every full window of rows with the live baseline."""
        while (window := self._next_window(watch)) is not None:
            failpoint("window.recorded")
            self._emit(DriftMeasured(window=window))

    def _next_window(self, watch: Watch) -> Window | None:
        model = watch.model
        with self._store.read() as tx:
            deployment, version = champion_of(self._store, tx, model)
            if deployment is None or version is None:
                return None
            begin = self._store.models.state(tx, model).window_seq_from
            chosen = self._full_window(tx, watch, begin)
        if chosen is None:
            return None
        profile = self._folders.profile(model, version.baseline_digest, chosen[-1].seq)
        make_folder(profile.parent)
        report = self._worker.compare(
            CompareRequest(
                objects=tuple(str(self._folders.root / b.object_path) for b in chosen if b.object_path),
                baseline=str(self._folders.root / version.path / "baseline.json"),
                baseline_digest=version.baseline_digest,
                watch=watch.settings.drift.columns,
                profile_path=str(profile),
            )
        )
        with self._store.write() as tx:
            live = self._store.deployments.live(tx, model)
            moved = self._store.models.state(tx, model).window_seq_from != begin
            if live is None or live.seq != deployment.seq or moved:
                return None  # deployed meanwhile: these rows are compared with the new baseline, or lie in it
            window = self._store.windows.add(
                tx,
                model=model,
                version=version.version,
                baseline_digest=version.baseline_digest,
                first_batch_seq=chosen[0].seq,
                last_batch_seq=chosen[-1].seq,
                report=report,
                measured_at=self._clock(),
            )
            self._store.models.set_window_from(tx, model, chosen[-1].seq)
        return window

    def _full_window(self, tx: Connection, watch: Watch, begin: int) -> list[Batch] | None:
        """The first batches after `begin` that make a window; None while they have too few rows."""
        chosen: list[Batch] = []
        missing = watch.settings.drift.window_rows
        while True:
            page = self._store.batches.list(
                tx,
                watch.model,
                status=BatchStatus.ACCEPTED,
                kind=BatchKind.ROWS,
                after_seq=chosen[-1].seq if chosen else begin,
                limit=PAGE,
            )
            for batch in page:
                chosen.append(batch)
                missing -= batch.rows
                if missing <= 0:
                    return chosen
            if len(page) < PAGE:
                return None
