"""When schedules are due: what Unix means, across both changes of the clock, and after long stops."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ct_daemon.calendars import MOST, Calendar

BERLIN, LORD_HOWE = "Europe/Berlin", "Australia/Lord_Howe"
SPRING, AUTUMN = datetime(2026, 3, 28, 22, tzinfo=UTC), datetime(2026, 10, 24, 21, tzinfo=UTC)
"""The evenings before the clocks of Berlin change."""


def shown(calendar: Calendar, after: datetime, count: int) -> list[str]:
    """The next slots as the zone's clock shows them."""
    found, at = [], after
    for _ in range(count):
        following = calendar.after(at)
        assert following is not None
        assert following > at
        at = following
        found.append(at.astimezone(ZoneInfo(calendar.timezone)).strftime("%a %d %H:%M%z"))
    return found


# --- what Unix means ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cron", "days"),
    [
        ("0 3 * * 0", ["Sun 01", "Sun 08"]),
        ("0 3 * * 7", ["Sun 01", "Sun 08"]),
        ("0 3 * * 1", ["Mon 02", "Mon 09"]),
        ("0 3 * * sun", ["Sun 01", "Sun 08"]),
        ("0 3 * * 1-5", ["Mon 02", "Tue 03", "Wed 04", "Thu 05", "Fri 06", "Mon 09"]),
        ("0 3 * * 5-7", ["Sun 01", "Fri 06", "Sat 07", "Sun 08"]),
        ("0 3 * * sat-mon", ["Sun 01", "Mon 02", "Sat 07", "Sun 08"]),
        ("0 3 * * 1/2", ["Mon 02", "Wed 04", "Fri 06", "Mon 09"]),
        ("0 3 * * 0-6", ["Sun 01", "Mon 02"]),
        ("0 3 13 * 5", ["Fri 06", "Fri 13", "Fri 20"]),
        ("0 3 13,15 * 5", ["Fri 06", "Fri 13", "Sun 15", "Fri 20"]),
        ("0 3 */10 * 5", ["Fri 11", "Fri 01"]),  # * restricts nothing, so both must match
        ("@weekly", ["Sun 08", "Sun 15"]),
        ("@monthly", ["Tue 01", "Fri 01"]),
        ("@Daily", ["Mon 02", "Tue 03"]),
    ],
)
def test_days_mean_what_they_mean_to_unix(cron: str, days: list[str]) -> None:
    found = shown(Calendar(cron=cron), datetime(2026, 11, 1, 1, tzinfo=UTC), len(days))
    assert [text[:6] for text in found] == days


# --- both changes of the clock -----------------------------------------------------------------------------


def test_a_fixed_hour_happens_once_a_day_in_spring() -> None:
    assert shown(Calendar(cron="30 2 * * *", timezone=BERLIN), SPRING, 3) == [
        "Sun 29 03:30+0200",
        "Mon 30 02:30+0200",
        "Tue 31 02:30+0200",
    ]


def test_a_fixed_hour_happens_once_a_day_in_autumn() -> None:
    assert shown(Calendar(cron="30 2 * * *", timezone=BERLIN), AUTUMN, 3) == [
        "Sun 25 02:30+0200",
        "Mon 26 02:30+0100",
        "Tue 27 02:30+0100",
    ]


def test_every_hour_is_every_real_hour() -> None:
    hourly = Calendar(cron="0 * * * *", timezone=BERLIN)
    assert shown(hourly, SPRING + timedelta(hours=1, minutes=30), 4)[:3] == [
        "Sun 29 01:00+0100",
        "Sun 29 03:00+0200",
        "Sun 29 04:00+0200",
    ]
    assert shown(hourly, AUTUMN + timedelta(hours=1, minutes=30), 4) == [
        "Sun 25 01:00+0200",
        "Sun 25 02:00+0200",
        "Sun 25 02:00+0100",
        "Sun 25 03:00+0100",
    ]


@pytest.mark.parametrize(
    ("cron", "zone", "minutes"),
    [
        ("15 * * * *", BERLIN, {60}),
        ("15 * * * *", "America/New_York", {60}),
        ("15 * * * *", "Asia/Kathmandu", {60}),
        ("*/20 */1 * * *", BERLIN, {20}),
        ("15 * * * *", LORD_HOWE, {60, 90}),  # a clock that moves by half an hour has one longer hour
    ],
)
def test_a_year_of_hours_has_no_gap_and_no_repeat(cron: str, zone: str, minutes: set[int]) -> None:
    calendar = Calendar(cron=cron, timezone=zone)
    at, gaps = calendar.after(datetime(2026, 1, 1, tzinfo=UTC)), set()
    while at is not None and at < datetime(2027, 1, 1, tzinfo=UTC):
        following = calendar.after(at)
        assert following is not None
        gaps.add((following - at).total_seconds() / 60)
        at = following
    assert gaps == minutes


