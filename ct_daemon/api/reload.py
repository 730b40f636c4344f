"""``POST /api/v1/reload``: read the configuration anew, now."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse

from ct_daemon.control import Control
from ct_daemon.errors import ConfigError


def add_reload(app: FastAPI, control: Control) -> None:
    """Add the route. A file with faults is answered with 422 and all of them; the old configuration stays."""

    @app.post("/api/v1/reload")
    def reload() -> Any:  # noqa: ANN401  (a document or a problem)
        try:
            return asdict(control.reload())
        except ConfigError as error:
            return JSONResponse(
                {
                    "type": "about:blank",
                    "title": error.reason.replace("_", " "),
                    "status": 422,
                    "reason": error.reason,
                    "detail": str(error),
                    "faults": [asdict(fault) for fault in error.faults],
                },
                status_code=422,
                media_type="application/problem+json",
            )
