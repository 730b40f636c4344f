"""The wall clock's steps back are noticed, each once; that it drifts or jumps ahead is not one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ct_daemon.clock import ClockSteps


class Clocks:
    def __init__(self) -> None:
        self.wall, self.monotonic = datetime(2026, 3, 1, tzinfo=UTC), 1000.0

    def go(self, seconds: float, *, wall: float | None = None) -> None:
        self.monotonic += seconds
        self.wall += timedelta(seconds=seconds if wall is None else wall)


def test_a_step_back_is_noticed_once() -> None:
    clocks = Clocks()
    steps = ClockSteps(lambda: clocks.wall, lambda: clocks.monotonic)
    clocks.go(5)
    assert not steps.back()
    clocks.go(5, wall=-3595)
    assert steps.back()
    clocks.go(5)
    assert not steps.back()


def test_drift_and_a_jump_ahead_are_none() -> None:
    clocks = Clocks()
    steps = ClockSteps(lambda: clocks.wall, lambda: clocks.monotonic)
    for _ in range(100):
        clocks.go(5, wall=4.9)
        assert not steps.back()
    clocks.go(5, wall=7200)
    assert not steps.back()
