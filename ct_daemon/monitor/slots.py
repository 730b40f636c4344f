"""What the clock brings: slots of a schedule that came are written down, each once, whatever happened meanwhile.

Of the slots that came since the last look, the newest waits for a run and the older ones are skipped: `missed` those
from before this daemon's start, `overtaken` the others. One that came while no daemon ran waits too, unless the
schedule says ``missed: skip``: so after any pause there is one run, not a backlog. A slot that still waits when the
next one comes is `overtaken`; what held it back stands beside it. A paused model skips its slots (`paused`): else the
end of a pause would bring a run that nobody expects.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from ct_daemon.calendars import MOST, Calendar, Slots
from ct_daemon.store.store import Store
from ct_daemon.types import Decision, Rule
from ct_daemon.words import counted

STEP_BACK = timedelta(days=1)
"""A clock that is set back by less brings no slot twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timetable:
    """A model's calendar, and what becomes of a slot that was missed."""

    calendar: Calendar
    missed: str
    """`once` or `skip`."""


def note_slots(
    store: Store, tx: Connection, model: str, timetable: Timetable | None, *, wall: datetime, since: datetime
) -> datetime | None:
    """Record the slots that came up to `wall`; returns when the next one comes.

    Parameters
    ----------
    timetable : Timetable or None
        None if the model has no schedule (any more).
    since : datetime
        When this daemon started: slots before it were missed.
    """
    if timetable is None:
        store.models.forget_schedules(tx, (model,))
        store.slots.skip(tx, model, "no_schedule", "the schedule was taken out of the settings")
        return None
    calendar, state = timetable.calendar, store.models.state(tx, model)
    seen = state.schedule_seen_at
    if seen is None or state.schedule != str(calendar) or seen - wall > STEP_BACK:
        # First seen, changed, or the clock has come back from far in the future: slots count from now on.
        store.models.set_schedule_seen(tx, model, str(calendar), wall)
        return calendar.after(wall)
    came = calendar.due(seen, wall)  # none where the clock was set back a little: these are recorded
    if came is not None:
        _record(store, tx, model, timetable, came, since)
        store.models.set_schedule_seen(tx, model, str(calendar), came.newest)
    return calendar.after(max(wall, seen))


def _record(
    store: Store, tx: Connection, model: str, timetable: Timetable, came: Slots, since: datetime
) -> None:
    decision = store.decisions.newest(tx, model)
    held = "" if decision is None else f"; {decision.decision.rule.value}: {decision.decision.reason}"
    store.slots.skip(tx, model, "overtaken", f"the next slot came{held}")
    if came.before_newest is not None:
        missed = came.before_newest < since
        many = "" if came.count < MOST else "at least "
        store.slots.add(
            tx,
            model,
            came.before_newest,
            first_at=came.first,
            count=came.count - 1,
            skipped="missed" if missed else "overtaken",
            detail=f"{many}{counted(came.count - 1, 'slot')} before the newest one"
            + (", while no daemon ran" if missed else ""),
        )
    if came.newest < since and timetable.missed == "skip":
        store.slots.add(tx, model, came.newest, skipped="missed", detail="no daemon ran")
    else:
        store.slots.add(tx, model, came.newest)


def skip_if_paused(store: Store, tx: Connection, decision: Decision) -> None:
    """A slot of a paused model gets no run."""
    if decision.rule is Rule.PAUSED:
        store.slots.skip(tx, decision.model, "paused", "the model was paused")
