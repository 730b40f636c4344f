"""The unit under the real systemd as a first process: started, watched, reloaded, limited, stopped."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from ct_daemon.cli.client import request
from ct_daemon.testing import drop, rows
from tests.shipping.machine import has_time, need_time
from tests.shipping.pid1 import Machine, machine

pytestmark = [pytest.mark.slow, pytest.mark.linux, pytest.mark.xdist_group("systemd")]

WATCHDOG_S, RESTART_S = 3.0, 0.1
BACK_WITHIN_S = 2.0
SLACK = 1.0 if has_time() else 3.0
"""Beside other tests, which have the processors, a crash may take so many times longer."""
TRIES = 3
"""A time that is measured beside other work counts by its best try: noise only adds to it."""

CONFIG = """\
state: /var/lib/ct-daemon
models:
  m:
    data: {target: y, row_id: row_id, time: at}
    source: {folder: /srv/inbox, settle: 200ms, rescan: 500ms}
    training: {min_rows: 300, holdout: 0.25, sklearn: {estimator: ESTIMATOR}}
    policy: {cooldown: COOLDOWN, back_off: {first: 1s, longest: 2s}}
limits: {worker_idle: 60s}
api: {listen: "127.0.0.1:8311", tokens: "credential:ct-daemon-tokens"}
"""
TOKEN = "ctd_" + "0123456789abcdef" * 3
CTL = "/opt/ct-daemon/bin/ct-daemon"


def config(*, cooldown: str = "0s", estimator: str = "linear") -> str:
    return CONFIG.replace("COOLDOWN", cooldown).replace("ESTIMATOR", estimator)


class Service(Machine):
    """A machine with the service started; `inbox` is the folder that it watches."""

    inbox: Path

    def override(self, name: str, *lines: str) -> None:
        """A drop-in of that name, as `systemctl edit` makes it; no lines take it away."""
        place = f"/etc/systemd/system/ct-daemon.service.d/{name}.conf"
        if lines:
            self.shell(f"mkdir -p {Path(place).parent}")
            self.write(place, "\n".join(("[Service]", *lines, "")))
        else:
            self.shell(f"rm -f {place}")
        self.shell("systemctl daemon-reload")

    def restart(self) -> None:
        self.shell("systemctl reset-failed ct-daemon; systemctl restart ct-daemon")

    def take(self, name: str, first_id: int, count: int = 50) -> None:
        """Let a file arrive, and wait until it is in the ledger."""
        before = self.files()
        drop(self.inbox, name, rows(count, seed=first_id, first_id=first_id))
        self.wait(lambda: self.files() > before, f"{name} was taken", 60.0)

    def files(self) -> int:
        return sum(self.model()["batches"]["rows"].values())

    @property
    def main_pid(self) -> int:
        return int(self.show("MainPID"))

    @property
    def restarts(self) -> int:
        return int(self.show("NRestarts"))

    def get(self, url: str, timeout_s: float = 10.0) -> tuple[int, Any]:
        """A question to the control socket, without the time that a command takes to start."""
        socket = Path("/proc", str(self.pid), "root", "var/lib/ct-daemon/control.sock")
        return request(socket, "GET", url, timeout_s=timeout_s)

    def answers(self) -> bool:
        """Whether the control socket answers that all is well."""
        with suppress(OSError, HTTPException):
            return self.get("/healthz", 0.5)[0] == 200
        return False

    def model(self) -> Any:
        """The status of the one model."""
        return self.get("/api/v1/models/m")[1]

    @property
    def anonymous_memory(self) -> int:
        """Bytes that the service's processes hold and that no file could give back."""
        group = self.show("ControlGroup")  # its own count lags behind; that of the processes doesn't
        told = self.shell(
            f"for pid in $(cat /sys/fs/cgroup/memory{group}/cgroup.procs 2>/dev/null ||"
            f" cat /sys/fs/cgroup{group}/cgroup.procs); do grep ^RssAnon /proc/$pid/status; done"
        )
        return sum(int(line.split()[1]) << 10 for line in told.splitlines())

    def ask(self, *arguments: str) -> Any:
        """One command with --json, by the service's own user."""
        line = ("runuser", "-u", "ct-daemon", "--", CTL, *arguments, "-c", "/etc/ct-daemon/ct-daemon.yaml")
        return json.loads(self.run(*line, "--json").stdout)

    def champion(self) -> int | None:
        live = self.model()["champion"]
        return None if live is None else int(live["version"])


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The booted machine with the service as shipped, but for a shorter watchdog."""
    folder = tmp_path_factory.mktemp("systemd")
    inbox = folder / "inbox"
    inbox.mkdir(mode=0o755)
    with machine(Service, folder / "machine", more=f'mount --bind {inbox} "$root/srv/inbox"') as made:
        made.inbox = inbox
        made.write("/etc/ct-daemon/ct-daemon.yaml", config())
        made.shell("umask 077; mkdir -p /etc/ct-daemon")
        made.write("/etc/ct-daemon/tokens", f"test admin {TOKEN}\n")
        made.shell("chmod 644 /etc/ct-daemon/ct-daemon.yaml; chmod 600 /etc/ct-daemon/tokens")
        made.override("watchdog", f"WatchdogSec={WATCHDOG_S}")
        made.shell("systemctl start ct-daemon")
        yield made


def best(measure: Callable[[], float], good_enough: float) -> float:
    """The shortest of a few tries; the first that is good enough ends them."""
    found = []
    for _ in range(TRIES):
        found.append(measure())
        if found[-1] <= good_enough:
            break
    return min(found)


# --- start -------------------------------------------------------------------------------------------------


def test_a_start_that_returns_means_ready(service: Service) -> None:
    service.restart()
    assert service.answers()
    assert service.show("ActiveState") == "active"
    assert service.show("StatusText") != ""


def test_the_health_command_agrees(service: Service) -> None:
    assert service.ask("health")["status"] == "ok"


def test_it_runs_as_its_own_user_on_its_own_state(service: Service) -> None:
    assert service.shell("stat -c %U:%G:%a /var/lib/ct-daemon").strip() == "ct-daemon:ct-daemon:700"
    assert service.shell(f"stat -c %U /proc/{service.main_pid}").strip() == "ct-daemon"
    status = service.shell(f"cat /proc/{service.main_pid}/status")
    assert f"CapBnd:\t{0:016x}" in status
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status


def test_the_credential_is_its_own(service: Service) -> None:
    place = "/run/credentials/ct-daemon.service/ct-daemon-tokens"
    seen = service.shell(f"stat -c %U:%a {place}; cat {place}", check=False)
    owner, content = seen.split("\n", 1)
    assert owner in ("ct-daemon:400", "ct-daemon:440")
    assert TOKEN in content


@pytest.mark.parametrize(("token", "status"), [(TOKEN, "200"), ("wrong" * 10, "401"), ("", "401")])
def test_the_api_on_tcp_asks_for_a_token_of_the_credential(service: Service, token: str, status: str) -> None:
    said = service.run(
        *("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}"),
        *(("-H", f"Authorization: Bearer {token}") if token else ()),
        "http://127.0.0.1:8311/api/v1/models",
    )
    assert said.stdout == status


def test_a_first_model_is_trained_in_the_sandbox(service: Service) -> None:
    need_time()
    drop(service.inbox, "first.parquet", rows(400, seed=1))
    service.wait(lambda: service.champion() == 1, "a version is live", 60.0)


# --- crash and hang ----------------------------------------------------------------------------------------


def test_after_a_crash_it_answers_again_at_once(service: Service) -> None:
    def crash() -> float:
        pid, before = service.main_pid, service.restarts
        began = time.monotonic()
        service.run("kill", "-KILL", str(pid))
        service.wait(lambda: service.restarts > before and service.answers(), "it answers again")
        return time.monotonic() - began

    taken = best(crash, BACK_WITHIN_S)
    print(f"kill -9 to the first answer: {taken:.2f} s")
    assert taken <= BACK_WITHIN_S * SLACK


def next_start(service: Service, began: float, why: str) -> float:
    """Seconds from `began` to the start of the next main process."""
    before = service.restarts
    service.wait(lambda: service.restarts > before and service.answers(), why)
    return int(service.show("ExecMainStartTimestampMonotonic")) / 1e6 - began


def test_a_loop_that_hangs_is_restarted(service: Service) -> None:
    """Only the loop hangs: the threads that answer over HTTP go on."""
    need_time()
    service.override("hang", "Environment=CT_DAEMON_FAILPOINT=tick.begin:3:hang")
    service.restart()
    numbers = itertools.count()
    try:

        def hang() -> float:
            number = next(numbers)
            service.take(f"before-{number}.parquet", 2000 * number + 1000)  # the second tick
            began = time.monotonic()
            drop(service.inbox, f"hang-{number}.parquet", rows(50, seed=2, first_id=2000 * number + 2000))
            return next_start(service, began, "the watchdog has found it")

        taken = best(hang, WATCHDOG_S + RESTART_S + 1.0)
    finally:
        service.override("hang")
        service.restart()
    print(f"hung loop to the next start: {taken:.2f} s")
    assert taken <= WATCHDOG_S + RESTART_S + 1.0
    assert "watchdog" in service.journal(lines=200).lower()


def test_a_process_that_is_stopped_is_restarted(service: Service) -> None:
    def stop() -> float:
        began = time.monotonic()
        service.run("kill", "-STOP", str(service.main_pid))
        return next_start(service, began, "the watchdog has found it")

    taken = best(stop, WATCHDOG_S + RESTART_S + 1.0)
    print(f"SIGSTOP to the next start: {taken:.2f} s")
    assert taken <= WATCHDOG_S + RESTART_S + 1.0


# --- reload ------------------------------------------------------------------------------------------------


def test_a_reload_takes_the_new_settings_over(service: Service) -> None:
    pid = service.main_pid
    service.write("/etc/ct-daemon/ct-daemon.yaml", config(cooldown="3h"))
    service.shell("systemctl reload ct-daemon")
    assert service.show("ActiveState") == "active"
    assert service.main_pid == pid
    assert service.answers()


def test_a_reload_of_a_broken_file_fails_and_changes_nothing(service: Service) -> None:
    pid = service.main_pid
    service.write("/etc/ct-daemon/ct-daemon.yaml", config() + "nonsense: 1\n")
    try:
        refused = service.run("systemctl", "reload", "ct-daemon", check=False)
    finally:
        service.write("/etc/ct-daemon/ct-daemon.yaml", config())
    assert refused.returncode != 0
    assert "nonsense" in service.journal()
    assert service.show("ActiveState") == "active"
    assert service.main_pid == pid
    assert service.answers()
    service.shell("systemctl reload ct-daemon")


# --- limits ------------------------------------------------------------------------------------------------


def test_a_trainer_that_takes_too_much_memory_ends_alone(service: Service) -> None:
    """The kernel ends the trainer, not the daemon, and the run has a reason."""
    need_time()
    service.take("warm.parquet", 50_000, 400)  # the worker is there: only the trainer is to come
    service.wait(lambda: not service.model()["active_run"], "nothing runs", 60.0)
    pid, before = service.main_pid, service.champion()
    room = service.anonymous_memory + (60 << 20)  # half of what its imports take
    service.shell(f"systemctl set-property --runtime ct-daemon MemoryMax={room} MemorySwapMax=0")
    try:
        service.ask("trigger")
        ended = service.wait(lambda: _last_failed(service), "the run failed", 60.0)
    finally:
        service.shell("systemctl set-property --runtime ct-daemon MemoryMax=75%")
    assert ended["reason"] == "killed"
    assert (service.main_pid, service.show("Result")) == (pid, "success")
    assert service.answers()
    service.ask("trigger")  # and with room it works as before
    service.wait(lambda: service.champion() not in (None, before), "a version is live", 60.0)


def _last_failed(service: Service) -> Any:
    newest = service.get("/api/v1/models/m/runs")[1]["runs"][0]
    return newest if newest["state"] == "failed" else None


# --- stop --------------------------------------------------------------------------------------------------


def test_it_stops_when_told(service: Service) -> None:
    began = time.monotonic()
    service.shell("systemctl stop ct-daemon")
    assert time.monotonic() - began < 15.0
    assert (service.show("Result"), service.show("ExecMainStatus")) == ("success", "0")
    service.shell("systemctl start ct-daemon")


def test_a_start_with_a_broken_configuration_is_not_tried_again(service: Service) -> None:
    service.shell("systemctl stop ct-daemon")
    service.write("/etc/ct-daemon/ct-daemon.yaml", "models: {}\n")
    try:
        assert service.run("systemctl", "start", "ct-daemon", check=False).returncode != 0
        service.wait(lambda: service.show("ActiveState") == "failed", "it is given up")
        assert (service.show("ExecMainStatus"), service.restarts) == ("2", 0)
    finally:
        service.write("/etc/ct-daemon/ct-daemon.yaml", config())
        service.shell("systemctl reset-failed ct-daemon; systemctl start ct-daemon")


def test_without_tokens_it_starts_and_nobody_has_one(service: Service) -> None:
    service.shell("mv /etc/ct-daemon/tokens /etc/ct-daemon/away")
    try:
        service.write("/etc/ct-daemon/ct-daemon.yaml", "\n".join(config().splitlines()[:-1]) + "\n")
        service.restart()
        assert service.answers()
    finally:
        service.shell("mv /etc/ct-daemon/away /etc/ct-daemon/tokens")
        service.write("/etc/ct-daemon/ct-daemon.yaml", config())
        service.restart()


# --- hardened ----------------------------------------------------------------------------------------------


def test_hardened_it_trains_as_well_and_reaches_nobody_else(service: Service) -> None:
    need_time()
    text = (Path(__file__).resolve().parents[2] / "deploy/ct-daemon.service.d/hardened.conf").read_text()
    service.override("hardened", *text.split("[Service]")[1].splitlines())
    service.restart()
    assert service.answers()
    assert service.show("IPAddressDeny") != ""
    before = service.champion()
    drop(service.inbox, "second.parquet", rows(400, seed=3, first_id=100_000))
    service.ask("trigger")
    service.wait(lambda: service.champion() != before, "a version is live", 60.0)