@pytest.mark.parametrize("zone", [BERLIN, LORD_HOWE, "America/Sao_Paulo", "Pacific/Apia"])
def test_a_daily_slot_comes_once_on_every_day_of_ten_years(zone: str) -> None:
    calendar = Calendar(cron="30 2 * * *", timezone=zone)
    at, end = datetime(2012, 1, 1, 12, tzinfo=UTC), datetime(2022, 1, 1, tzinfo=UTC)
    days = []
    while (following := calendar.after(at)) is not None and following < end:
        at = following
        days.append(at.astimezone(ZoneInfo(zone)).date())
    assert len(days) == len(set(days))
    whole = {days[0] + timedelta(days=n) for n in range((days[-1] - days[0]).days + 1)}
    assert whole == set(days)


@settings(max_examples=60)
@given(
    minute=st.integers(0, 59),
    hour=st.sampled_from(["*", "*/2", "2", "1-3", "0,2,23"]),
    start=st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 1)),  # noqa: DTZ001
    zone=st.sampled_from([BERLIN, "America/New_York", LORD_HOWE]),
)
def test_walking_on_gives_what_asking_from_anywhere_gives(
    minute: int, hour: str, start: datetime, zone: str
) -> None:
    """The slot after any moment between two slots is the latter one."""
    calendar = Calendar(cron=f"{minute} {hour} * * *", timezone=zone)
    at = start.replace(tzinfo=UTC)
    for _ in range(4):
        following = calendar.after(at)
        assert following is not None
        for share in (0.3, 0.999):
            assert calendar.after(at + share * (following - at)) == following
        at = following


# --- intervals, jitter -------------------------------------------------------------------------------------


def test_intervals_are_counted_from_the_epoch() -> None:
    six = Calendar(every_s=6 * 3600)
    found = shown(six, datetime(2026, 11, 1, 1, 2, 3, tzinfo=UTC), 4)
    assert [text[7:12] for text in found] == ["06:00", "12:00", "18:00", "00:00"]


@given(jitter=st.floats(1, 3600), salt=st.text(max_size=8), hours=st.integers(0, 1000))
def test_jitter_makes_a_slot_late_by_as_much_each_time_it_is_asked(
    jitter: float, salt: str, hours: int
) -> None:
    plain, late = Calendar(every_s=7200), Calendar(every_s=7200, jitter_s=jitter, salt=salt)
    at = datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC) + timedelta(hours=hours)
    base, due = plain.after(at), late.after(at + timedelta(seconds=jitter))
    assert base is not None
    assert due is not None
    assert late.after(at + timedelta(seconds=jitter)) == due
    offset = (due - datetime(2026, 1, 1, tzinfo=UTC)).total_seconds() % 7200
    assert offset <= jitter + 0.001


def test_jitter_spreads_models() -> None:
    at = datetime(2026, 1, 1, 12, tzinfo=UTC)
    found = {Calendar(cron="0 3 * * *", jitter_s=600, salt=f"m{n}").after(at) for n in range(50)}
    assert len(found) > 45


# --- stretches of slots ------------------------------------------------------------------------------------


def test_slots_of_a_stretch_are_counted() -> None:
    hourly, since = Calendar(cron="0 * * * *"), datetime(2026, 1, 1, tzinfo=UTC)
    assert hourly.due(since, since + timedelta(minutes=59)) is None
    found = hourly.due(since, since + timedelta(hours=3))
    assert found is not None
    assert (found.first, found.newest) == (since + timedelta(hours=1), since + timedelta(hours=3))
    assert (found.before_newest, found.count) == (since + timedelta(hours=2), 3)


@pytest.mark.parametrize("cron", ["* * * * *", "*/5 3-4 * * *", "* 0 1 * *"])
def test_the_newest_slot_of_a_very_long_stop_is_found_without_counting_them_all(cron: str) -> None:
    calendar, until = Calendar(cron=cron, timezone=BERLIN), datetime(2026, 6, 15, 11, 59, 30, tzinfo=UTC)
    found = calendar.due(datetime(1990, 1, 1, tzinfo=UTC), until)
    assert found is not None
    assert found.count == MOST
    following = calendar.after(found.newest)
    assert found.newest <= until
    assert following is not None
    assert following > until
    assert found.before_newest is not None
    assert calendar.after(found.before_newest) == found.newest


# --- what can't be read ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cron", "says"),
    [
        ("", "not a cron line"),
        ("* * * *", "minute, hour"),
        ("61 * * * *", "59"),
        ("* 24 * * *", "23"),
        ("0 0 30 2 *", "never happens"),
        ("0 0 * * 8", "day of week"),
        ("0 0 * * mo", "day of week"),
        ("0 0 * * 1/0", "step"),
        ("@reboot", "not a cron line"),
        ("*/0 * * * *", "not a cron line"),
    ],
)
def test_a_line_that_can_not_be_read_says_why(cron: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Calendar(cron=cron).check()


def test_an_unknown_zone_says_so() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        Calendar(cron="@daily", timezone="Europe/Atlantis").check()
