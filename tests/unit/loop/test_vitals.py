"""The watchdog is fed by the loop's progress and by nothing else; the status line says how things are."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from ct_daemon.control import Control
from ct_daemon.errors import SourceError, StateError
from ct_daemon.living import Living
from ct_daemon.notify import Notifier
from ct_daemon.parts import Parts
from ct_daemon.pulse import Pulse
from ct_daemon.testing.fakes import fault
from ct_daemon.vitals import WAKE_S, Vitals
from tests.unit.service.manager import Manager

Make = Callable[..., Any]


class Bed:
    """A loop on fakes whose vitals are taken on a clock of the test's own."""

    def __init__(self, one: Any, manager: Manager, watchdog_s: float | None) -> None:
        self.one, self.manager = one, manager
        self.now = 0.0
        self.pulse = Pulse(lambda: self.now)
        self.control = Control(
            store=one.store,
            shops={"m": one.shop},
            monitor=one.monitor,
            executor=one.executor,
            emit=one.events.append,
            wake=one.woken.append,
            clock=one._clock,
            pulse=self.pulse,
            stalled_after_s=60.0,
        )
        parts = SimpleNamespace(
            pulse=self.pulse,
            store=one.store,
            control=self.control,
            monitor=one.monitor,
            shops=Living({"m": one.shop}),
        )
        self.vitals = Vitals(
            Notifier(manager.address, watchdog_s=watchdog_s),
            cast(Parts, parts),
            threading.current_thread(),
            stalled_after_s=60.0,
            now=lambda: self.now,
        )

    def look(self) -> list[str]:
        """What is said at a look."""
        before = len(self.manager.heard)
        self.vitals.look()
        return self.manager.hear()[before:]


@pytest.fixture
def bed(loop: Make, tmp_path: Path) -> Iterator[Callable[..., Bed]]:
    manager = Manager(tmp_path / "notify")
    yield lambda watchdog_s=3.0: Bed(loop(), manager, watchdog_s)
    manager.close()


def fed(said: list[str]) -> bool:
    return "WATCHDOG=1" in said


def test_the_main_thread_wakes_three_times_within_the_watchdogs_time(bed: Callable[..., Bed]) -> None:
    assert bed(3.0).vitals.wake_s == 1.0
    assert bed(None).vitals.wake_s == WAKE_S
    assert bed(3600.0).vitals.wake_s == WAKE_S


def test_a_loop_that_hangs_starves_the_watchdog_though_the_main_thread_lives(bed: Callable[..., Bed]) -> None:
    one = bed()
    one.pulse.rest()
    assert all(fed(one.look()) for _ in range(3))
    one.pulse.beat()
    assert fed(one.look())
    for _ in range(5):
        one.now += 1.0
        assert not fed(one.look())
    one.pulse.beat()
    assert fed(one.look())


def test_a_stall_is_told_once_with_its_place_and_so_is_its_end(bed: Callable[..., Bed]) -> None:
    one = bed()
    one.pulse.beat()
    with capture_logs() as lines:
        for _ in range(6):
            one.now += 1.0
            one.look()
    (told,) = [line for line in lines if line["event"] == "loop.stalled"]
    assert told["log_level"] == "critical"
    assert "test_a_stall_is_told_once" in told["place"]
    one.pulse.rest()
    with capture_logs() as lines:
        one.look()
        one.look()
    assert [line["event"] for line in lines] == ["loop.goes_on"]


def test_health_says_that_the_loop_stands_still_after_a_bounded_time(bed: Callable[..., Bed]) -> None:
    one = bed()
    one.pulse.beat()
    one.now += 60.0
    assert one.control.health() == ()
    one.now += 1.0
    with pytest.raises(StateError) as caught:
        one.control.health()
    assert caught.value.reason == "loop_stalled"
    with one.pulse.waiting(1000.0):
        one.now += 900.0
        assert one.control.health() == (), "a wait within its limit is no stall"
    one.pulse.rest()
    one.now += 1e6
    assert one.control.health() == ()


def test_the_status_line_follows_what_happens(bed: Callable[..., Bed]) -> None:
    one = bed()
    one.pulse.rest()
    one.vitals.ready()
    assert one.manager.hear() == ["READY=1\nSTATUS=models: 1, live: 0, runs active: 0"]
    one.now += WAKE_S
    assert one.look() == ["WATCHDOG=1"], "nothing new, nothing said"
    one.one.trainer.hold = {"train"}
    one.one.arrive("first")
    assert one.look() == ["WATCHDOG=1"], "not at every look"
    one.now += WAKE_S
    assert one.look() == ["WATCHDOG=1", "STATUS=models: 1, live: 0, runs active: 1"]
    one.one.trainer.hold = set()
    one.one.work()
    one.one.ended(1)
    one.one.inbox.fault = fault(SourceError, "folder_missing")
    one.one.monitor.tick("m")
    one.control.config_error = "x: 1 fault"
    one.now += WAKE_S
    said = one.look()[1]
    assert said.startswith("STATUS=models: 1, live: 1, runs active: 0; degraded: m, ")
    assert "refused" in said


def test_a_ledger_that_can_not_be_read_does_not_end_the_main_thread(
    bed: Callable[..., Bed], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = bed()

    def locked(*_: object) -> None:
        raise fault(StateError, "locked")

    monkeypatch.setattr(type(one.one.store), "read", locked)
    assert one.vitals.line() == "the ledger can't be read: locked"
    with capture_logs() as lines:
        one.vitals.to_log()
    assert [line["event"] for line in lines] == ["status.daemon", "status.unreadable"]


def test_the_status_in_the_log_is_the_commands_status(bed: Callable[..., Bed]) -> None:
    one = bed()
    one.one.first_version()
    with capture_logs() as lines:
        one.vitals.to_log()
    daemon, model = lines
    assert (daemon["event"], model["event"]) == ("status.daemon", "status.model")
    assert daemon["summary"] == one.vitals.line()
    assert (model["model"], model["live"], model["rows"], model["run"]) == ("m", 1, 100, None)
