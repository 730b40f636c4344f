"""When a schedule is due: cron lines and intervals as moments in time. Pure; APScheduler reads the fields.

**Cron lines** mean what they mean to Unix (crontab(5)): minute, hour, day of month, month, day of week; 0 and 7 are
Sunday; a day matches when the day of month *or* the day of week does, if both are restricted; ``@daily`` and so on.

**Daylight saving** follows the same manual. A line with a fixed hour (``30 2 * * *``) happens once a day: where the
clock jumps over it, as long after the jump as it lies behind its beginning (02:30 becomes 03:30), and where the clock
shows it twice, the first time. A line whose hour is ``*`` or ``*/n`` counts real time: it happens in every hour that
there is, so neither a third 02:00 nor a gap of two hours.

**Intervals** are counted from 1970-01-01 00:00 UTC: 6h is 00:00, 06:00, 12:00 and 18:00 UTC, whenever the daemon
started.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cached_property
from zoneinfo import ZoneInfo

from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from ct_daemon.times import span

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOST = 10_000
"""So many slots in a row are counted one by one; more are "at least so many"."""

_TICK = timedelta(microseconds=1)
_NEAR = timedelta(hours=4)
"""Clocks are changed by no more than this."""
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Slots:
    """Slots that became due in a stretch of time: the first, the newest, and how many (`MOST` stands for more)."""

    first: datetime
    newest: datetime
    before_newest: datetime | None
    count: int


@dataclass(frozen=True, kw_only=True)
class Calendar:
    """The moments at which a schedule is due.

    Parameters
    ----------
    cron : str, optional
        A line of five fields or a macro. Either this or `every_s`.
    every_s : float, optional
        Seconds between two slots.
    timezone : str
        Name of the IANA zone in which a cron line is read.
    jitter_s : float
        Each slot is late by 0 to so many seconds: always the same for the same slot and salt, so that a restart does
        not move it, and spread over models, so that not all train at once.
    salt : str
        Name of the model.

    Raises
    ------
    ValueError
        If the line can't be read, never happens, or the zone is not known; at the first use.
    """

    cron: str | None = None
    every_s: float | None = None
    timezone: str = "UTC"
    jitter_s: float = 0.0
    salt: str = ""

    def __str__(self) -> str:
        """What it is made of: another text is another schedule."""
        return f"{self.rule}, jitter {self.jitter_s:g} s"

    @property
    def rule(self) -> str:
        """The schedule for people."""
        if self.cron is None:
            return f"every {span(self.every_s or 0)}"
        return f"cron {self.cron} {self.timezone}"

    def check(self) -> None:
        """Raise `ValueError` now, if at all."""
        now = datetime(2000, 1, 1, tzinfo=UTC)
        if self.after(now) is None:
            raise ValueError(f"{self.cron!r} never happens")

    def after(self, at: datetime) -> datetime | None:
        """The first slot later than `at`; None if there is none."""
        jitter = timedelta(seconds=self.jitter_s)
        found: datetime | None = None
        base = self._base(at - jitter)
        while base is not None and (found is None or base < found):
            due = self._late(base)
            if due > at and (found is None or due < found):
                found = due
            base = self._base(base)
        return found

    def due(self, after: datetime, until: datetime) -> Slots | None:
        """The slots later than `after` and not later than `until`; None if there are none."""
        first = self.after(after)
        if first is None or first > until:
            return None
        before, newest, count = None, first, 1
        while (following := self.after(newest)) is not None and following <= until:
            if count == MOST:  # a minute's schedule of a stopped year: the newest ones are near the end
                before, newest = self._near_the_end(newest, until, 20 * (newest - first) / MOST)
                break
            before, newest, count = newest, following, count + 1
        return Slots(first=first, newest=newest, before_newest=before, count=count)

    def _near_the_end(
        self, after: datetime, until: datetime, back: timedelta
    ) -> tuple[datetime | None, datetime]:
        """The last two slots, looked for further and further back from `until`; `after` is a slot."""
        late: Slots | None = None
        while late is None and until - back > after:
            late = self.due(until - back, until)
            back *= 4
        late = late or self.due(after, until)
        return (None, after) if late is None else (late.before_newest, late.newest)

    def _late(self, base: datetime) -> datetime:
        if not self.jitter_s:
            return base
        text = f"{self.salt}@{base.isoformat()}".encode()
        share = int.from_bytes(hashlib.sha256(text).digest()[:8]) / 2**64
        return base + timedelta(seconds=round(share * self.jitter_s, 3))

    def _base(self, at: datetime) -> datetime | None:
        """The first slot later than `at`, without its jitter."""
        if self.every_s is not None:
            interval = IntervalTrigger(seconds=self.every_s, start_date=EPOCH, timezone=UTC)
            found: datetime = interval.get_next_fire_time(None, at + _TICK)
            return found.astimezone(UTC)
        return self._every_hour(at) if self._fields[1].startswith("*") else self._fixed_hour(at)

    # --- cron ---------------------------------------------------------------------------------------------

    @cached_property
    def _fields(self) -> tuple[str, str, str, str, str]:
        line = _MACROS.get((self.cron or "").strip().lower(), self.cron or "")
        fields = line.split()
        if len(fields) != 5:
            raise ValueError(
                f"{self.cron!r} is not a cron line: write minute, hour, day of month, month, day of week, "
                "such as '0 3 * * 1' (Mondays at 03:00), or @daily"
            )
        minute, hour, day, month, weekday = (field.lower() for field in fields)
        return minute, hour, day, month, weekday

    @cached_property
    def _lines(self) -> tuple[CronTrigger, ...]:
        """The line in APScheduler's words, in a zone without changes; two where either of two days matches."""
        minute, hour, day, month, weekday = self._fields
        days = [(day, "*"), ("*", _unix_days(weekday))]
        if day.startswith("*") or weekday.startswith("*"):
            days = [(day, _unix_days(weekday))]
        try:
            return tuple(
                CronTrigger(minute=minute, hour=hour, day=d, month=month, day_of_week=w, timezone=UTC)
                for d, w in days
            )
        except ValueError as error:
            raise ValueError(f"{self.cron!r} is not a cron line: {error}") from None

    @cached_property
    def _zone(self) -> tzinfo:
        try:
            return ZoneInfo(self.timezone)
        except (KeyError, ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError
            raise ValueError(f"{self.timezone!r} is no time zone; write for instance Europe/Berlin") from None

    def _walls(self, wall: datetime) -> Iterator[datetime]:
        """What the clock shows at the slots from `wall` on, as naive times."""
        while True:
            here = wall.replace(tzinfo=UTC)
            shown = [t for line in self._lines if (t := line.get_next_fire_time(None, here)) is not None]
            if not shown:
                return
            wall = min(shown).replace(tzinfo=None)
            yield wall
            wall += _TICK

    def _shown(self, at: datetime) -> datetime:
        """What the clock shows at a moment, as a naive time."""
        return at.astimezone(self._zone).replace(tzinfo=None)

    def _fixed_hour(self, at: datetime) -> datetime | None:
        """Once for each time that the line names; see the module."""
        plain = next(self._walls(self._shown(at) + _TICK), None)
        if plain is None:
            return None
        found: datetime | None = plain.replace(tzinfo=self._zone).astimezone(UTC)
        if found is not None and not (self._changes_near(at) or self._changes_near(found)):
            return found
        found = None
        for wall in self._walls(self._shown(at) - _NEAR):
            if found is not None and wall > self._shown(found) + _NEAR:
                break
            moment = wall.replace(tzinfo=self._zone, fold=0).astimezone(UTC)
            if moment > at and (found is None or moment < found):
                found = moment
        return found

    def _changes_near(self, at: datetime) -> bool:
        return self._offset(at - _NEAR) != self._offset(at + _NEAR)

    def _every_hour(self, at: datetime) -> datetime | None:
        """In every hour that there is: with the offset that holds now, or else with the one after the change."""
        offset = self._offset(at)
        wall = next(self._walls(self._shown(at) + _TICK), None)
        if wall is None:
            return None
        moment = (wall - offset).replace(tzinfo=UTC)
        if self._offset(moment) == offset:
            return moment
        change = self._change(at, moment)
        wall = next(self._walls(self._shown(change)), None)
        return None if wall is None else (wall - self._offset(change)).replace(tzinfo=UTC)

    def _offset(self, at: datetime) -> timedelta:
        return at.astimezone(self._zone).utcoffset() or timedelta(0)

    def _change(self, low: datetime, high: datetime) -> datetime:
        """The first moment with another offset than that of `low`, to the second; `high` has another."""
        offset = self._offset(low)
        while high - low > _TICK:
            middle = low + (high - low) / 2
            low, high = (middle, high) if self._offset(middle) == offset else (low, middle)
        return high


def _unix_days(field: str) -> str:
    """A day-of-week field in names: numbers mean other days to APScheduler, and ranges may pass Sunday.

    Examples
    --------
    >>> _unix_days("0"), _unix_days("1-5"), _unix_days("fri-7"), _unix_days("*")
    ('sun', 'mon,tue,wed,thu,fri', 'sun,fri,sat', '*')
    """
    days: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        if (step and not step.isdigit()) or step == "0":
            raise ValueError(f"{field!r} is not a day of week: a step is a number above 0")
        if span == "*":
            first, last = 0, 6
        else:
            begin, _, end = span.partition("-")
            first = _unix_day(begin, field)
            last = _unix_day(end, field) if end else (6 if step else first)
            if last < first:  # sat-mon; and 7 is Sunday at the end of a range
                last += 7
        days.update(day % 7 for day in range(first, last + 1, int(step or 1)))
    return "*" if len(days) == 7 else ",".join(_DAYS[day] for day in sorted(days))


def _unix_day(text: str, field: str) -> int:
    if text in _DAYS:
        return _DAYS.index(text)
    if text.isdigit() and int(text) <= 7:
        return int(text)
    raise ValueError(f"{field!r} is not a day of week: write 0 (Sunday) to 7 (Sunday), or sun to sat")
