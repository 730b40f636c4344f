"""Where the daemon may have work done besides its own machine."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from ct_daemon.config.values import Strict, split_address

_CLUSTER = re.compile(r"(?:tcp|tls)://(.+)")


def _cluster(value: str) -> str:
    found = _CLUSTER.fullmatch(value)
    try:
        split_address(found[1] if found else "")
    except ValueError:
        raise ValueError(
            f"{value!r} is no address of a Dask scheduler; write tcp://HOST:PORT or tls://HOST:PORT, such as "
            "tcp://127.0.0.1:8786"
        ) from None
    return value


class ScaleSettings(Strict):
    """Other machines that help. Counts are the same with and without them."""

    dask: Annotated[str, AfterValidator(_cluster)] | None = Field(
        default=None,
        description="Scheduler of a Dask cluster that reads windows: tcp://HOST:PORT or tls://HOST:PORT.",
    )
