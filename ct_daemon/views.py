"""The ledger as plain documents, the same for the command line and the API. Nothing here decides or changes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Connection

from ct_daemon.codec import plain
from ct_daemon.errors import UnknownNameError
from ct_daemon.evaluation.degradation import quality_of
from ct_daemon.store.store import Store
from ct_daemon.types import Batch, BatchStatus, Demand, Deployment, Run

T = TypeVar("T")

RUN_ID = re.compile(r"r-[0-9a-f]{12}")
DEMAND_ID = re.compile(r"d-[0-9a-f]{12}")
RECENT_ROWS = 1000
"""Quality of late is told over so many labelled rows, whole files."""


def model_document(store: Store, tx: Connection, model: str) -> dict[str, Any]:
    """One model: what is live, what was seen, what is going on."""
    state = store.models.state_or_new(tx, model)
    live = store.deployments.live(tx, model)
    active = store.runs.active(tx, model)
    newest = store.runs.list(tx, model, limit=1)
    windows = store.windows.list(tx, model, limit=1)
    totals = store.batches.totals(tx, model)
    return {
        "model": model,
        "paused": state.paused,
        "pause_reason": state.pause_reason,
        "last_error": state.last_error,
        "champion": None if live is None else deployment_document(live),
        **_live_quality(store, tx, model, live),
        "batches": store.batches.counts(tx, model),
        "last_quarantined": last_quarantined(store, tx, model),
        "rows": totals.rows,
        "labelled_rows": totals.labelled_rows,
        "event_until_at": _time(state.event_until_at),
        "active_run": None if active is None else run_document(active),
        "last_run": None if not newest else run_document(newest[0]),
        "demands_waiting": len(store.demands.pending(tx, model)),
        "last_window": None if not windows else plain(windows[-1]),
        "last_decision": _last_decision(store, tx, model),
    }


def _live_quality(store: Store, tx: Connection, model: str, live: Deployment | None) -> dict[str, Any]:
    """How the live version does on labels that came since, overall and lately, and how it did when it was made."""
    rows, error_sum = (0, 0.0) if live is None else store.feedback.totals(tx, model, live.version)
    version = None if live is None else store.versions.find(tx, model, live.version)
    trained = None if version is None else version.quality
    recent = () if live is None else store.feedback.newest(tx, model, live.version, RECENT_ROWS)
    lately = None if trained is None else quality_of(trained.metric, recent, trained)
    return {
        "live_error": None if rows == 0 else error_sum / rows,
        "live_labelled_rows": rows,
        "quality": {
            "metric": None if trained is None else trained.metric,
            "recent": None if lately is None else lately.value,
            "recent_rows": sum(outcome.rows for outcome in recent),
            "at_training": None if trained is None else plain(trained),
        },
    }


def last_quarantined(store: Store, tx: Connection, model: str) -> dict[str, Any] | None:
    """The newest file that was refused."""
    found = store.batches.list(tx, model, status=BatchStatus.QUARANTINED, newest_first=True, limit=1)
    return None if not found else batch_document(found[0])


def _last_decision(store: Store, tx: Connection, model: str) -> dict[str, Any] | None:
    newest = store.decisions.newest(tx, model)
    if newest is None:
        return None
    return {
        "seq": newest.seq,
        "verdict": newest.decision.verdict.value,
        "rule": newest.decision.rule.value,
        "reason": newest.decision.reason,
        "would_change": newest.decision.would_change,
        "at": _time(newest.last_at),
    }


def status_document(store: Store, models: Sequence[str], *, daemon: dict[str, Any]) -> dict[str, Any]:
    """These models."""
    with store.read() as tx:
        return {"daemon": daemon, "models": [model_document(store, tx, model) for model in models]}


def page(found: Sequence[T], limit: int, cursor: Callable[[T], Any]) -> tuple[Sequence[T], Any]:
    """The first `limit` of what was found, and where the next page begins (None: there is none).

    To be asked with one more than the limit.
    """
    shown = found[:limit]
    return shown, cursor(shown[-1]) if len(found) > limit else None


def run_document(run: Run) -> dict[str, Any]:
    """One run without its log of transitions."""
    return {
        "id": run.id,
        "model": run.model,
        "state": run.state,
        "trigger": run.trigger,
        "reason": run.reason,
        "detail": run.detail,
        "version": run.candidate,
        "attempt": run.attempt,
        "decision": run.decision_seq,
        "snapshot": run.snapshot,
        "created_at": _time(run.created_at),
        "updated_at": _time(run.updated_at),
        "cancel_requested": run.cancel_requested,
        "results": {key: value for key, value in run.results.items() if key != "contract"},
    }


def run_with_transitions(store: Store, run_id: str) -> dict[str, Any]:
    """One run with every step it took."""
    with store.read() as tx:
        run = store.runs.get(tx, run_id)
        moves = store.runs.transitions(tx, run_id)
        served = store.demands.served_by(tx, run.model, run_id)
    document = run_document(run)
    document["demands"] = [demand_document(demand) for demand in served]
    document["transitions"] = [
        {
            "from": move.from_state,
            "to": move.to_state,
            "at": _time(move.at),
            "attempt": move.attempt,
            "reason": move.reason,
            "detail": move.detail,
        }
        for move in moves
    ]
    return document


def runs_document(
    store: Store, model: str | None, *, limit: int, state: str | None = None, before: str | None = None
) -> dict[str, Any]:
    """The newest runs, from before the run `before`."""
    with store.read() as tx:
        found = store.runs.list(tx, model, state=state, before=before, limit=limit + 1)
    runs, following = page(found, limit, lambda run: run.id)
    return {"runs": [run_document(run) for run in runs], "next": following}


def slots_document(
    store: Store, model: str, *, following: datetime | None, before: int | None = None, limit: int = 100
) -> dict[str, Any]:
    """The newest slots of a model's schedule; `following` is when the next one comes."""
    with store.read() as tx:
        found = store.slots.list(tx, model, before_seq=before, limit=limit + 1)
        held = _last_decision(store, tx, model)
    why = "" if held is None or held["verdict"] != "hold" else held["reason"]
    shown, older = page(found, limit, lambda slot: slot.seq)
    return {
        "model": model,
        "next_at": _time(following),
        "next": older,
        "slots": [
            {
                "seq": slot.seq,
                "due_at": _time(slot.due_at),
                "first_at": _time(slot.first_at),
                "count": slot.count,
                "end": slot.skipped or ("waiting" if slot.run_id is None else "run"),
                "run": slot.run_id,
                "detail": why if slot.skipped is None and slot.run_id is None else slot.detail,
            }
            for slot in shown
        ],
    }


