"""What Prometheus may read, and where."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from ct_daemon.config.values import Strict

_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9][A-Za-z0-9.-]{0,252})):(\d{1,5})")


def split_address(listen: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT`` or ``[IPV6]:PORT``.

    Raises
    ------
    ValueError
        If it is neither.

    Examples
    --------
    >>> split_address("[::1]:9464")
    ('::1', 9464)
    """
    found = _ADDRESS.fullmatch(listen)
    if found is None or int(found[3]) > 65535:
        raise ValueError(
            f"{listen!r} is no address to listen on; write HOST:PORT, such as 127.0.0.1:9464 or [::1]:9464"
        )
    return found[1] or found[2], int(found[3])


def _address(value: str) -> str:
    split_address(value)
    return value


class MetricsSettings(Strict):
    """What Prometheus may read, and where. Metrics need no token."""

    listen: Annotated[str, AfterValidator(_address)] | None = Field(
        default=None,
        description="HOST:PORT of a listener for /metrics alone (default: the API's listeners serve it).",
    )
    columns: int = Field(
        default=20, ge=0, le=1000, description="So many columns of a model by name; the others are one."
    )
    max_series: int = Field(
        default=5000, ge=200, le=1_000_000, description="Never more series than this, all models together."
    )
