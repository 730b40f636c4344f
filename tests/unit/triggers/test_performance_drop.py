"""`performance_drop`: thresholds, chance, too few labels."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from ct_daemon.evaluation.intervals import wilson
from ct_daemon.triggers.performance_drop import PerformanceDrop
from ct_daemon.types import Firing, Observation, Performance, Quality, Quiet

NOW = datetime(2026, 11, 24, 6, tzinfo=UTC)
LIVE = Observation(
    model="m",
    champion=3,
    labelled_rows=1000,
    new_rows=0,
    new_labelled_rows=0,
    new_files=0,
    last_batch_seq=9,
)


def accuracy(value: float, rows: int) -> Quality:
    low, high = wilson(value * rows, rows)
    return Quality(metric="accuracy", value=value, rows=rows, low=low, high=high)


def ask(trigger: PerformanceDrop, live: float, rows: int = 1000, made: float = 0.9) -> Firing | Quiet:
    found = Performance(live=accuracy(live, rows), reference=accuracy(made, 2000), last_batch_seq=7)
    return trigger.evaluate(replace(LIVE, performance=found), NOW)


def test_a_drop_beyond_threshold_and_chance_fires_and_says_the_numbers() -> None:
    answer = ask(PerformanceDrop(absolute=0.05), 0.8)
    assert isinstance(answer, Firing)
    assert "accuracy 0.8 on 1,000 matured labels" in answer.reason
    assert "0.9 when the version was made" in answer.reason
    assert answer.dedupe_key == "performance_drop:v3:7"
    assert answer.evidence["drop"] == pytest.approx(0.1)
    assert answer.evidence["noise"] < 0.1


@pytest.mark.parametrize(
    ("trigger", "live", "fires"),
    [
        (PerformanceDrop(absolute=0.05), 0.86, False),
        (PerformanceDrop(relative=0.1), 0.82, False),
        (PerformanceDrop(relative=0.1), 0.80, True),
        (PerformanceDrop(absolute=0.5, relative=0.1), 0.80, True),
        (PerformanceDrop(absolute=0.01), 0.95, False),
    ],
)
def test_either_threshold_is_enough(trigger: PerformanceDrop, live: float, fires: bool) -> None:
    assert isinstance(ask(trigger, live), Firing) is fires


def test_a_drop_that_chance_explains_does_not_fire_and_says_so() -> None:
    answer = ask(PerformanceDrop(absolute=0.02, min_labels=20), 0.85, rows=60)
    assert isinstance(answer, Quiet)
    assert "chance alone" in answer.needed
    assert answer.progress is not None
    assert 0 < answer.progress < 1


def test_too_few_labels_can_not_tell() -> None:
    answer = ask(PerformanceDrop(absolute=0.05, min_labels=100), 0.2, rows=99)
    assert isinstance(answer, Quiet)
    assert answer.reason.startswith("can't tell: 99 of 100")
    assert answer.needed == "1 more matured label"
    none = PerformanceDrop(absolute=0.05).evaluate(LIVE, NOW)
    assert isinstance(none, Quiet)
    assert none.reason.startswith("can't tell: 0 of 100")


def test_new_labels_are_new_evidence() -> None:
    one = ask(PerformanceDrop(absolute=0.05), 0.7)
    found = Performance(live=accuracy(0.7, 1000), reference=accuracy(0.9, 2000), last_batch_seq=8)
    two = PerformanceDrop(absolute=0.05).evaluate(replace(LIVE, performance=found), NOW)
    assert isinstance(one, Firing)
    assert isinstance(two, Firing)
    assert one.dedupe_key != two.dedupe_key
