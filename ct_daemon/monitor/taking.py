"""Files become batches: each is read, held to the contract, stored, scored, and recorded exactly once."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import structlog
from sqlalchemy import Connection

from ct_daemon.adopting import REFERENCE
from ct_daemon.codec import digest_of
from ct_daemon.dataset.contract import first_contract, refine
from ct_daemon.errors import ContractError, WorkerError
from ct_daemon.failpoints import failpoint
from ct_daemon.folders import StateFolder, make_folder, sync
from ct_daemon.monitor.watch import Watch
from ct_daemon.pipeline.workshop import champion_of, files_of
from ct_daemon.protocols import Source, TakeRequest, TakeResult, VersionFiles, Worker
from ct_daemon.pulse import Pulse
from ct_daemon.store.store import Store
from ct_daemon.types import (
    Arrival,
    Batch,
    BatchKind,
    BatchStatus,
    BatchTaken,
    Event,
    Outcome,
    Predictions,
    TickFailed,
)

CHUNK_BYTES = 1 << 20
SLOWEST_S, SLOWEST_BYTES_S = 5.0, 1 << 20
"""A disk that is slower than this counts as hung."""

THE_FILE_MAY_BE_AT_FAULT = frozenset({"died", "timeout", "out_of_memory", "worker_bug", "bad_reply"})
"""Ends of the worker that a file can bring about, and other things too: a busy machine, somebody's SIGKILL."""

log = structlog.get_logger(__name__)


