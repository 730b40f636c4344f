"""The two clocks: the wall, and the model's own time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

STEP_S = 5.0
"""A clock that falls behind by more than this at once was set back."""


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


class ClockSteps:
    """Notices that the wall clock was set back, by a clock that never is.

    Parameters
    ----------
    clock, monotonic : callable
        The wall clock, and seconds that only grow.
    """

    def __init__(self, clock: Callable[[], datetime], monotonic: Callable[[], float]) -> None:
        self._clock, self._monotonic = clock, monotonic
        self._ahead_s = self._measure()

    def back(self) -> bool:
        """Whether it was set back since this was last asked."""
        before, self._ahead_s = self._ahead_s, self._measure()
        return self._ahead_s < before - STEP_S

    def _measure(self) -> float:
        return self._clock().timestamp() - self._monotonic()
