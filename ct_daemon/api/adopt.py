"""The route that brings a model made elsewhere under care. Files don't come this way: the command has staged them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from ct_daemon import views
from ct_daemon.control import Control, Ticket


class AdoptRequest(BaseModel):
    """What is to be adopted."""

    model_config = ConfigDict(extra="forbid", strict=True)

    digest: str = Field(pattern=r"^[0-9a-f]{64}$", description="Names the staged copies in the state folder.")
    note: str = Field(default="", max_length=1000, description="Kept with the demand.")


def _known_model(request: Request, model: str) -> str:
    return views.require_model(request.app.state.models, model)


def adopt_router(control: Control, answer: Callable[[Ticket], dict[str, Any]]) -> APIRouter:
    """The route; `answer` makes the reply of a ticket."""
    router = APIRouter()

    @router.post("/api/v1/models/{model}/adopt", status_code=202)
    def adopt(model: Annotated[str, Depends(_known_model)], wish: AdoptRequest) -> dict[str, Any]:
        return answer(control.adopt(model, wish.digest, origin="cli", note=wish.note))

    return router
