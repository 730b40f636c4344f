"""Routes to look at models: what is live, files, versions, decisions, claims, triggers."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from ct_daemon import __version__, views
from ct_daemon.api import documents as shapes
from ct_daemon.api import looking
from ct_daemon.api.access import needs
from ct_daemon.api.problems import Document, described
from ct_daemon.api.services import ModelName, With
from ct_daemon.api.tokens import Scope
from ct_daemon.clock import wall
from ct_daemon.types import BatchStatus

router = APIRouter(
    prefix="/api/v1/models",
    tags=["models"],
    dependencies=[needs(Scope.READ)],
    responses=described(404, 422),
)


@router.get("", responses={200: {"model": shapes.Models}})
def list_models(
    rooms: With,
    limit: shapes.Limit = 100,
    after: Annotated[str | None, Query(max_length=63, description="Go on after this name.")] = None,
) -> Document:
    """All models, by name."""
    names = sorted(name for name in rooms.control.models if after is None or name > after)
    shown, following = views.page(names, limit, lambda name: name)
    daemon = {"version": __version__, "config_error": rooms.control.config_error}
    return Document(views.status_document(rooms.store, shown, daemon=daemon) | {"next": following})


@router.get("/{model}", responses={200: {"model": shapes.ModelDocument}})
def get_model(rooms: With, model: ModelName) -> Document:
    """One model."""
    return model_answer(rooms, model)


@router.get("/{model}/versions", responses={200: {"model": shapes.Versions}})
def list_versions(
    rooms: With, model: ModelName, limit: shapes.Limit = 100, before: shapes.BeforeSeq = None
) -> Document:
    """The kept versions, newest first, and the newest deployments."""
    return Document(views.versions_document(rooms.store, model, limit=limit, before=before))


@router.get("/{model}/batches", responses={200: {"model": shapes.Batches}})
def list_batches(
    rooms: With,
    model: ModelName,
    status: BatchStatus | None = None,
    limit: shapes.Limit = 50,
    before: shapes.BeforeSeq = None,
) -> Document:
    """The files taken, newest first, and what became of each."""
    found = views.batches_document(rooms.store, (model,), status=status, limit=limit, before=before)
    return Document(found)


@router.get("/{model}/decisions", responses={200: {"model": shapes.Decisions}})
def list_decisions(
    rooms: With, model: ModelName, limit: shapes.Limit = 50, before: shapes.BeforeSeq = None
) -> Document:
    """Why a run started, or why not, newest first."""
    return Document(looking.decisions_document(rooms.store, model, limit=limit, before=before))


@router.get("/{model}/firings", responses={200: {"model": shapes.Firings}})
def list_firings(
    rooms: With, model: ModelName, limit: shapes.Limit = 50, before: shapes.BeforeSeq = None
) -> Document:
    """What triggers claimed, newest first, and the run that answered each."""
    return Document(looking.firings_document(rooms.store, model, limit=limit, before=before))


@router.get("/{model}/slots", responses={200: {"model": shapes.SlotsOfSchedule}})
def list_slots(
    rooms: With, model: ModelName, limit: shapes.Limit = 50, before: shapes.BeforeSeq = None
) -> Document:
    """The slots of the schedule, newest first: each has a run, waits, or was skipped for a reason."""
    schedule = rooms.control.settings(model).triggers.schedule
    following = None if schedule is None else schedule.calendar(model).after(wall())
    found = views.slots_document(rooms.store, model, following=following, before=before, limit=limit)
    return Document(found)


@router.get("/{model}/triggers", responses={200: {"model": shapes.Triggers}})
def list_triggers(rooms: With, model: ModelName) -> Document:
    """Each trigger: its settings, its newest answers, how near it is, and when it fired last."""
    return Document(looking.triggers_document(rooms.store, model, rooms.control.settings(model)))


def model_answer(rooms: Any, model: str) -> Document:  # noqa: ANN401  (With, which is no type)
    """One model as it is now."""
    with rooms.store.read() as tx:
        return Document(views.model_document(rooms.store, tx, model))
