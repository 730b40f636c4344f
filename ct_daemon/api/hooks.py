"""The HTTP hook in: other programs ask for runs in their own words."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, Request

from ct_daemon.api import documents as shapes
from ct_daemon.api.access import allowed
from ct_daemon.api.problems import Document, Refused, clipped, described
from ct_daemon.api.services import Services, With, ticket_document
from ct_daemon.api.tokens import Scope
from ct_daemon.api.webhooks import Alert, Hook, firing_alerts, key_of, verified
from ct_daemon.config import HookKind
from ct_daemon.errors import UnknownNameError

log = structlog.get_logger(__name__)

MAX_NOTE = 1000

router = APIRouter(prefix="/api/v1/hooks", tags=["hooks"])


async def _body(request: Request) -> bytes:
    """The bytes as they came: a signature covers exactly these. The guard has bounded them."""
    return await request.body()


@router.post(
    "/{name}",
    status_code=202,
    responses={202: {"model": shapes.HookReply}, **described(404, 409, 422)},
    openapi_extra={"requestBody": {"content": {"application/json": {"schema": {}}}}},
)
def hook_in(request: Request, rooms: With, name: str, body: Annotated[bytes, Depends(_body)]) -> Document:
    """What a configured hook sends: a message signed as Standard Webhooks says, or Alertmanager's webhook."""
    hook = rooms.hooks.get(name)
    if hook is None:
        allowed(request, Scope.READ)  # whoever has no token learns no names
        raise UnknownNameError(
            f"there is no hook {clipped(name)!r}; see hooks in the configuration", reason="unknown_hook"
        )
    if hook.settings.kind is HookKind.SIGNED:
        results = list(_signed(request, rooms, hook, body))
    else:
        results = list(_alerts(request, rooms, hook, body))
    return Document({"results": results}, status_code=202)


def _signed(request: Request, rooms: Services, hook: Hook, body: bytes) -> Iterator[dict[str, Any]]:
    try:
        message = verified(hook.secrets, request.headers, body, time.time())
    except Refused as refused:
        log.warning("hook.refused", hook=hook.name, reason=refused.reason)
        raise
    for model in hook.settings.models:
        ticket = rooms.control.request_run(
            model,
            origin="webhook",
            key=f"webhook:{hook.name}:{message}",
            note=f"hook {hook.name}, message {message}"[:MAX_NOTE],
        )
        yield {"model": model, "outcome": "asked", "ticket": ticket_document(ticket)}


def _alerts(request: Request, rooms: Services, hook: Hook, body: bytes) -> Iterator[dict[str, Any]]:
    caller = allowed(request, Scope.TRIGGER)
    for alert in firing_alerts(body):
        model = alert.labels.get(hook.settings.label)
        told = {"model": None if model is None else clipped(model), "alert": alert.fingerprint}
        if model is None:
            yield told | {"outcome": "no_label"}
        elif model not in hook.settings.models:
            yield told | {"outcome": "not_allowed"}
        else:
            ticket = rooms.control.request_run(
                model,
                origin="alertmanager",
                key=key_of(hook.name, alert),
                note=_note(hook, alert, "" if caller.local else f", token {caller.name}"),
            )
            yield told | {"outcome": "asked", "ticket": ticket_document(ticket)}


def _note(hook: Hook, alert: Alert, who: str) -> str:
    name = clipped(alert.labels.get("alertname", "alert"))
    return f"hook {hook.name}{who}: {name} since {alert.startsAt}"[:MAX_NOTE]
