"""Who may reach the control API, from where, and how much of it."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from ct_daemon.config.secret_places import SecretPlace
from ct_daemon.config.values import Address, Duration, Strict, misfit, split_address

_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9][A-Za-z0-9.-]{0,252})(?::\d{1,5})?")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the host's address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _host(value: str) -> str:
    if not _HOST.fullmatch(value):
        raise ValueError(
            f"{value!r} is no host name; write for instance ct.example.org or ct.example.org:8443"
        )
    return value.lower()


class ApiSettings(Strict):
    """The control API. The Unix socket in the state folder is always there and belongs to the daemon's own user."""

    listen: Address | None = Field(
        default=None, description="HOST:PORT to serve the API on besides the Unix socket; needs tokens."
    )
    tokens: SecretPlace | None = Field(
        default=None,
        description="File with lines NAME SCOPE TOKEN, for its owner's eyes only, or credential:NAME of systemd.",
    )
    hosts: tuple[Annotated[str, AfterValidator(_host)], ...] = Field(
        default=(),
        max_length=100,
        description="Names by which clients reach it, beside the loopback names and the address it listens on.",
    )
    rate: int = Field(
        default=600, ge=1, le=1_000_000, description="Requests a minute of one client (address and token)."
    )
    connections: int = Field(default=256, ge=8, le=10_000, description="Connections at the same time.")
    header_timeout: Duration = Field(
        default=10.0, gt=0, le=300, description="A request's header must have come within this time."
    )
    body_timeout: Duration = Field(
        default=10.0, gt=0, le=300, description="A request's body must have come within this time."
    )
    streams: int = Field(default=32, ge=1, le=1000, description="Progress streams at the same time.")

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        if self.listen is None or self.tokens is not None:
            return self
        host, _ = split_address(self.listen)
        whom = "every user of this machine" if is_loopback(host) else "everybody who can reach this machine"
        raise misfit(
            "listen",
            f"api.listen {self.listen} would let {whom} command the daemon; set api.tokens to a file of tokens "
            "('ct-daemon token NAME --scope trigger' prints a line for it), or leave api.listen out and use the "
            "Unix socket",
        )
