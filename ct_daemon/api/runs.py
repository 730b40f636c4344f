"""Routes to look at runs and demands, and to follow them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from ct_daemon import views
from ct_daemon.api import documents as shapes
from ct_daemon.api import looking, output
from ct_daemon.api.access import needs
from ct_daemon.api.problems import Document, described
from ct_daemon.api.progress import Position, Progress
from ct_daemon.api.services import DemandId, ModelName, RunId, With
from ct_daemon.api.streams import DESCRIBED, StreamAnswer
from ct_daemon.api.tokens import Scope
from ct_daemon.pipeline.states import TERMINAL, RunState

router = APIRouter(
    prefix="/api/v1", tags=["runs"], dependencies=[needs(Scope.READ)], responses=described(404, 422)
)


@router.get("/runs", responses={200: {"model": shapes.Runs}})
def list_all_runs(
    rooms: With,
    state: RunState | None = None,
    limit: shapes.Limit = 50,
    before: shapes.BeforeRun = None,
) -> Document:
    """The runs of all models, newest first."""
    return Document(views.runs_document(rooms.store, None, state=state, limit=limit, before=before))


@router.get("/models/{model}/runs", responses={200: {"model": shapes.Runs}})
def list_runs(
    rooms: With,
    model: ModelName,
    state: RunState | None = None,
    limit: shapes.Limit = 50,
    before: shapes.BeforeRun = None,
) -> Document:
    """The runs of one model, newest first."""
    return Document(views.runs_document(rooms.store, model, state=state, limit=limit, before=before))


@router.get("/runs/{run_id}", responses={200: {"model": shapes.RunWithSteps}})
def get_run(rooms: With, run_id: RunId) -> Document:
    """One run with every step it took."""
    return Document(views.run_with_transitions(rooms.store, run_id))


@router.get("/runs/{run_id}/log", responses={200: {"model": shapes.LogDocument}})
def get_log(
    rooms: With,
    run_id: RunId,
    offset: Annotated[int, Query(ge=0, le=2**53, description="Byte to begin at.")] = 0,
    limit: Annotated[int, Query(ge=4, le=output.MAX_LOG_BYTES, description="At most so many bytes.")] = 65536,
) -> Document:
    """What the run's trainers printed, a piece at a time."""
    with rooms.store.read() as tx:
        ended = rooms.store.runs.get(tx, run_id).state in TERMINAL
    found = output.log_document(rooms.folders, run_id, offset=offset, limit=limit, ended=ended)
    return Document(found)


@router.get("/runs/{run_id}/events", response_class=Response, responses=DESCRIBED)
def follow_run(rooms: With, run_id: RunId, last: shapes.LastEvent = None) -> Response:
    """The run's steps so far, then each new one and what it measures, until it ends (Server-Sent Events)."""
    position = Position.parse(last)
    return StreamAnswer(rooms.streams, Progress(rooms.store, rooms.folders, run_id=run_id, position=position))


@router.get("/demands/{demand_id}", responses={200: {"model": shapes.DemandDocument}})
def get_demand(rooms: With, demand_id: DemandId) -> Document:
    """A wish, the run that serves it, and why it waits if none does."""
    return Document(looking.demand_with_answer(rooms.store, demand_id))


@router.get("/demands/{demand_id}/events", response_class=Response, responses=DESCRIBED)
def follow_demand(rooms: With, demand_id: DemandId, last: shapes.LastEvent = None) -> Response:
    """Why a wish waits, then the run that serves it until it ends (Server-Sent Events)."""
    position = Position.parse(last)
    return StreamAnswer(
        rooms.streams, Progress(rooms.store, rooms.folders, demand_id=demand_id, position=position)
    )
