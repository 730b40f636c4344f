"""The application: all routers, errors as problems, and its own description at ``/openapi.json``."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from ct_daemon import __version__
from ct_daemon.api import health, hooks, metrics, models, operate, runs
from ct_daemon.api.access import needs
from ct_daemon.api.problems import Document, Problem, add_handlers, described
from ct_daemon.api.services import Services
from ct_daemon.api.tokens import Scope

ROUTERS = (health.router, models.router, runs.router, operate.router, hooks.router)


class _App(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """The description, made when it is first asked for, since making it takes longer than the rest of a start.

        The shape of a problem is put where `described` refers to it, and nothing of FastAPI's own errors is left.
        """
        if self.openapi_schema is None:
            schemas = super().openapi().setdefault("components", {}).setdefault("schemas", {})
            schemas["Problem"] = Problem.model_json_schema()
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
        assert self.openapi_schema is not None
        return self.openapi_schema


def create_app(services: Services) -> FastAPI:
    """The application. Handlers are plain functions: they run in threads and may wait for the ledger.

    It trusts what stands in front of it: only behind a `Guard` may anybody reach it.
    """
    app = _App(
        title="ct-daemon",
        version=__version__,
        summary="Control of a continuous-training daemon. Errors are problem details (RFC 9457).",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.state.services = services
    app.state.looked_at = health.LookedAt()
    add_handlers(app)
    for router in ROUTERS:
        app.include_router(router)
    app.include_router(metrics.router(services.scrape))

    @app.get("/openapi.json", dependencies=[needs(Scope.READ)], responses=described(), tags=["health"])
    def openapi() -> Document:
        """This description."""
        return Document(app.openapi())

    return app
