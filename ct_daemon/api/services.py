"""What the routes work with, found at the application's state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, Request

from ct_daemon import views
from ct_daemon.api.documents import ModelPath
from ct_daemon.api.problems import clipped
from ct_daemon.api.streams import Streams
from ct_daemon.api.webhooks import Hook
from ct_daemon.codec import plain
from ct_daemon.control import Control, Ticket
from ct_daemon.errors import UnknownNameError
from ct_daemon.folders import StateFolder
from ct_daemon.store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """One listener's rooms. Two listeners share all but the streams."""

    control: Control
    store: Store
    folders: StateFolder
    streams: Streams
    hooks: Mapping[str, Hook] = field(default_factory=dict)
    scrape: Callable[[], bytes] | None = None
    """The metrics, where they are served here."""


def services(request: Request) -> Services:
    """Those of the application that answers the request."""
    found: Services = request.app.state.services
    return found


With = Annotated[Services, Depends(services)]


def _known_model(rooms: With, model: ModelPath) -> str:
    """The name in the path, if it is configured. A dependency, so it is asked before the body is looked at."""
    return views.require_model(rooms.control.models, clipped(model))


def _possible_run(run_id: str) -> str:
    return views.require_run_id(clipped(run_id))


def _possible_demand(demand_id: str) -> str:
    if not views.DEMAND_ID.fullmatch(demand_id):
        raise UnknownNameError(
            f"there is no demand {clipped(demand_id)!r}: check the id that the trigger was acknowledged with",
            reason="unknown_demand",
        )
    return demand_id


ModelName = Annotated[str, Depends(_known_model)]
RunId = Annotated[str, Depends(_possible_run)]
DemandId = Annotated[str, Depends(_possible_demand)]


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
