"""The left half of the flow: one tick looks at one model.

poll → take (read, contract, score) → join labels → compare windows → triggers → policy → record. A tick happens on
new evidence or when time alone could change a decision. What it learns goes into the ledger, never into memory
only, so that a crash between any two lines costs nothing: the next tick finds what is missing and does it.
"""

from __future__ import annotations

import os
import shutil
import threading
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import Connection

from ct_daemon.clock import model_time
from ct_daemon.codec import digest_of
from ct_daemon.config import FilesSource, ModelSettings
from ct_daemon.dataset.contract import first_contract, refine
from ct_daemon.errors import ConflictError, CtDaemonError, SourceError, StateError, WorkerError
from ct_daemon.failpoints import failpoint
from ct_daemon.folders import StateFolder
from ct_daemon.pipeline.states import JOINABLE, RunState
from ct_daemon.pipeline.steps import champion_of, files_of
from ct_daemon.policy import Policy
from ct_daemon.protocols import (
    CompareRequest,
    JoinRequest,
    Source,
    TakeRequest,
    TakeResult,
    Trigger,
    VersionFiles,
    Worker,
)
from ct_daemon.store.store import Store
from ct_daemon.types import (
    ActiveRun,
    Arrival,
    Batch,
    BatchKind,
    BatchStatus,
    BatchTaken,
    DecisionMade,
    Demand,
    DriftMeasured,
    Event,
    Firing,
    Observation,
    Outcome,
    PastRun,
    Predictions,
    QualityMeasured,
    Quiet,
    RecordedDecision,
    RunEnd,
    Situation,
    TickFailed,
    TriggerFired,
    Verdict,
    Window,
)

log = structlog.get_logger(__name__)

RECENT_PREDICTIONS = 200
"""So many batches of predictions wait for their labels; older ones are no longer looked at."""
PAST_RUNS = 200
"""So many runs the policy looks back, more if its budget is larger."""

THE_FILE_MAY_BE_AT_FAULT = frozenset({"died", "timeout", "out_of_memory", "worker_bug", "bad_reply"})
"""Ends of the worker that a file can bring about."""

