"""The ledger as plain documents, the same for the command line and the API. Nothing here decides or changes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from ct_daemon.codec import plain
from ct_daemon.errors import UnknownNameError
from ct_daemon.store.store import Store
from ct_daemon.types import Batch, BatchStatus, Deployment, Run


def model_document(store: Store, tx: Connection, model: str) -> dict[str, Any]:
    """One model: what is live, what was seen, what is going on."""
    state = store.models.state_or_new(tx, model)
    live = store.deployments.live(tx, model)
    active = store.runs.active(tx, model)
    newest = store.decisions.newest(tx, model)
    windows = store.windows.list(tx, model, limit=1)
    totals = store.batches.totals(tx, model)
    outcomes = () if live is None else store.feedback.outcomes(tx, model, version=live.version)
    rows = sum(outcome.rows for outcome in outcomes)
    return {
        "model": model,
        "paused": state.paused,
        "pause_reason": state.pause_reason,
        "last_error": state.last_error,
        "champion": None if live is None else deployment_document(live),
        "live_error": None if rows == 0 else sum(o.error_sum for o in outcomes) / rows,
        "live_labelled_rows": rows,
        "batches": store.batches.counts(tx, model),
        "rows": totals.rows,
        "labelled_rows": totals.labelled_rows,
        "event_until_at": _time(state.event_until_at),
        "active_run": None if active is None else run_document(active),
        "demands_waiting": len(store.demands.pending(tx, model)),
        "last_window": None if not windows else plain(windows[-1]),
        "last_decision": None
        if newest is None
        else {
            "seq": newest.seq,
            "verdict": newest.decision.verdict.value,
            "rule": newest.decision.rule.value,
            "reason": newest.decision.reason,
            "would_change": newest.decision.would_change,
            "at": _time(newest.last_at),
        },
    }


def status_document(store: Store, models: Sequence[str], *, daemon: dict[str, Any]) -> dict[str, Any]:
    """All models."""
    with store.read() as tx:
        return {"daemon": daemon, "models": [model_document(store, tx, model) for model in models]}


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
    document = run_document(run)
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


def runs_document(store: Store, model: str | None, *, limit: int) -> dict[str, Any]:
    """The newest runs."""
    with store.read() as tx:
        return {"runs": [run_document(run) for run in store.runs.list(tx, model, limit=limit)]}


def versions_document(store: Store, model: str) -> dict[str, Any]:
    """Versions and deployments of one model, newest first."""
    with store.read() as tx:
        live = store.deployments.live(tx, model)
        versions = store.versions.list(tx, model)
        deployments = store.deployments.list(tx, model, limit=100)
    return {
        "champion": None if live is None else live.version,
        "versions": [plain(version) for version in versions],
        "deployments": [deployment_document(deployment) for deployment in deployments],
    }


def batches_document(store: Store, model: str, *, status: BatchStatus | None, limit: int) -> dict[str, Any]:
    """The newest batches, whatever became of them."""
    with store.read() as tx:
        batches = store.batches.list(tx, model, status=status, newest_first=True, limit=limit)
    return {"batches": [batch_document(batch) for batch in batches]}


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


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
