"""Whether the daemon lives and takes wishes; reached without a token, so it gives little away and costs little."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic

from fastapi import APIRouter, Request

from ct_daemon import __version__
from ct_daemon.api import documents as shapes
from ct_daemon.api.guard import CALLER
from ct_daemon.api.problems import Document, Refused, described
from ct_daemon.api.services import With
from ct_daemon.control import Control

FRESH_S = 1.0
"""The ledger is tried with a write; for callers without a token at most once in so long."""

router = APIRouter(tags=["health"], responses=described())


class LookedAt:
    """The newest answer of `Control.health`, for those who may not make the disk work."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._at = -1e9
        self._answer: tuple[str, ...] | Exception = ()

    def health(self, control: Control) -> tuple[str, ...]:
        """As `Control.health`, at most `FRESH_S` old."""
        with self._lock:
            if self._clock() - self._at >= FRESH_S:
                try:
                    self._answer = control.health()
                except Exception as error:  # noqa: BLE001  (kept, and raised below)
                    self._answer = error
                self._at = self._clock()
            if isinstance(self._answer, Exception):
                raise self._answer
            return self._answer


@router.get("/healthz", responses={200: {"model": shapes.Health}})
def healthz(request: Request, rooms: With) -> Document:
    """The daemon lives, and can write its ledger."""
    known = request.scope.get(CALLER) is not None
    failing = rooms.control.health() if known else request.app.state.looked_at.health(rooms.control)
    refused = rooms.control.config_error
    status = "degraded" if failing or refused is not None else "ok"
    if not known:
        return Document({"status": status})
    return Document(
        {
            "status": status,
            "version": __version__,
            "models": len(rooms.control.models),
            "failing": list(failing),
            "config_error": refused,
        }
    )


@router.get("/readyz", responses={200: {"model": shapes.Ready}})
def readyz(request: Request, rooms: With) -> Document:
    """It takes wishes and acts on them: it has started, is not stopping, and can write its ledger."""
    if rooms.control.stopping:
        raise Refused(503, "stopping", "the daemon is stopping; what is asked now waits for its next start")
    request.app.state.looked_at.health(rooms.control)
    return Document({"status": "ready"})
