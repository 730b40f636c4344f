"""The ledger as plain documents, the same for the command line and the API. Nothing here decides or changes."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from ct_daemon.codec import plain
from ct_daemon.errors import UnknownNameError
from ct_daemon.store.store import Store
from ct_daemon.types import Batch, BatchStatus, Demand, Deployment, Outcome, Run

RUN_ID = re.compile(r"r-[0-9a-f]{12}")
RECENT_ROWS = 1000
"""Quality of late is told over at most so many labelled rows."""


def model_document(store: Store, tx: Connection, model: str) -> dict[str, Any]:
    """One model: what is live, what was seen, what is going on."""
    state = store.models.state_or_new(tx, model)
    live = store.deployments.live(tx, model)
    active = store.runs.active(tx, model)
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
        "demands_waiting": len(store.demands.pending(tx, model)),
        "last_window": None if not windows else plain(windows[-1]),
        "last_decision": _last_decision(store, tx, model),
    }


def _live_quality(store: Store, tx: Connection, model: str, live: Deployment | None) -> dict[str, Any]:
    """How the live version does on labels that came since, overall and lately, and how it did when it was made."""
    outcomes = () if live is None else store.feedback.outcomes(tx, model, version=live.version)
    rows = sum(outcome.rows for outcome in outcomes)
    version = None if live is None else store.versions.find(tx, model, live.version)
    trained = None if version is None else version.quality
    recent = newest_outcomes(outcomes, RECENT_ROWS)
    return {
        "live_error": None if rows == 0 else sum(o.error_sum for o in outcomes) / rows,
        "live_labelled_rows": rows,
        "quality": {
            "metric": None if trained is None else trained.metric,
            "recent": None if trained is None else in_metric(trained.metric, recent),
            "recent_rows": sum(outcome.rows for outcome in recent),
            "at_training": None if trained is None else plain(trained),
        },
    }


def newest_outcomes(outcomes: Sequence[Outcome], rows: int) -> tuple[Outcome, ...]:
    """The newest outcomes that together have at most so many rows; the newest one whatever its size."""
    taken: list[Outcome] = []
    for outcome in reversed(outcomes):
        if taken and sum(o.rows for o in taken) + outcome.rows > rows:
            break
        if outcome.rows:
            taken.append(outcome)
    return tuple(taken)


def in_metric(metric: str, outcomes: Sequence[Outcome]) -> float | None:
    """The outcomes in the gate's metric; None if there are none, or it can't be had from them."""
    rows = sum(outcome.rows for outcome in outcomes)
    if rows == 0:
        return None
    error = sum(outcome.error_sum for outcome in outcomes) / rows
    squared = sum(outcome.squared_sum for outcome in outcomes) / rows
    return {"accuracy": 1.0 - error, "mae": error, "rmse": math.sqrt(squared)}.get(metric)


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


def runs_document(store: Store, model: str | None, *, limit: int) -> dict[str, Any]:
    """The newest runs."""
    with store.read() as tx:
        return {"runs": [run_document(run) for run in store.runs.list(tx, model, limit=limit)]}


def versions_document(store: Store, model: str) -> dict[str, Any]:
    """Versions and deployments of one model, newest first."""
    with store.read() as tx:
        live = store.deployments.live(tx, model)
        versions = [
            plain(version)
            | {"live": live is not None and live.version == version.version}
            | {"trained_rows": _trained_rows(store, tx, version.run_id)}
            for version in store.versions.list(tx, model)
        ]
        deployments = store.deployments.list(tx, model, limit=100)
    return {
        "model": model,
        "champion": None if live is None else live.version,
        "versions": versions,
        "deployments": [deployment_document(deployment) for deployment in deployments],
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
    store: Store, models: Sequence[str], *, status: BatchStatus | None, limit: int
) -> dict[str, Any]:
    """The newest files of some models, whatever became of them."""
    with store.read() as tx:
        found = [
            batch
            for model in models
            for batch in store.batches.list(tx, model, status=status, newest_first=True, limit=limit)
        ]
    newest = sorted(found, key=lambda batch: -batch.seq)[:limit]
    return {"batches": [batch_document(batch) for batch in newest]}


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
