"""``/metrics`` on the API's listeners, where the metrics have no listener of their own. It needs no token."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter
from fastapi.responses import Response

TEXT = "text/plain; version=0.0.4; charset=utf-8"
"""Prometheus' text format, as `metrics.exposition` writes it."""


def router(scrape: Callable[[], bytes] | None) -> APIRouter:
    """The route, or none where `scrape` is None."""
    routes = APIRouter()
    if scrape is None:
        return routes

    @routes.get("/metrics", response_class=Response)
    def metrics() -> Response:
        """The metrics in Prometheus' text format."""
        return Response(scrape(), headers={"Content-Type": TEXT, "Cache-Control": "no-store"})

    return routes
