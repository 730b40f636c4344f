"""Waits and words for times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ct_daemon.times import free_at, length, moment, span

NOW = datetime(2026, 11, 24, 7, tzinfo=UTC)


def test_a_wait_without_bounds_is_a_hundred_years() -> None:
    assert length(1e300) == timedelta(days=100 * 365.25)


def test_who_is_near_one_time_and_then_near_the_next_waits_for_both() -> None:
    ahead = NOW + timedelta(seconds=15)
    assert free_at(NOW, (NOW - timedelta(seconds=5), ahead), 10.0) == NOW + timedelta(seconds=5)
    assert free_at(NOW, (NOW - timedelta(seconds=4), ahead), 10.0) == ahead + timedelta(seconds=10)
    assert free_at(NOW, (NOW - timedelta(seconds=10),), 10.0) == NOW


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (0.25, "0.25 s"), (90, "1 min 30 s"), (3600, "1 h"), (131400, "1 d 12 h"), (172800, "2 d")],
)
def test_span(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_moment_is_utc() -> None:
    assert moment(datetime.fromisoformat("2026-11-24T09:00:00+02:00")) == "2026-11-24 07:00 UTC"
    assert moment(datetime(2026, 11, 24, 7, 0, 5, tzinfo=UTC)) == "2026-11-24 07:00:05 UTC"
