"""`on_demand`, `initial`, `new_data`, `schedule`, controls: when they fire, and what names their evidence."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ct_daemon.triggers.control import EveryN, Never
from ct_daemon.triggers.initial import Initial
from ct_daemon.triggers.new_data import NewData
from ct_daemon.triggers.on_demand import OnDemand, demands_of
from ct_daemon.triggers.schedule import Schedule
from ct_daemon.types import Demand, Firing, Observation, Quiet, Slot

NOW = datetime(2026, 11, 24, 6, tzinfo=UTC)
EMPTY = Observation(
    model="fraud",
    champion=None,
    labelled_rows=0,
    new_rows=0,
    new_labelled_rows=0,
    new_files=0,
    last_batch_seq=0,
)
LIVE = replace(EMPTY, champion=3, labelled_rows=1000)


def demand(name: str, *, force: bool = False, minutes: int = 0) -> Demand:
    return Demand(
        id=name,
        model="fraud",
        origin="http",
        dedupe_key=f"key-{name}",
        force=force,
        asked_at=NOW + timedelta(minutes=minutes),
        note="please",
    )


def fired(answer: Firing | Quiet) -> Firing:
    assert isinstance(answer, Firing), answer
    return answer


def quiet(answer: Firing | Quiet) -> Quiet:
    assert isinstance(answer, Quiet), answer
    return answer


# --- on demand -------------------------------------------------------------------------------------------


def test_on_demand_is_quiet_while_nobody_asks() -> None:
    answer = quiet(OnDemand().evaluate(LIVE, NOW))
    assert "asks" in answer.needed


def test_on_demand_lists_who_asked_in_the_order_of_asking() -> None:
    waiting = (demand("d-2", minutes=5), demand("d-1", force=True))
    answer = fired(OnDemand().evaluate(replace(EMPTY, demands=waiting), NOW))
    assert answer.dedupe_key == "on_demand:d-1+d-2"
    assert [entry["id"] for entry in answer.evidence["demands"]] == ["d-1", "d-2"]
    back = demands_of(answer)
    assert [(d.id, d.origin, d.force, d.asked_at) for d in back] == [
        ("d-1", "http", True, NOW),
        ("d-2", "http", False, NOW + timedelta(minutes=5)),
    ]


def test_on_demand_keeps_what_is_to_be_adopted_so_that_the_decision_can_be_made_again() -> None:
    wish = replace(demand("d-1"), adopt={"digest": "abc", "batches": [3]})
    answer = fired(OnDemand().evaluate(replace(EMPTY, demands=(wish, demand("d-2"))), NOW))
    assert [d.adopt for d in demands_of(answer)] == [{"digest": "abc", "batches": [3]}, None]


def test_on_demand_key_of_a_crowd_is_short_and_tells_crowds_apart() -> None:
    crowd = tuple(demand(f"d-{i:012d}") for i in range(500))
    keys = {
        fired(OnDemand().evaluate(replace(LIVE, demands=some), NOW)).dedupe_key
        for some in (crowd, crowd[:-1], crowd[::-1])
    }
    assert len(keys) == 2
    assert max(map(len, keys)) <= 200


# --- initial ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "fires"), [(0, False), (499, False), (500, True), (501, True)])
def test_initial_fires_from_min_rows_on(rows: int, fires: bool) -> None:
    answer = Initial(min_rows=500).evaluate(replace(EMPTY, labelled_rows=rows), NOW)
    assert isinstance(answer, Firing) is fires
    if isinstance(answer, Quiet):
        assert answer.progress == rows / 500
        assert answer.needed == ("1 more labelled row" if rows == 499 else f"{500 - rows} more labelled rows")


def test_initial_is_over_once_a_version_is_live() -> None:
    assert "version 3 is live" in quiet(Initial(min_rows=1).evaluate(LIVE, NOW)).reason


def test_initial_fires_anew_for_new_labelled_rows_only() -> None:
    trigger = Initial(min_rows=500)
    first = replace(EMPTY, labelled_rows=600, last_batch_seq=4)
    unlabelled_file_came = replace(first, new_files=1, last_batch_seq=5)
    rows_came = replace(first, labelled_rows=601, last_batch_seq=6)
    keys = [fired(trigger.evaluate(o, NOW)).dedupe_key for o in (first, unlabelled_file_came, rows_came)]
    assert keys[0] == keys[1] != keys[2]


# --- new data --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "rows", "files", "fires"),
    [
        ({"rows": 100}, 99, 10**6, False),
        ({"rows": 100}, 100, 0, True),
        ({"files": 3}, 10**6, 2, False),
        ({"files": 3}, 0, 3, True),
        ({"rows": 100, "files": 3}, 99, 2, False),
        ({"rows": 100, "files": 3}, 100, 0, True),
        ({"rows": 100, "files": 3}, 0, 3, True),
        ({}, 10**9, 10**9, False),
    ],
)
def test_new_data_fires_at_either_limit_and_a_missing_one_is_none(
    options: dict[str, int], rows: int, files: int, fires: bool
) -> None:
    seen = replace(LIVE, labelled_rows=1000 + rows, new_labelled_rows=rows, new_files=files)
    assert isinstance(NewData(**options).evaluate(seen, NOW), Firing) is fires


def test_new_data_waits_for_the_first_version() -> None:
    seen = replace(EMPTY, labelled_rows=900, new_labelled_rows=900, new_files=9)
    assert quiet(NewData(rows=1, files=1).evaluate(seen, NOW)).progress is None


def test_new_data_says_how_far_it_is() -> None:
    seen = replace(LIVE, labelled_rows=1120, new_labelled_rows=120, new_files=6)
    answer = quiet(NewData(rows=500, files=10).evaluate(seen, NOW))
    assert answer.progress == 0.6
    assert answer.reason == "120 of 500 labelled rows and 6 of 10 files since the last training"
    assert answer.needed == "380 more labelled rows or 4 more files"


def test_new_data_fires_anew_only_when_the_limit_is_reached_again() -> None:
    trigger = NewData(rows=100)

    def key(champion: int, known: int, new: int) -> str:
        seen = replace(LIVE, champion=champion, labelled_rows=known + new, new_labelled_rows=new)
        return fired(trigger.evaluate(seen, NOW)).dedupe_key

    assert key(3, 1000, 100) == key(3, 1000, 150) == key(3, 1000, 199)
    again = {key(3, 1000, 100), key(3, 1000, 200), key(3, 1100, 100), key(4, 1000, 100)}
    assert len(again) == 4  # the next multiple, a training in between, a new version


# --- ceilings ------------------------------------------------------------------------------------------------

TRAINED = replace(LIVE, trained_at=NOW)
DAY = 86400.0


def test_an_age_fires_when_it_reaches_its_ceiling_and_says_before_when_that_will_be() -> None:
    trigger = NewData(max_age_s=7 * DAY)
    answer = quiet(trigger.evaluate(TRAINED, NOW + timedelta(days=3)))
    assert answer.due_at == NOW + timedelta(days=7)
    assert answer.reason == "3 d of 7 d since the last training"
    assert answer.needed == "4 d more"
    assert fired(trigger.evaluate(TRAINED, answer.due_at)).ceiling


def test_a_ceiling_that_a_run_did_not_bring_down_is_claimed_again_after_each_tenth() -> None:
    trigger, at, keys = NewData(max_age_s=10 * DAY), NOW, []
    for _ in range(4):
        answer = trigger.evaluate(TRAINED, at)
        if isinstance(answer, Firing):
            keys.append(answer.dedupe_key)
            assert answer.due_at is not None
            almost = trigger.evaluate(TRAINED, answer.due_at - timedelta(seconds=5))
            assert fired(almost).dedupe_key == answer.dedupe_key
        assert answer.due_at is not None
        at = answer.due_at
    assert len(set(keys)) == 3
    assert at == NOW + timedelta(days=13)


def test_rows_of_any_kind_count_for_their_ceiling() -> None:
    trigger = NewData(rows=500, max_rows=1000)
    answer = fired(trigger.evaluate(replace(LIVE, new_rows=1000, new_labelled_rows=3), NOW))
    assert answer.ceiling
    assert "1,000 of 1,000 rows" in answer.reason
    ordinary = fired(trigger.evaluate(replace(LIVE, new_rows=600, new_labelled_rows=600), NOW))
    assert not ordinary.ceiling


# --- schedule ------------------------------------------------------------------------------------------------


def test_the_schedule_fires_for_the_slot_that_waits_and_says_else_when_the_next_one_comes() -> None:
    trigger, later = Schedule(rule="every 6 h"), NOW + timedelta(hours=2)
    answer = quiet(trigger.evaluate(replace(LIVE, next_slot_at=later), NOW))
    assert answer.due_at == later
    slot = Slot(seq=4, model="fraud", due_at=NOW, first_at=NOW)
    firing = fired(trigger.evaluate(replace(LIVE, slot=slot, next_slot_at=later), NOW))
    assert firing.dedupe_key == f"schedule:{NOW.isoformat()}"
    assert firing.due_at == later
    assert "2026-11-24 06:00 UTC" in firing.reason


# --- controls ------------------------------------------------------------------------------------------------


def test_controls_look_at_nothing_but_files() -> None:
    seen = [replace(LIVE, new_files=n, last_batch_seq=n) for n in range(7)]
    assert not any(isinstance(Never().evaluate(one, NOW), Firing) for one in seen)
    assert [isinstance(EveryN(n=1).evaluate(one, NOW), Firing) for one in seen] == [False, *[True] * 6]
    assert [isinstance(EveryN(n=3).evaluate(one, NOW), Firing) for one in seen] == [False] * 3 + [True] * 4
    keys = {fired(EveryN(n=1).evaluate(one, NOW)).dedupe_key for one in seen[1:]}
    assert len(keys) == 6
