"""The shapes of what goes in and out, for checking what comes in and describing what goes out (OpenAPI).

What goes out is made by `views` and `explain`; a document may have more than is promised here.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Header, Path, Query
from pydantic import BaseModel, ConfigDict, Field

# --- in ---------------------------------------------------------------------------------------------------

Limit = Annotated[int, Query(ge=1, le=1000, description="At most so many.")]
BeforeSeq = Annotated[
    int | None, Query(ge=1, le=2**53, description="Go on where the page before ended: its `next`.")
]
BeforeRun = Annotated[
    str | None,
    Query(pattern=r"^r-[0-9a-f]{12}$", description="Go on where the page before ended: its `next`."),
]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern=r"^[!-~]([ -~]*[!-~])?$",
        description="The same key asks only once.",
    ),
]
LastEvent = Annotated[
    str | None, Header(alias="Last-Event-ID", max_length=40, description="Go on after this event.")
]
ModelPath = Annotated[str, Path(description="A configured model.")]


class Strict(BaseModel):
    """Base of all that comes in: unknown keys are faults, and a number is no text."""

    model_config = ConfigDict(extra="forbid", strict=True)


class RunRequest(Strict):
    """A wish for a retraining."""

    force: bool = Field(default=False, description="A run of its own: don't join one that is waiting.")
    note: str = Field(default="", max_length=1000, description="Kept with the demand.")
    origin: str = Field(
        default="http", pattern=r"^(http|cli)$", description="Who asks; over TCP always http."
    )


class AdoptRequest(Strict):
    """What is to be adopted."""

    digest: str = Field(pattern=r"^[0-9a-f]{64}$", description="Names the staged copies in the state folder.")
    note: str = Field(default="", max_length=1000, description="Kept with the demand.")


class PauseRequest(Strict):
    """Why a model is paused."""

    reason: str = Field(default="", max_length=1000)


class RollbackRequest(Strict):
    """Which version to put back."""

    version: int | None = Field(default=None, ge=1, le=2**53, description="Default: the one before.")


# --- out --------------------------------------------------------------------------------------------------


class Health(BaseModel):
    """Whether the daemon lives. Who shows no token sees the status only."""

    status: str = Field(description="ok or degraded.")
    version: str | None = None
    models: int | None = Field(default=None, description="How many are configured.")
    failing: list[str] | None = Field(default=None, description="Models whose last look met a fault.")
    config_error: str | None = Field(default=None, description="Why the newest configuration was refused.")


class Ready(BaseModel):
    """The daemon takes wishes."""

    status: str = Field(description="ready")


class ModelDocument(BaseModel):
    """One model: what is live, what was seen, what is going on."""

    model: str
    paused: bool
    pause_reason: str | None
    last_error: str | None
    champion: DeploymentDocument | None
    rows: int
    labelled_rows: int
    active_run: RunDocument | None
    last_run: RunDocument | None
    demands_waiting: int
    last_decision: dict[str, Any] | None


class DeploymentDocument(BaseModel):
    """A version made live."""

    version: int
    kind: str = Field(description="deploy or rollback.")
    state: str
    at: str
    run: str | None
    previous: int | None
    baseline: str


class RunDocument(BaseModel):
    """One run."""

    id: str
    model: str
    state: str
    trigger: str
    reason: str | None
    detail: str
    version: int | None
    attempt: int
    decision: int
    created_at: str
    updated_at: str
    cancel_requested: bool
    results: dict[str, Any]


class RunWithSteps(RunDocument):
    """One run with every step it took and the demands that it serves."""

    demands: list[dict[str, Any]]
    transitions: list[dict[str, Any]]


class TicketDocument(BaseModel):
    """The reply to a demand: it is in the ledger, and this is what the policy said."""

    id: str
    model: str
    new: bool = Field(description="False: asked before with this key.")
    run: str | None
    verdict: str = Field(description="start, joined, hold, or recorded: it is decided at the next tick.")
    decision: dict[str, Any] | None


class DemandDocument(BaseModel):
    """A wish, the run that serves it, and why it waits if none does."""

    id: str
    model: str
    origin: str
    note: str
    run: str | None
    withdrawn: bool
    waits: dict[str, Any] | None


class LogDocument(BaseModel):
    """A piece of what a run's trainers printed."""

    run: str
    offset: int = Field(description="Byte where the piece begins.")
    text: str
    size: int = Field(description="Bytes so far.")
    next: int | None = Field(description="The next offset; null when the run has ended and all was read.")
    ended: bool


class Models(BaseModel):
    """A page of models, by name."""

    daemon: dict[str, Any]
    models: list[ModelDocument]
    next: str | None


class Runs(BaseModel):
    """A page of runs, newest first."""

    runs: list[RunDocument]
    next: str | None


class Versions(BaseModel):
    """A page of versions, newest first, and the newest deployments."""

    model: str
    champion: int | None
    versions: list[dict[str, Any]]
    deployments: list[DeploymentDocument]
    next: int | None


class Batches(BaseModel):
    """A page of files, newest first."""

    batches: list[dict[str, Any]]
    next: int | None


class Decisions(BaseModel):
    """A page of decisions, newest first, each with all that it rests on."""

    decisions: list[dict[str, Any]]
    next: int | None


class Firings(BaseModel):
    """A page of claims, newest first."""

    firings: list[dict[str, Any]]
    next: int | None


class ReloadedDocument(BaseModel):
    """What a reload has changed."""

    path: str
    added: list[str]
    changed: list[str]
    removed: list[str]
    settings: list[str]
    needs_restart: list[str]


class SlotsOfSchedule(BaseModel):
    """A page of slots, newest first, and when the next one comes."""

    model: str
    next_at: str | None
    slots: list[dict[str, Any]]
    next: int | None


class TriggerDocument(BaseModel):
    """One trigger."""

    trigger: str
    settings: dict[str, Any] | None
    answers: list[dict[str, Any]] = Field(
        description="What it said for the newest decision: fired or not, reason, share of what is needed."
    )
    last_firing: dict[str, Any] | None


class Triggers(BaseModel):
    """All triggers of a model."""

    model: str
    decision: int | None
    decided_at: str | None
    triggers: list[TriggerDocument]


class HookResult(BaseModel):
    """What became of one model or alert."""

    model: str | None
    outcome: str = Field(description="asked, no_label, or not_allowed.")
    alert: str | None = Field(default=None, description="Fingerprint of the alert that asked.")
    ticket: TicketDocument | None = None


class HookReply(BaseModel):
    """What became of a hook's call."""

    results: list[HookResult]


ModelDocument.model_rebuild()
