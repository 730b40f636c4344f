"""The daemon as a service manager sees it: the notify protocol, the watchdog, signals."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ct_daemon.testing import drop, rows
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


def test_reload_by_command_and_by_signal(rig: Make, manager: Manager) -> None:
    site = rig(program=QUICK).start(NOTIFY_SOCKET=manager.address)
    good = site.config.read_text()
    assert site.cli("reload")["changed"] == []
    site.config.write_text(good.replace("min_rows: 300", "min_rows: 250"))
    assert site.cli("reload")["changed"] == ["m"]

    site.config.write_text(good.replace("holdout: 0.25", "holdout: lots"))
    error = site.cli("reload", expect=2)["error"]
    assert [fault["path"] for fault in error["faults"]] == ["models.m.training.holdout"]
    site.config.write_text(good)
    assert "holdout" in site.cli("status")["daemon"]["config_error"]
    (warned,) = [f for f in site.cli("doctor")["findings"] if f["level"] == "warning"]
    assert "refused" in warned["what"]

    manager.hear()
    manager.heard.clear()
    site.send(signal.SIGHUP)
    manager.until(lambda heard: len(heard) == 2, "the signal's reload is over")
    assert [said.split("=")[0] for said in manager.heard] == ["RELOADING", "READY"]
    assert site.http("GET", "/healthz").json()["config_error"] is None
    assert [line["changed"] for line in lines(site, "reload.done") if "changed" in line] == [["m"], ["m"]]
    site.config.write_text("{")
    site.send(signal.SIGHUP)
    site.wait(lambda: len(lines(site, "reload.refused")) == 2, "the log tells what the signal came to")
    assert (
        site.cli("reload", "--state", str(site.state.root), expect=2)["error"]["reason"] == "config_invalid"
    )
    assert site.answers()
    assert site.stop() == 0


def test_reload_with_no_daemon(rig: Make) -> None:
    site = rig()
    assert site.cli("reload", expect=4)["error"]["reason"] == "not_running"
    site.config.write_text("models: {}\n")
    assert site.cli("reload", expect=2)["error"]["reason"] == "config_invalid"


def test_usr2_writes_the_status_to_the_log(rig: Make) -> None:
    site = rig(program=QUICK).start()
    for _ in range(100):
        site.send(signal.SIGUSR2)
    site.wait(lambda: lines(site, "status.model"), "the status is in the log")
    assert site.stop() == 0
    models, daemons = lines(site, "status.model"), lines(site, "status.daemon")
    assert {line["model"] for line in models} == {"m"}
    assert len(models) == len(daemons) < 100, "signals that come together are one"


SLOW = CONFIG.replace(
    "sklearn: {estimator: linear}",
    "sklearn: {estimator: hist_gradient_boosting, parameters: {max_iter: 100000, early_stopping: false}}",
).replace("drain: 5s", "drain: 10m")


def test_a_second_sigterm_ends_a_long_drain_at_once(rig: Make) -> None:
    site = rig(config=SLOW).start()
    drop(site.inbox, "first.parquet", rows(400, seed=1))
    child = site.wait(lambda: site.runs() and site.runs()[-1].child_pid, "a trainer runs")
    site.send(signal.SIGTERM)
    site.wait(lambda: lines(site, "daemon.draining"), "it drains")
    assert Path(f"/proc/{child}").exists(), "the first one lets the trainer go on"
    site.send(signal.SIGTERM)
    assert site.ended() == 0
    assert not Path(f"/proc/{child}").exists()
    assert site.runs()[-1].state == "training", "the run waits for the next start"
    order = [line["event"] for line in map(json.loads, site.log.read_text().splitlines())]
    assert order[-1] == "daemon.stopped"
    assert order.index("daemon.draining") < order.index("run.interrupted") < order.index("daemon.stopped")


def test_a_backup_of_a_running_daemon_is_restored_elsewhere_and_goes_on(
    warm: Make, rig: Make, tmp_path: Path
) -> None:
    site = warm().start()
    drop(site.inbox, "more.parquet", rows(300, seed=2, first_id=400))
    site.wait(lambda: len(site.batches()) == 2, "the file is taken")
    made = site.cli("backup", str(tmp_path / "backup"))
    assert site.cli("backup", str(tmp_path / "backup"), expect=3)["error"]["reason"] == "backup_exists"
    assert site.cli("restore", str(tmp_path / "backup"), expect=3)["error"]["reason"] == "state_in_use"
    assert site.stop() == 0
    assert site.cli("restore", str(tmp_path / "backup"), expect=3)["error"]["reason"] == "state_not_empty"

    other = rig("elsewhere")
    assert other.cli("restore", str(tmp_path / "backup"), "--verify")["digest"] == made["digest"]
    assert not other.state.root.exists(), "it only looked"
    assert other.cli("restore", str(tmp_path / "backup"))["models"] == ["m"]
    assert other.champion() is None, "the alias is not in the backup"
    other.start()
    other.wait(lambda: other.champion() == 1, "the alias follows the ledger")
    (other.inbox / "more.parquet").write_bytes((site.inbox / "more.parquet").read_bytes())
    other.wait(lambda: len(other.batches()) == 3, "the same file is looked at on the other machine")
    assert [batch.status.value for batch in other.batches()] == ["accepted", "accepted", "duplicate"]
    ticket = other.http("POST", "/api/v1/models/m/runs", {}).json()
    assert other.wait(lambda: other.run_ended(ticket["run"]), "a run ended").state == "succeeded"
    assert other.champion() == 2
    assert {f["level"] for f in other.cli("doctor")["findings"]} == {"ok"}
    assert other.stop() == 0