_ENDS = {
    RunState.SUCCEEDED: RunEnd.USEFUL,
    RunState.REJECTED: RunEnd.REJECTED,
    RunState.ROLLED_BACK: RunEnd.FAILED,
    RunState.FAILED: RunEnd.FAILED,
    RunState.CANCELLED: RunEnd.CANCELLED,
}
_VERDICTS = frozenset({RunState.SUCCEEDED, RunState.REJECTED, RunState.ROLLED_BACK})
"""Ends in which the data of the snapshot has had its say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """One model under watch."""

    model: str
    settings: ModelSettings
    sources: tuple[Source, ...]
    triggers: tuple[Trigger, ...]
    policy: Policy
    windows: int = 1
    """So many of the newest drift windows the triggers look at."""


class Monitor:
    """Ticks models, one at a time each; several threads may tick different models.

    Parameters
    ----------
    emit : callable
        Hears the facts of a tick.
    queued : callable
        Called after a run was queued.
    """

    def __init__(
        self,
        *,
        store: Store,
        folders: StateFolder,
        worker: Worker,
        watches: Mapping[str, Watch],
        emit: Callable[[Event], None],
        queued: Callable[[], None],
        clock: Callable[[], datetime],
    ) -> None:
        self._store, self._folders, self._worker = store, folders, worker
        self._watches = watches
        self._emit, self._queued, self._clock = emit, queued, clock
        self._locks = {model: threading.RLock() for model in watches}
        self._labels_joined: dict[str, int] = {}

    # --- one tick -----------------------------------------------------------------------------------------

    def tick(self, model: str, *, only_if_new: bool = False) -> RecordedDecision | None:
        """Look at one model. An error of this model is recorded and does not leave this function.

        Parameters
        ----------
        only_if_new : bool
            Stop after polling if no file was taken: nothing but time has changed, and time has its own ticks.

        Returns
        -------
        RecordedDecision or None
            The newest decision; None if there was nothing to look at or the tick failed.
        """
        watch = self._watches[model]
        with self._locks[model]:
            try:
                taken = sum(self._poll(watch, source) for source in watch.sources)
                if only_if_new and not taken and model in self._labels_joined:
                    return None
                self._join_labels(watch)
                self._measure_windows(watch)
                recorded = self.decide(model)
                self._remember_error(model, None)
                return recorded
            except (SourceError, WorkerError, StateError) as error:
                self._failed(model, error.reason, str(error))
            except Exception as error:
                log.exception("tick.broke", model=model)
                self._failed(model, "internal_error", f"{type(error).__name__}: {error}")
        return None

    def pending_s(self, model: str) -> float | None:
        """Seconds until a file may have settled, or None."""
        waits = [wait for source in self._watches[model].sources if (wait := source.pending_s()) is not None]
        return min(waits, default=None)

    def _failed(self, model: str, reason: str, message: str) -> None:
        self._emit(TickFailed(model=model, reason=reason, message=message))
        with suppress(StateError):  # a full disk can't record that it is full; the event has said so
            self._remember_error(model, f"{reason}: {message}")

    def _remember_error(self, model: str, message: str | None) -> None:
        with self._store.read() as tx:
            known = self._store.models.state(tx, model).last_error
        if known != message:
            with self._store.write() as tx:
                self._store.models.set_error(tx, model, message)

    # --- taking files -------------------------------------------------------------------------------------

    def _poll(self, watch: Watch, source: Source) -> int:
        with self._store.read() as tx:
            known = self._store.batches.known(tx, watch.model, source.name)
        taken = 0
        for arrival in source.poll(known, self._clock().timestamp()):
            self._take(watch, arrival)
            taken += 1
        return taken

    def _take(self, watch: Watch, arrival: Arrival) -> None:
        """Bring one file to its final status, exactly once."""
        accepts_again = self._files_settings(watch, arrival.kind).accept_duplicates
        if arrival.staged is None:
            self._record(
                watch, arrival, BatchStatus.QUARANTINED, reason=arrival.reason, detail=arrival.detail
            )
            return
        staged = Path(arrival.staged)
        try:
            with self._store.read() as tx:
                twin = self._store.batches.accepted_with_digest(tx, watch.model, arrival.kind, arrival.digest)
            if twin is not None and not accepts_again:
                detail = f"the same bytes as {twin.name}, batch {twin.seq}"
                self._record(watch, arrival, BatchStatus.DUPLICATE, reason="duplicate", detail=detail)
                return
            self._take_staged(watch, arrival, staged)
        finally:
            staged.unlink(missing_ok=True)

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
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        settings = self._files_settings(watch, arrival.kind)
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
            champion=champion,
            predictions_path=None if predictions is None else str(predictions),
        )
        try:
            result = self._worker.take(request)
        except WorkerError as error:
            if error.reason not in THE_FILE_MAY_BE_AT_FAULT:
                raise  # the file is good for all we know: it is taken at a later tick
            # A file that kills or hangs the reader would do so for ever; it is put aside like any unreadable one.
            result = TakeResult(reason=f"reader_{error.reason}", detail=str(error))
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
        quality = None if outcome is None or outcome.rows == 0 else outcome.error_sum / outcome.rows
        self._emit(BatchTaken(batch=batch, quality=quality))

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
            self._store.models.raise_event_time(tx, model, min(found.event_until_at, batch.arrived_at))
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

    def _files_settings(self, watch: Watch, kind: BatchKind) -> FilesSource:
        if kind is BatchKind.LABELS and watch.settings.labels is not None:
            return watch.settings.labels
        return watch.settings.source

    def _object_name(self, watch: Watch, arrival: Arrival) -> str:
        """What makes this file this one: its content, and where the same content counts again also its place."""
        if not self._files_settings(watch, arrival.kind).accept_duplicates:
            return arrival.digest
        stamp = arrival.stamp
        return digest_of([arrival.digest, arrival.name, stamp.mtime_ns, stamp.inode])

    def _keep_copy(self, watch: Watch, arrival: Arrival, staged: Path) -> Path | None:
        if not self._files_settings(watch, arrival.kind).keep_quarantined:
            return None
        name = f"{arrival.digest}-{arrival.stamp.mtime_ns}{Path(arrival.name).suffix}"
        target = self._folders.quarantine / watch.model / name
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        shutil.copyfile(staged, target)
        with target.open("rb") as copy:
            os.fsync(copy.fileno())
        return target

    # --- measuring ----------------------------------------------------------------------------------------

    def _join_labels(self, watch: Watch) -> None:
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

    def _measure_windows(self, watch: Watch) -> None:
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
            waiting = self._store.batches.list(
                tx, model, status=BatchStatus.ACCEPTED, kind=BatchKind.ROWS, after_seq=begin, limit=10_000
            )
        chosen: list[Batch] = []
        for batch in waiting:
            chosen.append(batch)
            if sum(b.rows for b in chosen) >= watch.settings.drift.window_rows:
                break
        else:
            return None
        profile = self._folders.profile(model, version.baseline_digest, chosen[-1].seq)
        profile.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
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
            if live is None or live.seq != deployment.seq:
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

    # --- deciding -----------------------------------------------------------------------------------------

    def decide(self, model: str) -> RecordedDecision:
        """Triggers, then policy, on what the ledger holds now; the answer and its consequence are one transaction."""
        watch = self._watches[model]
        wall = self._clock()
        with self._store.write() as tx:
            state = self._store.models.state(tx, model)
            now = model_time(state.event_until_at, wall)
            observation, situation = self._look(tx, watch, now)
            answers = [trigger.evaluate(observation, now) for trigger in watch.triggers]
            firings = tuple(a for a in answers if isinstance(a, Firing))
            quiet = tuple(a for a in answers if isinstance(a, Quiet))
            fresh = [f for f in firings if self._store.firings.add(tx, f, now)]
            if fresh:
                first, last = self._store.firings.unanswered(tx, model)
                situation = _with_firings(situation, first, last)
            decision = watch.policy.decide(model, firings, quiet, situation, observation.demands, now)
            recorded, is_new = self._store.decisions.record(
                tx, decision, situation, _short(observation), wall
            )
            if decision.verdict is Verdict.START:
                recorded = self._start(tx, recorded)
            elif decision.serves and situation.active is not None:
                self._store.demands.serve(tx, decision.serves, situation.active.id)
                self._store.firings.answer(tx, model, situation.active.id)
        failpoint("decision.recorded")
        for firing in fresh:
            self._emit(TriggerFired(firing=firing))
        if is_new:
            self._emit(DecisionMade(recorded=recorded))
        if decision.verdict is Verdict.START:
            self._queued()
        return recorded

    def _start(self, tx: Connection, recorded: RecordedDecision) -> RecordedDecision:
        decision = recorded.decision
        run = self._store.runs.create(
            tx,
            id=f"r-{uuid.uuid4().hex[:12]}",
            model=decision.model,
            decision_seq=recorded.seq,
            decided_at=decision.now,
            trigger="+".join(sorted({f.trigger.value for f in decision.firings})),
            at=self._clock(),
        )
        self._store.demands.serve(tx, decision.serves, run.id)
        self._store.firings.answer(tx, decision.model, run.id)
        self._store.decisions.attach_run(tx, recorded.seq, run.id)
        return self._store.decisions.get(tx, recorded.seq)

    def _look(self, tx: Connection, watch: Watch, now: datetime) -> tuple[Observation, Situation]:
        """Everything that triggers and policy may see, from the ledger."""
        model, store = watch.model, self._store
        state = store.models.state(tx, model)
        deployment = store.deployments.live(tx, model)
        budget = watch.policy.budget_runs or 0
        runs = store.runs.list(tx, model, limit=max(PAST_RUNS, budget + 1))
        past = tuple(_past(run) for run in reversed(runs) if RunState(run.state) in _ENDS)
        judged = next((r for r in runs if RunState(r.state) in _VERDICTS and "last_seq" in r.results), None)
        active = store.runs.active(tx, model)
        everything = store.batches.totals(tx, model)
        new = store.batches.totals(
            tx, model, after_seq=0 if judged is None else int(judged.results["last_seq"])
        )
        windows: tuple[Window, ...] = ()
        if deployment is not None:
            windows = tuple(
                store.windows.list(
                    tx,
                    model,
                    version=deployment.version,
                    baseline_digest=deployment.baseline_digest,
                    limit=watch.windows,
                )
            )
            windows = tuple(w for w in windows if w.measured_at >= deployment.at)
        first, last = store.firings.unanswered(tx, model)
        rollbacks = [
            d.decided_at for d in store.deployments.list(tx, model, limit=20) if d.kind == "rollback"
        ]
        observation = Observation(
            model=model,
            champion=None if deployment is None else deployment.version,
            labelled_rows=everything.labelled_rows,
            new_rows=new.rows,
            new_labelled_rows=new.labelled_rows,
            new_files=new.files,
            last_batch_seq=everything.last_seq,
            demands=store.demands.pending(tx, model),
            windows=windows,
        )
        situation = Situation(
            model=model,
            paused=state.paused,
            active=None
            if active is None
            else ActiveRun(id=active.id, joinable=RunState(active.state) in JOINABLE),
            past=past,
            first_firing_at=first,
            last_firing_at=last,
            last_rollback_at=max(rollbacks, default=None),
            champion=observation.champion,
            labelled_rows=everything.labelled_rows,
            min_rows=watch.settings.training.min_rows,
        )
        return observation, situation

    # --- a person's wish ----------------------------------------------------------------------------------

    def demand(self, demand: Demand) -> tuple[Demand, bool, RecordedDecision | None]:
        """Put a person's wish into the ledger, then answer it.

        Returns
        -------
        (Demand, bool, RecordedDecision or None)
            The demand as recorded (the earlier one for a repeated key), whether it is new, and the decision.
        """
        if demand.model not in self._watches:
            raise ConflictError(f"model {demand.model} is not configured", reason="unknown_model")
        with self._store.write() as tx:
            recorded, is_new = self._store.demands.add(tx, demand)
        failpoint("demand.recorded")
        try:
            decision = self.decide(demand.model) if is_new else None
        except CtDaemonError as error:
            # The wish is safe in the ledger; the next tick answers it.
            log.error("demand.not_decided", model=demand.model, demand=recorded.id, error=str(error))
            decision = None
        failpoint("demand.answered")
        with self._store.read() as tx:
            recorded = self._store.demands.get(tx, recorded.id)
            if decision is None:
                decision = self._store.decisions.newest(tx, demand.model)
        return recorded, is_new, decision


def _past(run: Any) -> PastRun:  # noqa: ANN401
    ended = run.results.get("ended_at")
    return PastRun(
        id=run.id,
        started_at=run.decided_at,
        ended_at=run.updated_at if ended is None else datetime.fromisoformat(ended),
        end=_ENDS[RunState(run.state)],
    )


def _with_firings(situation: Situation, first: datetime | None, last: datetime | None) -> Situation:
    return replace(situation, first_firing_at=first, last_firing_at=last)


def _short(observation: Observation) -> dict[str, Any]:
    """What a recorded decision keeps of its observation; the windows stand in the ledger by themselves."""
    return {
        "champion": observation.champion,
        "labelled_rows": observation.labelled_rows,
        "new_rows": observation.new_rows,
        "new_labelled_rows": observation.new_labelled_rows,
        "new_files": observation.new_files,
        "last_batch_seq": observation.last_batch_seq,
        "demands": [demand.id for demand in observation.demands],
        "windows": [window.seq for window in observation.windows],
    }
