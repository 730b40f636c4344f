"""``/metrics`` on the API's listeners, where the metrics have no listener of their own. It needs no token."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4


def router(scrape: Callable[[], bytes] | None) -> APIRouter:
    """The route, or none where `scrape` is None."""
    routes = APIRouter()
    if scrape is None:
        return routes

    @routes.get("/metrics", response_class=Response)
    def metrics() -> Response:
        """The metrics in Prometheus' text format."""
        return Response(
            scrape(), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4, "Cache-Control": "no-store"}
        )

    return routes
