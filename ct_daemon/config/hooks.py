"""Other programs that may ask for a run over HTTP in their own words."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from ct_daemon.config.secret_places import SecretPlace
from ct_daemon.config.values import Slug, Strict, misfit


class HookKind(StrEnum):
    """How a hook speaks."""

    SIGNED = "signed"
    """Standard Webhooks: any body, signed with a shared secret."""
    ALERTMANAGER = "alertmanager"
    """Alertmanager's webhook, version 4, with a token of scope trigger."""


class HookSettings(Strict):
    """One way in: ``POST /api/v1/hooks/NAME``."""

    kind: HookKind = Field(description="signed (Standard Webhooks) or alertmanager.")
    models: tuple[Slug, ...] = Field(
        min_length=1,
        max_length=1000,
        description="Models it may ask for; signed asks for all of them, alertmanager for the ones that alerts name.",
    )
    secret: SecretPlace | None = Field(
        default=None,
        description="For signed: file with the whsec_ secret (a line each while two are in use), or credential:NAME.",
    )
    label: str = Field(
        default="model",
        pattern=r"^[a-zA-Z_][a-zA-Z0-9_]{0,99}$",
        description="For alertmanager: the label whose value names the model.",
    )

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> Self:
        if self.kind is HookKind.SIGNED and self.secret is None:
            raise misfit("secret", "a signed hook needs the secret that its sender signs with")
        if self.kind is HookKind.ALERTMANAGER and self.secret is not None:
            raise misfit(
                "secret", "an alertmanager hook has no secret: its sender shows a token of scope trigger"
            )
        if len(set(self.models)) != len(self.models):
            raise misfit("models", "a model is named twice")
        return self
