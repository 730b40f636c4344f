"""A loop that stands still is told from one that rests, waits within a limit, or works."""

from __future__ import annotations

import threading

import pytest

from ct_daemon.errors import WorkerError
from ct_daemon.monitor.patience import PatientWorker
from ct_daemon.pulse import Pulse
from ct_daemon.testing import FakeWorker
from ct_daemon.testing.fakes import fault


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pulse(clock: Clock) -> Pulse:
    return Pulse(clock)


def test_an_idle_loop_moves_for_ever(pulse: Pulse, clock: Clock) -> None:
    pulse.rest()
    for _ in range(5):
        clock.now += 1000
        assert pulse.moves()
        assert pulse.still_s() == 0


def test_a_busy_loop_moves_only_while_it_beats(pulse: Pulse, clock: Clock) -> None:
    pulse.rest()
    assert pulse.moves()
    pulse.beat()
    assert pulse.moves()
    clock.now += 7
    assert not pulse.moves(), "nothing since the last look"
    assert not pulse.moves(), "and looking changes nothing"
    assert pulse.still_s() == 7
    pulse.beat()
    assert pulse.still_s() == 0
    assert pulse.moves()


def test_a_wait_is_trusted_up_to_its_limit(pulse: Pulse, clock: Clock) -> None:
    with pulse.waiting(10):
        assert pulse.moves()
        clock.now += 9
        assert pulse.moves()
        assert pulse.still_s() == 0
        clock.now += 3
        assert not pulse.moves()
        assert pulse.still_s() == 2, "counted from the limit"
    assert pulse.moves(), "it came back after all"
    clock.now += 1
    assert not pulse.moves(), "the limit of a wait that is over counts no more"


def test_a_loop_that_never_began_does_not_count_as_idle(pulse: Pulse, clock: Clock) -> None:
    pulse.moves()
    clock.now += 5
    assert not pulse.moves()
    assert pulse.still_s() == 5


def test_a_call_to_the_worker_is_a_wait_that_ends_with_an_error_too(pulse: Pulse, clock: Clock) -> None:
    inner = FakeWorker()
    seen: list[bool] = []

    def look() -> None:
        for _ in range(3):
            clock.now += 3
            seen.append(pulse.moves())
        clock.now += 3
        seen.append(pulse.moves())

    inner.before["join"] = look
    inner.errors["join"] = [fault(WorkerError, "died")]
    with pytest.raises(WorkerError):
        PatientWorker(inner, pulse, 10.0).join(None)  # type: ignore[arg-type]
    assert seen == [True, True, True, False]
    assert pulse.moves()
    clock.now += 1
    assert not pulse.moves()


def test_every_call_of_the_worker_is_handed_on(pulse: Pulse) -> None:
    inner = FakeWorker()
    patient = PatientWorker(inner, pulse, 1.0)
    for name in ("compare", "join", "validate", "evaluate", "verify"):
        assert getattr(patient, name)(None) == getattr(FakeWorker(), name)(None)
    inner.errors["take"] = [fault(WorkerError, "died")]
    with pytest.raises(WorkerError):
        patient.take(None)  # type: ignore[arg-type]
    assert inner.calls == ["compare", "join", "validate", "evaluate", "verify", "take"]


def test_what_other_threads_do_says_nothing_of_the_loop(pulse: Pulse, clock: Clock) -> None:
    pulse.claim()
    pulse.rest()
    assert pulse.moves()

    def other() -> None:
        with pulse.waiting(60.0):
            pulse.beat()
        pulse.rest()

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    clock.now += 1000.0
    assert pulse.still_s() == 0.0, "it still rests"
    pulse.beat()
    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert pulse.moves()
    clock.now += 1000.0
    assert not pulse.moves()
    assert pulse.still_s() == 1000.0
