"""What the worker is asked about a window, and what becomes of a classifier that is too much for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from ct_daemon.errors import WorkerError
from ct_daemon.testing.fakes import fault
from ct_daemon.types import DriftMeasured, JointDrift, Window
from tests.unit.loop.conftest import Loop

Make = Callable[..., Loop]


def live(one: Loop, *, joint: bool = False) -> Loop:
    """With version 1 live, which scores what comes; `joint`: a classifier is asked."""
    one.settings = one.settings.model_copy(
        update={"drift": one.settings.drift.model_copy(update={"joint": joint})}
    )
    one._new_monitor()
    one.first_version()
    one.worker.taken = replace(one.worker.taken, scored_rows=100)
    return one


def windows(one: Loop) -> list[Window]:
    return [event.window for event in one.events if isinstance(event, DriftMeasured)]


def test_the_request_names_the_version_and_its_predictions_for_just_these_batches(loop: Make) -> None:
    one = live(loop())
    for name in "bcde":
        one.arrive(name)
    first, second = one.worker.compared
    with one.store.read() as tx:
        version = one.store.versions.get(tx, "m", 1)
        answered = [str(one.folders.root / p.path) for p in one.store.feedback.predictions(tx, "m")]
    assert first.version is not None
    assert (first.version.version, first.version.digest) == (1, version.digest)
    assert first.baseline == f"{first.version.path}/baseline.json"
    assert [*first.predictions, *second.predictions] == answered
    assert [len(first.predictions), len(second.predictions)] == [2, 2]
    assert (first.labels_later, first.joint) == (False, None)


def test_a_batch_that_was_not_scored_has_no_predictions_to_compare(loop: Make) -> None:
    one = live(loop())
    one.worker.taken = replace(one.worker.taken, scored_rows=None, scoring_reason="scoring_failed")
    one.arrive("b")
    one.arrive("c")
    assert one.worker.compared[0].predictions == ()


def test_a_classifier_is_asked_where_the_settings_say_so(loop: Make) -> None:
    one = live(loop(), joint=True)
    one.arrive("b")
    one.arrive("c")
    [request] = one.worker.compared
    assert request.joint is not None
    with one.store.read() as tx:
        version = one.store.versions.get(tx, "m", 1)
    assert request.joint.snapshot == str(one.folders.snapshot(version.snapshot))
    assert request.joint.sample == str(one.folders.sample("m", version.digest))


@pytest.mark.parametrize("reason", ["timeout", "out_of_memory", "died", "worker_bug"])
def test_a_classifier_that_is_too_much_costs_its_own_answer_only(loop: Make, reason: str) -> None:
    one = live(loop(), joint=True)
    one.worker.errors["compare"] = [fault(WorkerError, reason)]
    one.arrive("b")
    tick = one.arrive("c")
    assert not tick.failed
    assert [request.joint is None for request in one.worker.compared] == [False, True]
    [window] = windows(one)
    assert window.report == replace(one.worker.report, joint=JointDrift(reason=reason))


def test_a_worker_that_fails_for_another_reason_is_asked_again_later(loop: Make) -> None:
    one = live(loop(), joint=True)
    one.worker.errors["compare"] = [fault(WorkerError, "not_started")]
    one.arrive("b")
    assert one.arrive("c").failed
    assert windows(one) == []
    assert not one.monitor.tick("m").failed
    assert len(windows(one)) == 1


def test_without_a_classifier_a_worker_that_dies_is_a_fault(loop: Make) -> None:
    one = live(loop())
    one.worker.errors["compare"] = [fault(WorkerError, "died")]
    one.arrive("b")
    assert one.arrive("c").failed
    assert len(one.worker.compared) == 1
