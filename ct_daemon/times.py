"""Waits, and times and durations in words. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

LONGEST_S = 100 * 365.25 * 86400.0
"""Waits are cut to a hundred years: beyond, dates overflow."""


def length(seconds: float) -> timedelta:
    """A wait of so many seconds, cut to `LONGEST_S`."""
    return timedelta(seconds=min(seconds, LONGEST_S))


def free_at(now: datetime, times: Iterable[datetime], length_s: float) -> datetime:
    """The first moment from `now` on that is at least `length_s` away from each of the times; `now` if it is."""
    apart = length(length_s)
    known = tuple(times)
    found = now
    while near := [at for at in known if abs(found - at) < apart]:
        found = max(near) + apart
    return found


def moment(at: datetime) -> str:
    """A time for people: ``2026-11-24 07:00 UTC``, with seconds where there are any."""
    utc = at.astimezone(UTC)
    return utc.strftime("%Y-%m-%d %H:%M:%S UTC" if utc.second or utc.microsecond else "%Y-%m-%d %H:%M UTC")


def span(seconds: float) -> str:
    """A duration for people, in its two largest units: ``1 d 12 h``, ``90 s`` as ``1 min 30 s``.

    Examples
    --------
    >>> span(5400)
    '1 h 30 min'
    >>> span(0.25)
    '0.25 s'
    """
    left = seconds
    parts = []
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min")):
        count = int(left // unit)
        left -= count * unit
        if count:
            parts.append(f"{count} {name}")
    if left or not parts:
        parts.append(f"{left:g} s")
    return " ".join(parts[:2])
