"""Routes under ``/api/v1`` and ``/healthz``. Errors are problem details (RFC 9457) with a stable `reason`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Body, Depends, FastAPI, Header, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from ct_daemon import __version__, views
from ct_daemon.api import metrics
from ct_daemon.codec import plain
from ct_daemon.control import Control, Ticket
from ct_daemon.errors import ConflictError, CtDaemonError, DeployError, StateError, UnknownNameError
from ct_daemon.explain import demands_about
from ct_daemon.explain import document as explain_document
from ct_daemon.store.store import Store
from ct_daemon.types import BatchStatus

MAX_BODY_BYTES = 64 * 1024


def _known_model(request: Request, model: str) -> str:
    """The name in the path, if it is configured. A dependency, so it is asked before the body is looked at."""
    return views.require_model(request.app.state.models, model)


ModelName = Annotated[str, Depends(_known_model)]
RunId = Annotated[str, Depends(views.require_run_id)]
Limit = Annotated[int, Query(ge=1, le=1000)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class RunRequest(_Strict):
    """A wish for a retraining."""

    force: bool = Field(default=False, description="A run of its own: don't join one that is waiting.")
    note: str = Field(default="", max_length=1000, description="Kept with the demand.")
    origin: str = Field(default="http", pattern=r"^(http|cli)$", description="Who asks.")


class PauseRequest(_Strict):
    """Why a model is paused."""

    reason: str = Field(default="", max_length=1000)


class RollbackRequest(_Strict):
    """Which version to put back."""

    version: int | None = Field(default=None, ge=1, description="Default: the one before.")


def create_app(
    control: Control, store: Store, models: Sequence[str], scrape: Callable[[], bytes] | None = None
) -> FastAPI:
    """The application. Handlers are plain functions: they run in threads and may wait for the ledger."""
    app = FastAPI(title="ct-daemon", version=__version__, docs_url=None, redoc_url=None)
    app.add_exception_handler(CtDaemonError, _problem)
    app.add_exception_handler(RequestValidationError, _bad_request)
    app.add_exception_handler(HTTPException, _no_such_way)
    app.middleware("http")(_bounded)
    app.state.models = models
    app.include_router(metrics.router(scrape))

    @app.get("/healthz")
    def healthz() -> dict[str, Any]:
        failing = control.health()
        status = "degraded" if failing else "ok"
        return {"status": status, "version": __version__, "models": len(models), "failing": list(failing)}

    @app.get("/api/v1/models")
    def list_models() -> dict[str, Any]:
        return views.status_document(store, models, daemon={"version": __version__})

    @app.get("/api/v1/models/{model}")
    def get_model(model: ModelName) -> dict[str, Any]:
        with store.read() as tx:
            return views.model_document(store, tx, model)

    @app.post("/api/v1/models/{model}/runs", status_code=202)
    def request_run(
        model: ModelName,
        wish: Annotated[RunRequest | None, Body()] = None,
        idempotency_key: Annotated[str | None, Header(min_length=1, max_length=200)] = None,
    ) -> dict[str, Any]:
        wish = wish or RunRequest()
        ticket = control.request_run(
            model,
            origin=wish.origin,
            key=None if idempotency_key is None else f"key:{idempotency_key}",
            force=wish.force,
            note=wish.note,
        )
        return ticket_document(ticket)

    @app.get("/api/v1/models/{model}/runs")
    def list_runs(model: ModelName, limit: Limit = 50) -> dict[str, Any]:
        return views.runs_document(store, model, limit=limit)

    @app.get("/api/v1/runs/{run_id}")
    def get_run(run_id: RunId) -> dict[str, Any]:
        return views.run_with_transitions(store, run_id)

    @app.post("/api/v1/runs/{run_id}/cancel", status_code=202)
    def cancel(run_id: RunId) -> dict[str, Any]:
        return views.run_document(control.cancel(run_id))

    @app.get("/api/v1/models/{model}/versions")
    def list_versions(model: ModelName) -> dict[str, Any]:
        return views.versions_document(store, model)

    @app.get("/api/v1/models/{model}/batches")
    def list_batches(
        model: ModelName, status: BatchStatus | None = None, limit: Limit = 50
    ) -> dict[str, Any]:
        return views.batches_document(store, (model,), status=status, limit=limit)

    @app.get("/api/v1/models/{model}/decisions")
    def list_decisions(
        model: ModelName, limit: Limit = 50, before: Annotated[int | None, Query(ge=1)] = None
    ) -> dict[str, Any]:
        with store.read() as tx:
            found = store.decisions.list(tx, model, before_seq=before, limit=limit)
            explained = [
                explain_document(recorded, store.demands.of(tx, demands_about(recorded)))
                for recorded in found
            ]
        return {"decisions": explained}

    @app.post("/api/v1/models/{model}/pause")
    def pause(model: ModelName, wish: Annotated[PauseRequest | None, Body()] = None) -> dict[str, Any]:
        control.pause(model, (wish or PauseRequest()).reason)
        return get_model(model)

    @app.post("/api/v1/models/{model}/resume")
    def resume(model: ModelName) -> dict[str, Any]:
        control.resume(model)
        return get_model(model)

    @app.post("/api/v1/models/{model}/rollback")
    def rollback(model: ModelName, wish: Annotated[RollbackRequest | None, Body()] = None) -> dict[str, Any]:
        deployment = control.rollback(model, (wish or RollbackRequest()).version)
        return views.deployment_document(deployment)

    return app


def ticket_document(ticket: Ticket) -> dict[str, Any]:
    """The reply to a demand: its id, the run if there is one, and what the policy said."""
    recorded = ticket.decision
    return {
        "id": ticket.demand.id,
        "model": ticket.demand.model,
        "new": ticket.is_new,
        "run": ticket.demand.run_id,
        "verdict": ticket.verdict,
        "decision": None
        if recorded is None
        else {
            "seq": recorded.seq,
            "verdict": recorded.decision.verdict.value,
            "rule": recorded.decision.rule.value,
            "reason": recorded.decision.reason,
            "would_change": recorded.decision.would_change,
            "retry_at": plain(recorded.decision)["retry_at"],
        },
    }


async def _bounded(request: Request, call_next: Any) -> Any:  # noqa: ANN401  (Starlette's own types are loose here)
    """Refuse bodies that are too large before they are read, whatever their header says."""
    declared = request.headers.get("content-length", "0")
    if not declared.isdigit() or int(declared) > MAX_BODY_BYTES:
        return _answer(413, "body_too_large", f"a body may have {MAX_BODY_BYTES} bytes")
    if "transfer-encoding" in request.headers:
        return _answer(411, "length_required", "send the body with a Content-Length")
    return await call_next(request)


async def _problem(request: Request, error: Exception) -> JSONResponse:
    reason = error.reason if isinstance(error, CtDaemonError) else "error"
    return _answer(_status_of(error), reason, str(error))


async def _bad_request(request: Request, error: Exception) -> JSONResponse:
    faults = error.errors() if isinstance(error, RequestValidationError) else []
    kind = request.headers.get("content-type", "")
    if any(fault["loc"][:1] == ("body",) for fault in faults) and "json" not in kind:
        said = f"not {kind!r}" if kind else "which is missing"
        detail = f"send the body with the header 'Content-Type: application/json', {said}"
        return _answer(415, "unsupported_media_type", detail)
    detail = "; ".join(f"{'.'.join(str(p) for p in fault['loc'])}: {fault['msg']}" for fault in faults)
    return _answer(422, "bad_request", detail)


async def _no_such_way(request: Request, error: Exception) -> JSONResponse:
    """A path or a method that is not there."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = error.headers if isinstance(error, HTTPException) else None
    reason = {404: "unknown_path", 405: "method_not_allowed"}.get(status, "error")
    said = f"{HTTPStatus(status).phrase}: {request.method} {request.url.path}"
    return _answer(status, reason, f"{said}; GET /openapi.json lists what there is", headers)


def _status_of(error: Exception) -> int:
    if isinstance(error, UnknownNameError):
        return 404
    if isinstance(error, ConflictError):
        return 409
    if isinstance(error, StateError):
        return 507 if error.reason == "disk_full" else 503
    if isinstance(error, DeployError):
        return 502
    return 500


def _answer(status: int, reason: str, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse(
        {
            "type": "about:blank",
            "title": reason.replace("_", " "),
            "status": status,
            "reason": reason,
            "detail": detail,
        },
        status_code=status,
        media_type="application/problem+json",
        headers=dict(headers or {}),
    )
