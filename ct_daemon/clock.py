"""The two clocks: the wall, and the model's own time."""

from __future__ import annotations

from datetime import UTC, datetime


def wall() -> datetime:
    """Now, aware, UTC. Everything that needs the time gets this function (or a fake) passed in."""
    return datetime.now(UTC)


def model_time(event_until_at: datetime | None, now: datetime) -> datetime:
    """The time by which a model's cooldowns, budgets and ages are counted.

    Parameters
    ----------
    event_until_at : datetime or None
        The newest event time seen, None where no time column is configured (or nothing has arrived).
    now : datetime
        The wall clock.

    Returns
    -------
    datetime
        The event time, never beyond the wall clock: one row from the year 2099 must not stop the clock.
    """
    return now if event_until_at is None else min(event_until_at, now)