class Taker:
    """Takes files; see `Monitor` for the parameters."""

    def __init__(
        self,
        *,
        store: Store,
        folders: StateFolder,
        worker: Worker,
        emit: Callable[[Event], None],
        clock: Callable[[], datetime],
        pulse: Pulse | None = None,
    ) -> None:
        self._store, self._folders, self._worker = store, folders, worker
        self._pulse = pulse or Pulse()
        self._emit, self._clock = emit, clock

    def poll(self, watch: Watch, source: Source, taken: Callable[[], None]) -> None:
        """Bring every complete new file of the source to its final status, and call `taken` after each of them:
        what stops a poll half way does not undo what it took before."""
        with self._store.read() as tx:
            known = self._store.batches.known(tx, watch.model, source.name)
        for arrival in source.poll(known, self._clock().timestamp()):
            self._take(watch, arrival)
            taken()

    def take_reference(self, watch: Watch, arrival: Arrival) -> Batch:
        """Take one file of reference rows; the batch that holds its rows, which may have come before.

        Raises
        ------
        ContractError
            It was put aside, for the reason that the error has.
        """
        self._take(watch, arrival)
        with self._store.read() as tx:
            batch = self._store.batches.accepted_with_digest(tx, watch.model, arrival.kind, arrival.digest)
            newest = self._store.batches.list(tx, watch.model, newest_first=True, limit=1)
        if batch is None:
            raise ContractError(
                f"the reference {arrival.name} is refused: {newest[0].detail}", reason=newest[0].reason
            )
        return batch

    def _take(self, watch: Watch, arrival: Arrival) -> None:
        """Bring one file to its final status, exactly once."""
        if arrival.staged is None:
            self._record(
                watch, arrival, BatchStatus.QUARANTINED, reason=arrival.reason, detail=arrival.detail
            )
            return
        staged = Path(arrival.staged)
        try:
            with self._store.read() as tx:
                twin = self._twin(tx, watch, arrival)
                before = self._store.batches.accepted_with_name(tx, watch.model, arrival.source, arrival.name)
            if twin is not None:
                detail = f"the same bytes as {twin.name}, batch {twin.seq}"
                self._record(watch, arrival, BatchStatus.DUPLICATE, reason="duplicate", detail=detail)
                return
            if before is not None and self._goes_on_after(staged, before):
                self._record_grown(watch, arrival, staged, before)
                return
            self._take_staged(watch, arrival, staged)
        finally:
            staged.unlink(missing_ok=True)

    def _twin(self, tx: Connection, watch: Watch, arrival: Arrival) -> Batch | None:
        """The accepted batch that makes this file a duplicate.

        Where the same content counts again, that is one of the very same file: its content was changed and has been
        put back, with its time of change.
        """
        if not watch.files(arrival.kind).accept_duplicates:
            return self._store.batches.accepted_with_digest(tx, watch.model, arrival.kind, arrival.digest)
        name = self._object_name(watch, arrival)
        return self._store.batches.accepted_with_key(tx, watch.model, arrival.kind, name)

    def _take_staged(self, watch: Watch, arrival: Arrival, staged: Path) -> None:
        with self._store.read() as tx:
            contract = self._store.models.state(tx, watch.model).contract
            _, version = champion_of(self._store, tx, watch.model)
        champion = None if version is None else files_of(self._folders, version)
        name = self._object_name(watch, arrival)
        stored = self._folders.object_path(watch.model, arrival.kind, name)
        predictions = None
        if champion is not None and arrival.kind is BatchKind.ROWS:
            predictions = self._folders.predictions(watch.model, champion.version, name)
        for path in filter(None, (stored, predictions)):
            make_folder(path.parent)
        settings = watch.files(arrival.kind)
        request = TakeRequest(
            staged=str(staged),
            name=arrival.name,
            kind=arrival.kind,
            columns=watch.settings.data.columns,
            task=watch.settings.data.task,
            contract=contract,
            max_rows=settings.max_rows,
            max_columns=settings.max_columns,
            object_path=str(stored),
            labels_later=watch.settings.labels is not None and arrival.source != REFERENCE,
            champion=champion,
            predictions_path=None if predictions is None else str(predictions),
        )
        result = self._ask(watch, request)
        failpoint("batch.stored")
        if result.reason is not None:
            copy = self._keep_copy(watch, arrival, staged)
            self._record(
                watch,
                arrival,
                BatchStatus.QUARANTINED,
                reason=result.reason,
                detail=result.detail,
                stored=copy,
            )
            return
        self._record(
            watch,
            arrival,
            BatchStatus.ACCEPTED,
            result=result,
            stored=stored,
            champion=champion,
            scored=predictions,
        )
        if result.scoring_reason is not None:
            self._emit(
                TickFailed(model=watch.model, reason=result.scoring_reason, message=result.scoring_detail)
            )

    def _ask(self, watch: Watch, request: TakeRequest) -> TakeResult:
        """What the worker makes of the file. If it ends badly a fresh one gets the file once more. If that ends badly
        too, the champion may be at fault, and the file is read without being scored; only a file that is hard on its
        reader then as well is put aside: it would kill or hang it for ever."""
        requests = [request, request]
        if request.champion is not None:
            requests.append(replace(request, champion=None, predictions_path=None))
        ends: list[WorkerError] = []
        for one in requests:
            try:
                result = self._worker.take(one)
            except WorkerError as error:
                if error.reason not in THE_FILE_MAY_BE_AT_FAULT:
                    raise  # the file is good for all we know: it is taken at a later tick
                ends.append(error)
                log.warning(
                    "file.read_again",
                    model=watch.model,
                    file=request.name,
                    reason=error.reason,
                    error=str(error),
                )
                continue
            if one is request or result.reason is not None:
                return result
            detail = f"the live version could not score {request.name}: {ends[-1]}"
            return replace(result, scoring_reason=f"scorer_{ends[-1].reason}", scoring_detail=detail)
        return TakeResult(reason=f"reader_{ends[-1].reason}", detail=str(ends[-1]))

    def _record(
        self,
        watch: Watch,
        arrival: Arrival,
        status: BatchStatus,
        *,
        reason: str | None = None,
        detail: str = "",
        result: TakeResult | None = None,
        stored: Path | None = None,
        champion: VersionFiles | None = None,
        scored: Path | None = None,
    ) -> None:
        """Write down what became of a file, with all that follows from it, in one transaction."""
        model, now = watch.model, self._clock()
        found = result or TakeResult()
        outcome = None
        with self._store.write() as tx:
            batch = self._store.batches.add(
                tx,
                arrival=arrival,
                model=model,
                kind=arrival.kind,
                status=status,
                dedupe_key=self._object_name(watch, arrival),
                rows=found.rows,
                labelled_rows=found.labelled_rows,
                object_path=None if stored is None else self._folders.relative(stored),
                event_from_at=found.event_from_at,
                event_until_at=found.event_until_at,
                reason=reason,
                detail=detail,
                arrived_at=now,
            )
            if status is BatchStatus.ACCEPTED:
                outcome = self._record_accepted(tx, watch, batch, found, champion, scored)
        failpoint("batch.recorded")
        error = None if outcome is None or outcome.rows == 0 else outcome.error_sum / outcome.rows
        self._emit(BatchTaken(batch=batch, error=error))

    def _record_accepted(
        self,
        tx: Connection,
        watch: Watch,
        batch: Batch,
        found: TakeResult,
        champion: VersionFiles | None,
        scored: Path | None,
    ) -> Outcome | None:
        model = watch.model
        if found.event_until_at is not None:
            until = min(found.event_until_at, batch.arrived_at)
            self._store.models.raise_event_time(tx, model, until, batch.arrived_at)
        if batch.kind is BatchKind.ROWS and found.contract is not None:
            known = self._store.models.state(tx, model).contract
            columns = watch.settings.data.columns
            contract = (
                first_contract(found.contract, columns) if known is None else refine(known, found.contract)
            )
            if contract != known:
                self._store.models.set_contract(tx, model, contract)
        if champion is None or scored is None or found.scored_rows is None:
            return None
        self._store.feedback.add_predictions(
            tx,
            model,
            Predictions(
                batch_seq=batch.seq,
                version=champion.version,
                path=self._folders.relative(scored),
                rows=found.scored_rows,
            ),
        )
        if found.outcome is None:
            return None
        rows, error_sum, squared_sum = found.outcome
        outcome = Outcome(
            batch_seq=batch.seq,
            version=champion.version,
            rows=rows,
            error_sum=error_sum,
            squared_sum=squared_sum,
        )
        self._store.feedback.put_outcome(tx, model, outcome)
        return outcome

    def _record_grown(self, watch: Watch, arrival: Arrival, staged: Path, before: Batch) -> None:
        """A file that goes on after it was taken: its first rows must not count twice, nor the rest get lost."""
        detail = (
            f"it begins with all that was taken as batch {before.seq}: its writer paused for longer than 'settle', "
            "or it repeats old rows; rename files into place when complete, deliver new rows in a file of their own"
        )
        copy = self._keep_copy(watch, arrival, staged)
        self._record(
            watch,
            arrival,
            BatchStatus.QUARANTINED,
            reason="grown_after_taken",
            detail=detail,
            stored=copy,
        )

    def _goes_on_after(self, staged: Path, before: Batch) -> bool:
        with self._pulse.waiting(_copying_s(staged)):
            return _begins_with(staged, before)

    def _object_name(self, watch: Watch, arrival: Arrival) -> str:
        """What makes this file this one: its content, and where the same content counts again also its place."""
        if not watch.files(arrival.kind).accept_duplicates:
            return arrival.digest
        stamp = arrival.stamp
        return digest_of([arrival.digest, arrival.name, stamp.mtime_ns, stamp.inode])

    def _keep_copy(self, watch: Watch, arrival: Arrival, staged: Path) -> Path | None:
        if not watch.files(arrival.kind).keep_quarantined:
            return None
        name = f"{arrival.digest}-{arrival.stamp.mtime_ns}{Path(arrival.name).suffix}"
        target = self._folders.quarantine / watch.model / name
        make_folder(target.parent)
        with self._pulse.waiting(_copying_s(staged)):
            shutil.copyfile(staged, target)
        sync(target)
        sync(target.parent)
        return target


def _copying_s(path: Path) -> float:
    """Reading or copying a file of ours takes at most so long, on the slowest disk that is of any use."""
    return SLOWEST_S + path.stat().st_size / SLOWEST_BYTES_S


def _begins_with(path: Path, batch: Batch) -> bool:
    """Whether a longer file begins with the very bytes of a batch."""
    if path.stat().st_size <= batch.size_bytes:
        return False
    digest, left = hashlib.sha256(), batch.size_bytes
    with path.open("rb") as file:
        while left > 0 and (data := file.read(min(left, CHUNK_BYTES))):
            digest.update(data)
            left -= len(data)
    return digest.hexdigest() == batch.digest
