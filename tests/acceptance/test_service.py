"""The daemon as a service manager sees it: the notify protocol, the watchdog, signals."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.rig import CONFIG, Rig
from tests.unit.service.manager import Manager

Make = Callable[..., Rig]
QUICK = ("tests/crash/quick_daemon.py",)

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    one = Manager(tmp_path / "notify")
    yield one
    one.close()


def lines(site: Rig, event: str) -> list[dict[str, Any]]:
    """Lines of the log about an event."""
    found = (json.loads(line) for line in site.log.read_text().splitlines() if line.startswith("{"))
    return [line for line in found if line["event"] == event]


def test_a_start_and_a_stop_are_told_in_order(rig: Make, manager: Manager) -> None:
    site = rig(program=QUICK).start(ready=False, NOTIFY_SOCKET=manager.address, WATCHDOG_USEC="600000")
    manager.until(lambda heard: bool(heard), "READY")
    assert site.answers(), "ready means that it answers"
    manager.until(lambda heard: heard.count("WATCHDOG=1") >= 3, "an idle loop feeds the watchdog")
    assert site.stop() == 0
    heard = [said for said in manager.hear() if not said.startswith(("WATCHDOG", "STATUS"))]
    assert heard == [
        "READY=1\nSTATUS=models: 1, live: 0, runs active: 0",
        "STOPPING=1\nSTATUS=draining for at most 5 s",
    ], "and a drain that service managers allow by default needs no extension"


def test_a_drain_longer_than_usual_is_announced(rig: Make, manager: Manager) -> None:
    config = CONFIG.replace("drain: 5s", "drain: 2m")
    site = rig(program=QUICK, config=config).start(ready=False, NOTIFY_SOCKET=manager.address)
    manager.until(lambda heard: bool(heard), "READY")
    assert site.stop() == 0
    assert "EXTEND_TIMEOUT_USEC=150000000" in manager.hear()
    assert "WATCHDOG=1" not in manager.heard, "nobody asked for it"


def test_a_loop_that_hangs_starves_the_watchdog_and_health_says_so(rig: Make, manager: Manager) -> None:
    config = CONFIG.replace("limits: {", "limits: {stalled_after: 1s, ")
    site = rig(program=QUICK, config=config).start(
        ready=False,
        NOTIFY_SOCKET=manager.address,
        WATCHDOG_USEC="600000",
        CT_DAEMON_FAILPOINT="tick.begin:1:hang",
    )
    manager.until(lambda heard: bool(heard), "READY")
    site.wait(lambda: site.http("GET", "/healthz").status_code == 503, "health says that it hangs")
    assert site.http("GET", "/healthz").json()["reason"] == "loop_stalled"
    assert site.http("GET", "/api/v1/models").status_code == 200, "the API thread is alive"
    assert manager.hear(1.0).count("WATCHDOG=1") <= 2, "fed at most while the loop still moved"
    (told,) = lines(site, "loop.stalled")
    assert "tick" in told["place"]
    assert site.process is not None
    site.send(signal.SIGABRT)  # what systemd does
    assert site.ended() == -signal.SIGABRT
    assert re.search(r"Thread 0x.*\n.*\n.*failpoint", site.log.read_text()), "the places of all threads"
