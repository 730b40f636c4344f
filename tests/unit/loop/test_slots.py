"""The schedule through the loop: each slot that comes ends as a run or as a recorded skip, whatever happens."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ct_daemon import views
from ct_daemon.calendars import Calendar
from ct_daemon.monitor.slots import Timetable, note_slots
from ct_daemon.policy import Policy
from ct_daemon.store.store import Store
from ct_daemon.types import Rule, Slot, TriggerKind, Verdict

Make = Callable[..., Any]
HOURLY = {"schedule": {"cron": "0 * * * *"}}
BERLIN = ZoneInfo("Europe/Berlin")


def slots(one: Any) -> list[Slot]:
    with one.store.read() as tx:
        return list(reversed(one.store.slots.list(tx, "m")))


def ends(one: Any) -> list[str]:
    """How the slots ended, oldest first: run, waiting, or the reason of the skip."""
    return [slot.skipped or ("run" if slot.run_id else "waiting") for slot in slots(one)]


def test_a_slot_starts_a_run_when_it_comes_and_the_tick_says_when_that_is(loop: Make) -> None:
    one = loop(chosen=HOURLY)
    one.first_version()
    tick = one.monitor.tick("m")
    assert tick.decision.decision.rule is Rule.NOTHING_FIRED
    assert tick.look_again_s == 3600.0, "it is 12:00, the next slot is 13:00"
    one.pass_time(3599)
    assert one.monitor.tick("m").decision.decision.verdict is Verdict.IGNORE
    one.pass_time(1)
    tick = one.monitor.tick("m")
    assert (tick.decision.decision.verdict, tick.decision.decision.rule) == (Verdict.START, Rule.FIRED)
    assert [run.trigger for run in one.ended(2)] == ["initial", "schedule"]
    assert [(slot.due_at.hour, slot.run_id) for slot in slots(one)] == [(13, one.runs()[1].id)]


def test_a_slot_that_came_at_the_first_sight_of_a_schedule_does_not_count(loop: Make) -> None:
    one = loop(chosen=HOURLY)
    one.first_version()
    assert one.monitor.tick("m").decision.decision.verdict is Verdict.IGNORE
    assert slots(one) == []


def test_slots_missed_while_no_daemon_ran_are_one_run_and_a_recorded_skip(loop: Make) -> None:
    one = loop(chosen=HOURLY)
    one.first_version()
    one.monitor.tick("m")
    one.pass_time(5 * 3600 + 60)
    one.restart()
    assert one.monitor.tick("m").decision.decision.verdict is Verdict.START
    one.ended(2)
    assert ends(one) == ["missed", "run"]
    missed = slots(one)[0]
    assert (missed.count, missed.first_at.hour, missed.due_at.hour) == (4, 13, 16)
    assert "no daemon ran" in missed.detail
    assert one.monitor.tick("m").decision.decision.verdict is Verdict.IGNORE, "no backlog is left"


def test_missed_slots_are_skipped_where_the_schedule_says_so(loop: Make) -> None:
    one = loop(chosen={"schedule": {"cron": "0 * * * *", "missed": "skip"}})
    one.first_version()
    one.monitor.tick("m")
    one.pass_time(2 * 3600 + 60)
    one.restart()
    assert one.monitor.tick("m").decision.decision.verdict is Verdict.IGNORE
    assert ends(one) == ["missed", "missed"]
    one.pass_time(3600)
    assert one.monitor.tick("m").decision.decision.verdict is Verdict.START, "the next one counts"


def test_a_slot_that_is_held_waits_until_the_next_one_and_is_then_skipped_with_what_held_it(
    loop: Make,
) -> None:
    one = loop(chosen=HOURLY, policy=Policy(cooldown_s=3 * 3600.0))
    one.first_version()
    one.monitor.tick("m")
    one.pass_time(3600)
    tick = one.monitor.tick("m")
    assert tick.decision.decision.rule is Rule.COOLDOWN
    assert tick.look_again_s == 3600.0, "the next slot comes before the cooldown ends"
    one.pass_time(3600)
    assert one.monitor.tick("m").decision.decision.rule is Rule.COOLDOWN
    assert ends(one) == ["overtaken", "waiting"]
    assert "cooldown" in slots(one)[0].detail
    [waiting, _] = views.slots_document(one.store, "m", following=None)["slots"]
    assert waiting["detail"].startswith("cooldown of 3 h")
    one.pass_time(3600)
    assert one.monitor.tick("m").decision.decision.verdict is Verdict.START
    one.ended(2)
    assert ends(one) == ["overtaken", "overtaken", "run"]


def test_the_slots_of_a_paused_model_are_skipped_and_leave_no_backlog(loop: Make) -> None:
    one = loop(chosen=HOURLY)
    one.first_version()
    one.monitor.tick("m")
    one.control.pause("m", "a holiday")
    for _ in range(3):
        one.pass_time(3600)
        assert one.monitor.tick("m").decision.decision.rule in (Rule.PAUSED, Rule.NOTHING_FIRED)
    one.control.resume("m")
    assert one.monitor.tick("m").decision.decision.verdict is Verdict.IGNORE
    assert ends(one) == ["paused"] * 3


def test_a_slot_that_comes_while_a_run_waits_is_served_by_it(loop: Make) -> None:
    one = loop(chosen=HOURLY)
    one.arrive("first")  # the first run is queued; nobody works yet
    one.pass_time(3600)
    assert one.monitor.tick("m").decision.decision.rule is Rule.RUN_ACTIVE
    assert [slot.run_id for slot in slots(one)] == [one.runs()[0].id]


def test_a_schedule_that_is_taken_away_or_changed_leaves_no_slot_waiting(loop: Make) -> None:
    one = loop(chosen=HOURLY, policy=Policy(cooldown_s=1e6))
    one.first_version()
    one.monitor.tick("m")
    one.pass_time(3600)
    one.monitor.tick("m")
    assert ends(one) == ["waiting"]
    one.settings = one.settings.model_copy(
        update={"triggers": one.settings.triggers.model_copy(update={"schedule": None})}
    )
    one.restart()
    one.monitor.tick("m")
    assert ends(one) == ["no_schedule"]


@pytest.mark.parametrize(
    "night", [datetime(2026, 3, 28, 21, 30, tzinfo=UTC), datetime(2026, 10, 24, 20, 30, tzinfo=UTC)]
)
@pytest.mark.parametrize("cron", ["30 2 * * *", "0 * * * *"])
def test_both_nights_of_the_clock_change_bring_each_slot_once(loop: Make, night: datetime, cron: str) -> None:
    one = loop(chosen={"schedule": {"cron": cron, "timezone": "Europe/Berlin"}}, now=night)
    one.first_version()
    starts = 0
    for _ in range(16):
        starts += one.monitor.tick("m").decision.decision.verdict is Verdict.START
        one.ended(1 + starts)
        one.pass_time(1800)
    shown = [slot.due_at.astimezone(BERLIN).strftime("%d %H:%M") for slot in slots(one)]
    if cron == "30 2 * * *":
        assert shown == (["29 03:30"] if night.month == 3 else ["25 02:30"])
    else:
        assert len({slot.due_at for slot in slots(one)}) == starts
        assert starts == 8, "one in every real hour"
    assert set(ends(one)) == {"run"}


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store.open(tmp_path_factory.mktemp("slots")) as store:
        yield store


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["pass", "stop", "back", "run"]), st.integers(1, 3000)), max_size=20
    ),
    missed=st.sampled_from(["once", "skip"]),
)
def test_whatever_happens_every_slot_is_recorded_once_and_one_at_most_waits(
    ledger: Store, steps: list[tuple[str, int]], missed: str
) -> None:
    """Minutes pass, daemons stop, clocks are set back, runs serve: the slots in the ledger tile the calendar."""
    calendar, model = Calendar(cron="0 */2 * * *", timezone="Europe/Berlin"), f"m{uuid.uuid4().hex}"
    begin = now = since = high = datetime(2026, 3, 27, 3, tzinfo=UTC)
    with ledger.write() as tx:
        ledger.models.ensure(tx, [model])
        for what, minutes in [("pass", 0), *steps]:
            if what == "back":
                now -= timedelta(minutes=minutes % 60)
            elif what == "run":
                ledger.slots.serve(tx, model, "r-1")
            else:
                now += timedelta(minutes=minutes)
                since = now if what == "stop" else since
            timetable = Timetable(calendar=calendar, missed=missed)
            following = note_slots(ledger, tx, model, timetable, wall=now, since=since)
            high = max(high, now)
            assert following is not None
            assert following > high, "the next one is later than all that are recorded"
        found = ledger.slots.list(tx, model, limit=1000)
    spans = sorted((slot.first_at, slot.due_at, slot.count) for slot in found)
    assert all(until < later for (_, until, _), (later, _, _) in pairwise(spans)), "no slot twice"
    assert sum(slot.skipped is None and slot.run_id is None for slot in found) <= 1
    whole = calendar.due(begin, high)
    assert sum(count for _, _, count in spans) == (0 if whole is None else whole.count)


def test_a_schedule_that_is_taken_out_and_put_back_counts_from_then_on(loop: Make) -> None:
    one = loop(chosen=HOURLY)
    one.first_version()
    one.monitor.tick("m")
    with_it, without = one.settings, one.settings.triggers.model_copy(update={"schedule": None})
    one.settings = one.settings.model_copy(update={"triggers": without})
    one.restart()
    one.monitor.tick("m")
    one.pass_time(7 * 86400)
    one.settings = with_it
    one.restart()
    assert one.monitor.tick("m").decision.decision.verdict is Verdict.IGNORE
    assert slots(one) == []


def test_with_a_time_column_that_lags_slots_are_told_in_wall_time_and_waited_for_as_long(loop: Make) -> None:
    one = loop(chosen=HOURLY)
    one.arrive("first", until=one.now - timedelta(days=3))
    one.work()
    one.ended(1)
    tick = one.monitor.tick("m")
    told = next(q for q in tick.decision.decision.quiet if q.trigger is TriggerKind.SCHEDULE)
    assert told.needed == "the slot of 2026-03-01 13:00 UTC"
    assert tick.look_again_s == 3600.0
