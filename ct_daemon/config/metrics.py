"""What Prometheus may read, and where."""

from __future__ import annotations

from pydantic import Field

from ct_daemon.config.values import Address, Strict


class MetricsSettings(Strict):
    """What Prometheus may read, and where. Metrics need no token."""

    listen: Address | None = Field(
        default=None,
        description="HOST:PORT of a listener for /metrics alone (default: the API's listeners serve it).",
    )
    columns: int = Field(
        default=20, ge=0, le=1000, description="So many columns of a model by name; the others are one."
    )
    max_series: int = Field(
        default=5000, ge=200, le=1_000_000, description="Never more series than this, all models together."
    )
