"""Errors as problem details (RFC 9457), each with a stable `reason`; no route answers an error in another way."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from ct_daemon.errors import (
    ArtifactError,
    ConfigError,
    ConflictError,
    ContractError,
    CtDaemonError,
    DeployError,
    SourceError,
    StateError,
    UnknownNameError,
    WorkerError,
)

KIND = "application/problem+json"
MAX_SHOWN = 200
"""Longest piece of a request that an answer repeats."""


class Problem(BaseModel):
    """What went wrong, and what to do."""

    type: str = Field(description="Always about:blank; the reason tells problems apart.")
    title: str
    status: int
    reason: str = Field(description="Slug that is stable across versions.")
    detail: str = Field(description="A sentence for a person, with the next step.")
    faults: list[dict[str, Any]] | None = Field(
        default=None, description="Of a configuration: each with path, message and line."
    )


class Refused(Exception):  # noqa: N818  (an answer rather than an error of ours)
    """A request that is answered with a problem."""

    def __init__(self, status: int, reason: str, detail: str, **headers: str) -> None:
        super().__init__(detail)
        self.status, self.reason, self.detail = status, reason, detail
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class Document(JSONResponse):
    """JSON of what the ledger holds: names of files may be no UTF-8, and numbers may be infinite or missing."""

    def render(self, content: Any) -> bytes:  # noqa: ANN401  (JSON is of any type)
        """JSON that every reader takes: text that is no UTF-8 is escaped, a number that JSON lacks is null."""
        try:
            text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        except ValueError:
            text = json.dumps(_finite(content), ensure_ascii=False, separators=(",", ":"))
        return text.encode("utf-8", "backslashreplace")


class _Answer(Document):
    media_type = KIND


def answer(status: int, reason: str, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """A problem as a response."""
    return _Answer(problem(status, reason, detail), status_code=status, headers=dict(headers or {}))


def problem(status: int, reason: str, detail: str) -> dict[str, Any]:
    """A problem as a document."""
    return {
        "type": "about:blank",
        "title": reason.replace("_", " "),
        "status": status,
        "reason": reason,
        "detail": detail,
    }


def described(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may answer with these problems, besides those that every route has."""
    known = {*statuses, 400, 401, 403, 408, 411, 413, 429, 431, 503, 507}
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {KIND: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in sorted(known)
    }


def clipped(text: str) -> str:
    """A piece of a request, short enough to be repeated."""
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


def add_handlers(app: FastAPI) -> None:
    """Let the application answer errors as problems."""
    app.add_exception_handler(CtDaemonError, _problem)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(RequestValidationError, _bad_request)
    app.add_exception_handler(HTTPException, _no_such_way)
    app.add_exception_handler(Exception, _broken)


async def _problem(request: Request, error: Exception) -> JSONResponse:
    reason = error.reason if isinstance(error, CtDaemonError) else "error"
    status = _status_of(error)
    retry = {"Retry-After": "5"} if status in (503, 507) else None
    if isinstance(error, ConfigError):
        faults = {"faults": [asdict(fault) for fault in error.faults]}
        return _Answer(problem(status, reason, str(error)) | faults, status_code=status)
    return answer(status, reason, str(error), retry)


async def _broken(request: Request, error: Exception) -> JSONResponse:
    """A fault of ours. Starlette raises it again after this answer, so the server logs it with its traceback."""
    return answer(500, "internal_error", "a fault of the daemon; its log has the details")


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refused)
    return answer(error.status, error.reason, error.detail, error.headers)


async def _bad_request(request: Request, error: Exception) -> JSONResponse:
    faults = error.errors() if isinstance(error, RequestValidationError) else []
    kind = request.headers.get("content-type", "")
    if any(fault["loc"][:1] == ("body",) for fault in faults) and "json" not in kind:
        said = f"not {clipped(kind)!r}" if kind else "which is missing"
        detail = f"send the body with the header 'Content-Type: application/json', {said}"
        return answer(415, "unsupported_media_type", detail)
    told = (f"{clipped('.'.join(str(p) for p in fault['loc']))}: {fault['msg']}" for fault in faults[:20])
    return answer(422, "bad_request", "; ".join(told))


async def _no_such_way(request: Request, error: Exception) -> JSONResponse:
    """A path or a method that is not there."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = error.headers if isinstance(error, HTTPException) else None
    reason = {400: "bad_request", 404: "unknown_path", 405: "method_not_allowed"}.get(status, "error")
    said = f"{HTTPStatus(status).phrase}: {request.method} {clipped(request.url.path)}"
    return answer(status, reason, f"{said}; GET /openapi.json lists what there is", headers)


def _status_of(error: Exception) -> int:
    if isinstance(error, ConfigError | ContractError | SourceError | ArtifactError):
        return 422
    if isinstance(error, UnknownNameError):
        return 404
    if isinstance(error, ConflictError):
        return 409
    if isinstance(error, WorkerError):
        return 503
    if isinstance(error, StateError):
        return 507 if error.reason == "disk_full" else 503
    if isinstance(error, DeployError):
        return 502
    return 500


def _finite(content: Any) -> Any:  # noqa: ANN401
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return content
