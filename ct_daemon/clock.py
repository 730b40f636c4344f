"""The two clocks: the wall, and the model's own time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def wall() -> datetime:
    """Now, aware, UTC. Everything that needs the time gets this function (or a fake) passed in."""
    return datetime.now(UTC)


def model_time(clock_at: datetime | None, set_at: datetime | None, now: datetime) -> datetime:
    """The time by which a model's cooldowns, budgets and ages are counted.

    Between two batches it goes on as the wall clock does: a cooldown must end even if no data come.

    Parameters
    ----------
    clock_at : datetime or None
        The event time to which the model's clock was last set; None where no time column is configured (or nothing
        has arrived).
    set_at : datetime or None
        The wall clock at that moment; None if it is not known, then the model's clock stands still.
    now : datetime
        The wall clock.

    Returns
    -------
    datetime
        Never beyond the wall clock: one row from the year 2099 must not stop the clock.
    """
    if clock_at is None:
        return now
    gone_by = timedelta(0) if set_at is None else max(now - set_at, timedelta(0))
    return min(clock_at + gone_by, now)
