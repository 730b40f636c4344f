"""Batches become measurements: labels are held against predictions, windows of rows against the live baseline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from itertools import accumulate
from pathlib import Path

from sqlalchemy import Connection

from ct_daemon.errors import WorkerError
from ct_daemon.failpoints import failpoint
from ct_daemon.folders import StateFolder, make_folder
from ct_daemon.monitor.watch import Watch
from ct_daemon.pipeline.workshop import champion_of
from ct_daemon.protocols import (
    CompareRequest,
    JoinRequest,
    JointRequest,
    LabelsFile,
    ScoredRows,
    VersionFiles,
    Worker,
)
from ct_daemon.store.feedback import Waiting
from ct_daemon.store.store import Store
from ct_daemon.types import (
    Batch,
    BatchKind,
    BatchStatus,
    DeploymentState,
    DriftMeasured,
    DriftReport,
    Event,
    JointDrift,
    ModelVersion,
    Outcome,
    QualityMeasured,
    Window,
)

PAGE = 1000
"""So many batches are read from the ledger at once."""
_TOO_MUCH = frozenset({"timeout", "out_of_memory", "died", "worker_bug"})
"""What a request does to a worker that it is too much for."""
RECENT_PREDICTIONS = 200
"""So many batches of predictions wait for their labels; older ones are no longer looked at."""
RECENT_LABEL_FILES = 2_000
RECENT_LABELS = 5_000_000
"""Of so many labels batches, or of those that reach so many rows, the newest are read; older ones are not."""


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
        cluster: str | None = None,
    ) -> None:
        self._store, self._folders, self._worker, self._cluster = store, folders, worker, cluster
        self._emit, self._clock = emit, clock
        self._labels_joined: dict[str, int] = {}

    def join_labels(self, watch: Watch) -> None:
        """Hold labels against the predictions that wait for them: against all when labels came, else the new ones.

        Predictions wait until all their rows have a label; then they are not looked at again. What has been looked
        at is remembered for nothing but to spare work: after a start, everything that waits is looked at.
        """
        if watch.settings.labels is None:
            return
        model = watch.model
        seen = self._labels_joined.get(model, 0)
        with self._store.read() as tx:
            newest = self._store.batches.list(
                tx, model, status=BatchStatus.ACCEPTED, newest_first=True, limit=1
            )
            if not newest or newest[0].seq <= seen:
                return
            labels = self._recent_labels(tx, model)
            came = any(file.batch_seq > seen for file in labels)
            waiting = self._store.feedback.waiting(
                tx, model, after_seq=0 if came else seen, limit=RECENT_PREDICTIONS
            )
        if waiting and labels:
            self._join(watch, waiting, labels)
        self._labels_joined[model] = newest[0].seq

    def _recent_labels(self, tx: Connection, model: str) -> tuple[LabelsFile, ...]:
        """The newest labels batches, oldest first."""
        newest = self._store.batches.list(
            tx,
            model,
            status=BatchStatus.ACCEPTED,
            kind=BatchKind.LABELS,
            newest_first=True,
            limit=RECENT_LABEL_FILES,
        )
        newer_rows = accumulate((batch.rows for batch in newest), initial=0)
        recent = [
            LabelsFile(batch_seq=batch.seq, path=str(self._folders.root / batch.object_path))
            for batch, newer in zip(newest, newer_rows, strict=False)
            if newer < RECENT_LABELS and batch.object_path
        ]
        return tuple(reversed(recent))

    def _join(self, watch: Watch, waiting: tuple[Waiting, ...], labels: tuple[LabelsFile, ...]) -> None:
        root = self._folders.root
        result = self._worker.join(
            JoinRequest(
                scored=tuple(
                    ScoredRows(
                        batch_seq=one.predictions.batch_seq,
                        version=one.predictions.version,
                        predictions=str(root / one.predictions.path),
                        rows=str(root / one.rows_path),
                    )
                    for one in waiting
                ),
                labels=labels,
                columns=watch.settings.data.columns,
                task=watch.settings.data.task,
            )
        )
        known = {(one.predictions.batch_seq, one.predictions.version): one.outcome for one in waiting}
        fresh = tuple(o for o in result.outcomes if _tells_more(o, known[o.batch_seq, o.version]))
        with self._store.write() as tx:
            for outcome in fresh:
                self._store.feedback.put_outcome(tx, watch.model, outcome)
        failpoint("outcome.recorded")
        if fresh:
            self._emit(self._measured(watch.model, fresh, waiting))

    def _measured(
        self, model: str, fresh: tuple[Outcome, ...], waiting: tuple[Waiting, ...]
    ) -> QualityMeasured:
        """The fact that these outcomes are new, and how long their rows waited for labels."""
        now = self._clock()
        came = {(one.predictions.batch_seq, one.predictions.version): one for one in waiting}
        rows, waited_s = 0, 0.0
        for outcome in fresh:
            one = came[outcome.batch_seq, outcome.version]
            new = outcome.rows - (0 if one.outcome is None else one.outcome.rows)
            rows += new
            waited_s += new * max((now - one.arrived_at).total_seconds(), 0.0)
        delay_s = waited_s / rows if rows else None
        return QualityMeasured(model=model, outcomes=fresh, new_rows=rows, delay_s=delay_s)

    def measure_windows(self, watch: Watch) -> None:
        """Compare every full window of rows with the live baseline."""
        while (window := self._next_window(watch)) is not None:
            failpoint("window.recorded")
            self._emit(DriftMeasured(window=window))

    def _next_window(self, watch: Watch) -> Window | None:
        model = watch.model
        with self._store.read() as tx:
            deployment, version = champion_of(self._store, tx, model)
            if deployment is None or version is None or deployment.state is not DeploymentState.LIVE:
                return None  # while it is being switched, it may still be taken back
            begin = self._store.models.state(tx, model).window_seq_from
            chosen = self._full_window(tx, watch, begin)
            answered = self._answered(tx, version, chosen or [])
        if chosen is None:
            return None
        profile = self._folders.profile(model, version.baseline_digest, chosen[-1].seq)
        make_folder(profile.parent)
        report = self._compared(self._request(watch, version, chosen, answered, profile))
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

    def _answered(self, tx: Connection, version: ModelVersion, chosen: list[Batch]) -> tuple[str, ...]:
        """The files in which the version's predictions for these batches lie."""
        if not chosen:
            return ()
        found = self._store.feedback.predictions(
            tx,
            version.model,
            version=version.version,
            after_seq=chosen[0].seq - 1,
            until_seq=chosen[-1].seq,
        )
        batches = {batch.seq for batch in chosen}
        return tuple(str(self._folders.root / one.path) for one in found if one.batch_seq in batches)

    def _request(
        self,
        watch: Watch,
        version: ModelVersion,
        chosen: list[Batch],
        answered: tuple[str, ...],
        profile: Path,
    ) -> CompareRequest:
        root, drift = self._folders.root, watch.settings.drift
        joint = None
        if drift.joint:
            joint = JointRequest(
                snapshot=str(self._folders.snapshot(version.snapshot)),
                state=str(root),
                sample=str(self._folders.sample(watch.model, version.digest)),
            )
        return CompareRequest(
            objects=tuple(str(root / batch.object_path) for batch in chosen if batch.object_path),
            baseline=str(root / version.path / "baseline.json"),
            baseline_digest=version.baseline_digest,
            watch=drift.columns,
            profile_path=str(profile),
            version=VersionFiles(
                version=version.version, path=str(root / version.path), digest=version.digest
            ),
            labels_later=watch.settings.labels is not None,
            predictions=answered,
            joint=joint,
            cluster=self._cluster,
        )

    def _compared(self, request: CompareRequest) -> DriftReport:
        """The report; a classifier that is too much for the worker costs its own answer only."""
        try:
            return self._worker.compare(request)
        except WorkerError as error:
            if request.joint is None or error.reason not in _TOO_MUCH:
                raise
            report = self._worker.compare(replace(request, joint=None))
            return replace(report, joint=JointDrift(reason=error.reason))

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


def _tells_more(outcome: Outcome, known: Outcome | None) -> bool:
    """An outcome of fewer rows is one that old labels were not read for: the known one stays."""
    return known is None or (outcome != known and outcome.rows >= known.rows)
