"""What the ledger holds becomes a decision: triggers, then policy, then the record and the run it begins."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection
from structlog.contextvars import bound_contextvars

from ct_daemon.evaluation.degradation import quality_of
from ct_daemon.failpoints import failpoint
from ct_daemon.monitor.slots import note_slots, skip_if_paused
from ct_daemon.monitor.watch import Watch
from ct_daemon.pipeline.states import JOINABLE, RunState
from ct_daemon.store.store import Store
from ct_daemon.types import (
    ADOPT,
    ActiveRun,
    Decision,
    DecisionMade,
    Deployment,
    Event,
    Firing,
    Observation,
    PastRun,
    Performance,
    Quiet,
    RecordedDecision,
    RunEnd,
    Situation,
    TriggerFired,
    Verdict,
    Window,
)

PAST_RUNS = 200
"""So many runs the policy looks back, more if its budget is larger."""

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
class Decided:
    """A decision, and in how many seconds time alone may lead to another one (None: never)."""

    recorded: RecordedDecision
    look_again_s: float | None = None


class Decider:
    """Decides; see `Monitor` for the parameters. What came due before it was made came while no daemon ran."""

    def __init__(
        self,
        *,
        store: Store,
        emit: Callable[[Event], None],
        queued: Callable[[], None],
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._emit, self._queued, self._clock = emit, queued, clock
        self._since = clock()

    def decide(self, watch: Watch) -> Decided:
        """Triggers, then policy, on what the ledger holds now; the answer and its consequence are one transaction."""
        model, wall = watch.model, self._clock()
        with self._store.write() as tx:
            now = self._store.models.state(tx, model).now(wall)
            next_slot = note_slots(self._store, tx, model, watch.timetable, wall=wall, since=self._since)
            observation, situation = self._look(tx, watch, now)
            if next_slot is not None:
                observation = replace(observation, next_slot=next_slot, next_slot_at=now + (next_slot - wall))
            answers = [trigger.evaluate(observation, now) for trigger in watch.triggers]
            firings = tuple(a for a in answers if isinstance(a, Firing))
            quiet = tuple(a for a in answers if isinstance(a, Quiet))
            fresh = [f for f in firings if self._store.firings.add(tx, f, now)]
            self._store.firings.lapse(tx, model, [q.trigger for q in quiet], now)
            first, last = self._store.firings.unanswered(tx, model, firings)
            ceiling = any(f.ceiling and self._store.firings.waits(tx, f) for f in firings)
            situation = replace(situation, first_firing_at=first, last_firing_at=last, ceiling=ceiling)
            decision = watch.policy.decide(model, firings, quiet, situation, observation.demands, now)
            recorded, is_new = self._store.decisions.record(
                tx, decision, situation, _short(observation), wall
            )
            if decision.verdict is Verdict.START:
                recorded = self._start(tx, recorded, observation)
            elif situation.active is not None and situation.active.joinable:
                # It has not read its data yet, so it will see all that is seen now.
                self._store.demands.serve(tx, decision.serves, situation.active.id)
                self._store.firings.answer(tx, model, situation.active.id)
                self._store.slots.serve(tx, model, situation.active.id)
            else:
                skip_if_paused(self._store, tx, decision)
        failpoint("decision.recorded")
        with bound_contextvars(decision=recorded.seq):
            for firing in fresh:
                self._emit(TriggerFired(firing=firing))
            if is_new:
                self._emit(DecisionMade(recorded=recorded))
        if decision.verdict is Verdict.START:
            self._queued()
        return Decided(recorded=recorded, look_again_s=_look_again_s(decision))

    def _start(
        self, tx: Connection, recorded: RecordedDecision, observation: Observation
    ) -> RecordedDecision:
        decision = recorded.decision
        adopts = any(d.adopt is not None for d in observation.demands if d.id in decision.serves)
        fired = "+".join(sorted({f.trigger.value for f in decision.firings}))
        run = self._store.runs.create(
            tx,
            id=f"r-{uuid.uuid4().hex[:12]}",
            model=decision.model,
            decision_seq=recorded.seq,
            decided_at=decision.now,
            trigger=ADOPT if adopts else fired,
            at=self._clock(),
        )
        self._store.demands.serve(tx, decision.serves, run.id)
        if not adopts:  # else nothing is trained: what asks for a training still waits for one
            self._store.firings.answer(tx, decision.model, run.id)
            self._store.slots.serve(tx, decision.model, run.id)
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
            trained_at=None if deployment is None else self._trained_at(tx, deployment),
            performance=self._performance(tx, watch, deployment),
            slot=store.slots.waiting(tx, model),
        )
        situation = Situation(
            model=model,
            paused=state.paused,
            active=None
            if active is None
            else ActiveRun(
                id=active.id,
                joinable=RunState(active.state) in JOINABLE
                and not active.cancel_requested
                and active.trigger != ADOPT,
            ),
            past=past,
            last_rollback_at=max(rollbacks, default=None),
            champion=observation.champion,
            labelled_rows=everything.labelled_rows,
            min_rows=watch.settings.training.min_rows,
        )
        return observation, situation

    def _trained_at(self, tx: Connection, deployment: Deployment) -> datetime:
        """When the run that made the version was decided."""
        version = self._store.versions.get(tx, deployment.model, deployment.version)
        return self._store.runs.get(tx, version.run_id).decided_at

    def _performance(self, tx: Connection, watch: Watch, deployment: Deployment | None) -> Performance | None:
        """The live version on its newest matured labels, beside how it did when it was made; None where
        no trigger asks for it."""
        if deployment is None or watch.labels is None:
            return None
        reference = self._store.versions.get(tx, deployment.model, deployment.version).quality
        if reference is None:
            return None
        newest = self._store.feedback.newest(tx, deployment.model, deployment.version, watch.labels)
        live = quality_of(reference.metric, newest, reference)
        if live is None:
            return None
        return Performance(live=live, reference=reference, last_batch_seq=newest[0].batch_seq)


def _look_again_s(decision: Decision) -> float | None:
    """Until time alone may change it: a rule no longer holds, a slot comes, an age is reached."""
    changes = [decision.retry_at]
    changes += [firing.due_at for firing in decision.firings]
    changes += [quiet.due_at for quiet in decision.quiet]
    return min(((at - decision.now).total_seconds() for at in changes if at is not None), default=None)


def _past(run: Any) -> PastRun:  # noqa: ANN401
    ended = run.results.get("ended_at")
    return PastRun(
        id=run.id,
        started_at=run.decided_at,
        ended_at=run.updated_at if ended is None else datetime.fromisoformat(ended),
        end=_ENDS[RunState(run.state)],
    )


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
        "slot": None if observation.slot is None else observation.slot.due_at.isoformat(),
    }
