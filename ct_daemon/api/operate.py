"""Routes that change something: each is one call on `Control`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import structlog
from fastapi import APIRouter, Body

from ct_daemon import views
from ct_daemon.api import documents as shapes
from ct_daemon.api import looking
from ct_daemon.api.access import Admin, Trigger
from ct_daemon.api.models import model_answer
from ct_daemon.api.problems import Document, described
from ct_daemon.api.services import DemandId, ModelName, RunId, With, ticket_document

log = structlog.get_logger(__name__)

router = APIRouter(prefix="/api/v1", tags=["operate"])


@router.post(
    "/models/{model}/runs",
    status_code=202,
    responses={202: {"model": shapes.TicketDocument}, **described(404, 409, 415, 422)},
)
def request_run(
    caller: Trigger,
    rooms: With,
    model: ModelName,
    wish: Annotated[shapes.RunRequest | None, Body()] = None,
    key: shapes.Key = None,
) -> Document:
    """Ask for a retraining now. What this acknowledges is never lost."""
    wish = wish or shapes.RunRequest()
    named = wish.note if caller.local else f"token {caller.name}{': ' if wish.note else ''}{wish.note}"
    ticket = rooms.control.request_run(
        model,
        origin=wish.origin if caller.local else "http",
        key=None if key is None else f"key:{key}",
        force=wish.force,
        note=named,
    )
    return Document(ticket_document(ticket), status_code=202)


@router.post(
    "/models/{model}/adopt",
    status_code=202,
    responses={202: {"model": shapes.TicketDocument}, **described(404, 409, 415, 422)},
)
def adopt(caller: Admin, rooms: With, model: ModelName, wish: shapes.AdoptRequest) -> Document:
    """Bring a model made elsewhere under care. Files don't come this way: `ct-daemon adopt` has staged them."""
    ticket = rooms.control.adopt(model, wish.digest, origin="cli" if caller.local else "http", note=wish.note)
    log.info("api.adopted", model=model, caller=caller.name)
    return Document(ticket_document(ticket), status_code=202)


@router.post(
    "/runs/{run_id}/cancel",
    status_code=202,
    responses={202: {"model": shapes.RunDocument}, **described(404, 409, 422)},
)
def cancel(caller: Admin, rooms: With, run_id: RunId) -> Document:
    """End a run before it goes live."""
    run = rooms.control.cancel(run_id)
    log.info("api.cancelled", run=run_id, caller=caller.name)
    return Document(views.run_document(run), status_code=202)


@router.post(
    "/demands/{demand_id}/cancel",
    responses={200: {"model": shapes.DemandDocument}, **described(404, 409, 422)},
)
def withdraw(caller: Admin, rooms: With, demand_id: DemandId) -> Document:
    """Take back a wish that waits for its run."""
    rooms.control.withdraw(demand_id)
    log.info("api.withdrawn", demand=demand_id, caller=caller.name)
    return Document(looking.demand_with_answer(rooms.store, demand_id))


@router.post(
    "/models/{model}/pause",
    responses={200: {"model": shapes.ModelDocument}, **described(404, 415, 422)},
)
def pause(
    caller: Admin,
    rooms: With,
    model: ModelName,
    wish: Annotated[shapes.PauseRequest | None, Body()] = None,
) -> Document:
    """Let no run of the model start. Demands wait, a run under way goes on, watching goes on."""
    rooms.control.pause(model, (wish or shapes.PauseRequest()).reason)
    log.info("api.paused", model=model, caller=caller.name)
    return model_answer(rooms, model)


@router.post(
    "/models/{model}/resume",
    responses={200: {"model": shapes.ModelDocument}, **described(404, 422)},
)
def resume(caller: Admin, rooms: With, model: ModelName) -> Document:
    """Let runs of the model start again."""
    rooms.control.resume(model)
    log.info("api.resumed", model=model, caller=caller.name)
    return model_answer(rooms, model)


@router.post("/reload", responses={200: {"model": shapes.ReloadedDocument}, **described(409, 422)})
def reload(caller: Admin, rooms: With) -> Document:
    """Read the configuration anew. With faults in it nothing changes, and the answer lists them all."""
    done = rooms.control.reload()
    log.info("api.reloaded", caller=caller.name)
    return Document(asdict(done))


@router.post(
    "/models/{model}/rollback",
    responses={200: {"model": shapes.DeploymentDocument}, **described(404, 409, 415, 422, 502)},
)
def rollback(
    caller: Admin,
    rooms: With,
    model: ModelName,
    wish: Annotated[shapes.RollbackRequest | None, Body()] = None,
) -> Document:
    """Put the version before, or the one named, back into service together with its baseline."""
    deployment = rooms.control.rollback(model, (wish or shapes.RollbackRequest()).version)
    log.info("api.rolled_back", model=model, caller=caller.name)
    return Document(views.deployment_document(deployment))