def versions_document(
    store: Store, model: str, *, limit: int = 1000, before: int | None = None
) -> dict[str, Any]:
    """Versions and deployments of one model, newest first, versions from before number `before`."""
    with store.read() as tx:
        live = store.deployments.live(tx, model)
        found = store.versions.list(tx, model, before=before, limit=limit + 1)
        shown, following = page(found, limit, lambda version: version.version)
        versions = [
            plain(version)
            | {"live": live is not None and live.version == version.version}
            | {"trained_rows": _trained_rows(store, tx, version.run_id)}
            for version in shown
        ]
        deployments = store.deployments.list(tx, model, limit=100)
    return {
        "model": model,
        "champion": None if live is None else live.version,
        "versions": versions,
        "deployments": [deployment_document(deployment) for deployment in deployments],
        "next": following,
    }


def _trained_rows(store: Store, tx: Connection, run_id: str) -> int | None:
    """Rows that a version was fitted to; None where its run is no longer in the ledger."""
    try:
        results = store.runs.get(tx, run_id).results
    except UnknownNameError:
        return None
    found = results.get("finish") or results.get("train") or {}
    return found.get("train_rows")


def batches_document(
    store: Store,
    models: Sequence[str],
    *,
    status: BatchStatus | None,
    limit: int,
    before: int | None = None,
) -> dict[str, Any]:
    """The newest files of some models, whatever became of them, from before number `before`."""
    with store.read() as tx:
        found = [
            batch
            for model in models
            for batch in store.batches.list(
                tx, model, status=status, before_seq=before, newest_first=True, limit=limit + 1
            )
        ]
    newest, following = page(sorted(found, key=lambda batch: -batch.seq), limit, lambda batch: batch.seq)
    return {"batches": [batch_document(batch) for batch in newest], "next": following}


def demand_document(demand: Demand) -> dict[str, Any]:
    """One wish."""
    return {
        "id": demand.id,
        "origin": demand.origin,
        "asked_at": _time(demand.asked_at),
        "note": demand.note,
    }


def batch_document(batch: Batch) -> dict[str, Any]:
    """One batch."""
    document = plain(batch)
    document.pop("object_path")
    return dict(document)


def deployment_document(deployment: Deployment) -> dict[str, Any]:
    """One deployment."""
    return {
        "version": deployment.version,
        "kind": deployment.kind,
        "state": deployment.state.value,
        "at": _time(deployment.at),
        "run": deployment.run_id,
        "previous": deployment.previous,
        "baseline": deployment.baseline_digest,
    }


def require_model(models: Sequence[str], model: str) -> str:
    """The name itself, if it is configured."""
    if model not in models:
        known = ", ".join(sorted(models)[:10])
        raise UnknownNameError(f"there is no model {model!r}; configured: {known}", reason="unknown_model")
    return model


def require_run_id(run_id: str) -> str:
    """The id itself, if it can be one of a run."""
    if not RUN_ID.fullmatch(run_id):
        raise UnknownNameError(
            f"there is no run {run_id!r}: 'ct-daemon runs' lists the runs", reason="unknown_run"
        )
    return run_id


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
