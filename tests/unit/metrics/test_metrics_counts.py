"""Facts, counted."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ct_daemon.metrics import catalogue as c
from ct_daemon.metrics.counts import MOST_REASONS, Counts
from ct_daemon.metrics.samples import Spread
from ct_daemon.types import Event, QualityMeasured, Ticked, TickFailed, Window
from tests.unit.logs.test_log_lines import EXPECTED
from tests.unit.metrics.conftest import NOW


def counts() -> Counts:
    return Counts(measured=lambda window: None, touched=lambda model: None)


def looked(*faults: str, model: str = "m", lasted_s: float = 0.2) -> Ticked:
    return Ticked(model=model, at=NOW, lasted_s=lasted_s, faults=faults)


def test_every_kind_of_event_can_be_heard() -> None:
    one = counts()
    heard = set()
    for event, *_ in EXPECTED:
        one(event)
        heard.add(type(event))
    assert heard == set(get_args(Event))
    taken = one.taken({"credit"}).samples
    assert set(taken) >= {c.TICKS, c.FIRINGS, c.DECISIONS, c.DEPLOYMENTS, c.WINDOWS, c.RUN_DURATION}


def test_something_that_is_no_event_is_an_error() -> None:
    with pytest.raises(TypeError, match="nothing is counted"):
        counts()(object())  # type: ignore[arg-type]


def test_looks_are_counted_by_how_they_ended() -> None:
    one = counts()
    for event in (looked(), looked("folder_missing"), looked()):
        one(event)
    taken = one.taken({"m"})
    assert taken.samples[c.TICKS] == {("m", "ok"): 2.0, ("m", "fault"): 1.0}
    assert taken.good_looks == {"m": NOW}


def test_a_fault_is_shown_until_a_look_without_it() -> None:
    one = counts()
    one(looked("folder_missing", "disk_full", "folder_missing"))
    assert one.taken({"m"}).samples[c.FAULT] == {("m", "folder_missing"): 1.0, ("m", "disk_full"): 1.0}
    one(looked("disk_full"))
    assert one.taken({"m"}).samples[c.FAULT] == {("m", "disk_full"): 1.0}
    one(looked())
    assert one.taken({"m"}).samples[c.FAULT] == {}


def test_a_failed_look_is_no_good_one() -> None:
    one = counts()
    one(looked("disk_full"))
    assert one.taken({"m"}).good_looks == {}


@given(st.lists(st.text(max_size=80), max_size=300, unique=True))
def test_reasons_are_slugs_and_few(reasons: list[str]) -> None:
    one = counts()
    one(looked(*reasons))
    one(looked(*(f"r{n}" for n in range(2 * MOST_REASONS))))
    shown = {labels[1] for labels in one.taken({"m"}).samples[c.FAULT]}
    assert len(shown) <= MOST_REASONS + 1
    assert all(label.isascii() and label.isprintable() and len(label) <= 63 for label in shown)


def test_a_model_that_is_configured_no_more_is_not_shown() -> None:
    one = counts()
    one(looked(model="gone"))
    one(looked("disk_full", model="gone"))
    samples = one.taken({"m"}).samples
    assert (samples[c.TICKS], samples[c.FAULT]) == ({}, {})
    spread = samples[c.TICK_DURATION][()]
    assert isinstance(spread, Spread)
    assert spread.number == 2


def test_what_was_taken_changes_no_more() -> None:
    one = counts()
    one(looked())
    before = one.taken({"m"}).samples[c.TICK_DURATION][()]
    one(looked())
    assert isinstance(before, Spread)
    assert before.number == 1


def test_delays_of_labels_are_weighed_by_rows() -> None:
    one = counts()
    one(QualityMeasured(model="m", outcomes=(), new_rows=3, delay_s=10.0))
    one(QualityMeasured(model="m", outcomes=(), new_rows=1, delay_s=30.0))
    one(QualityMeasured(model="m", outcomes=()))
    spread = one.taken({"m"}).samples[c.LABEL_DELAY][("m",)]
    assert isinstance(spread, Spread)
    assert (spread.number, spread.total) == (4, 60.0)


def test_windows_are_handed_on_and_models_touched() -> None:
    windows: list[Window] = []
    touched: list[str] = []
    one = Counts(measured=windows.append, touched=touched.append)
    for event, *_ in EXPECTED:
        one(event)
    assert len(windows) == sum(type(event).__name__ == "DriftMeasured" for event, *_ in EXPECTED)
    assert set(touched) == {"credit"}
    one(TickFailed(model="m", reason="r", message=""))
    assert "m" not in touched


@pytest.mark.parametrize(
    ("value", "place"), [(0.0, 0), (0.1, 0), (0.11, 1), (1.0, 1), (86400.0, 9), (86401.0, 10)]
)
def test_a_value_on_a_bound_lies_below_it(value: float, place: int) -> None:
    spread = Spread.over(c.RUN_DURATION)
    spread.add(c.RUN_DURATION, value)
    assert spread.counts.index(1) == place
