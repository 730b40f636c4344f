"""The service manager is told in its own words, and a deaf one harms nobody."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from ct_daemon.notify import LONGEST_STATUS, VARIABLES, Notifier
from ct_daemon.processes import children
from tests.unit.service.manager import Manager


def test_each_word_is_one_datagram(manager: Manager) -> None:
    speaker = Notifier(manager.address)
    assert speaker.ready("models: 1")
    assert speaker.status("two\nlines\tand a\x0btab")
    assert speaker.alive()
    assert speaker.stopping("draining")
    assert speaker.extend(1.5)
    assert manager.hear() == [
        "READY=1\nSTATUS=models: 1",
        "STATUS=two lines and a tab",
        "WATCHDOG=1",
        "STOPPING=1\nSTATUS=draining",
        "EXTEND_TIMEOUT_USEC=1500000",
    ]


def test_a_reload_names_its_moment_by_the_monotonic_clock(manager: Manager) -> None:
    before = time.monotonic_ns() // 1000
    Notifier(manager.address).reloading()
    (said,) = manager.hear()
    found = re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=(\d+)", said)
    assert found is not None
    assert before <= int(found[1]) <= time.monotonic_ns() // 1000


def test_an_abstract_socket_is_reached_too() -> None:
    manager = Manager(f"@ct-daemon-test-{uuid.uuid4().hex}")
    try:
        assert Notifier(manager.address).alive()
        assert manager.hear() == ["WATCHDOG=1"]
    finally:
        manager.close()


def test_a_status_is_short(manager: Manager) -> None:
    Notifier(manager.address).status("x" * 10_000)
    (said,) = manager.hear()
    assert len(said) == len("STATUS=") + LONGEST_STATUS


@pytest.mark.parametrize("address", ["", "/no/such/socket", "@nobody-listens-here", "/" + "x" * 200, "/a\0b"])
def test_nobody_who_listens_is_no_error(address: str) -> None:
    speaker = Notifier(address)
    assert not speaker.ready("")
    assert not speaker.alive()
    assert speaker.listens is bool(address)


def test_a_manager_that_does_not_read_costs_a_second_and_no_more(manager: Manager) -> None:
    speaker = Notifier(manager.address)
    sent = 0
    while speaker.alive():  # until the queue of the socket is full
        sent += 1
        assert sent < 10_000
    assert len(manager.hear()) == sent
    assert speaker.alive(), "it is told again once it reads"


def test_the_environment_is_taken_and_no_child_gets_it(manager: Manager) -> None:
    environment = {
        "NOTIFY_SOCKET": manager.address,
        "WATCHDOG_USEC": "3000000",
        "WATCHDOG_PID": str(os.getpid()),
        "PATH": "/bin",
    }
    speaker = Notifier.from_environment(environment)
    assert speaker.watchdog_s == 3.0
    assert speaker.alive()
    assert environment == {"PATH": "/bin"}
    assert not set(VARIABLES) & children._INHERITED


@pytest.mark.parametrize(
    ("usec", "pid", "expected"),
    [
        ("3000000", "", 3.0),
        ("3000000", "1", None),
        ("", "", None),
        ("soon", "", None),
        ("0", "", None),
        ("-5", "", None),
    ],
)
def test_the_watchdog_counts_if_it_is_meant_for_this_process(
    manager: Manager, usec: str, pid: str, expected: float | None
) -> None:
    found = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": usec, "WATCHDOG_PID": pid}
    assert Notifier.from_environment(found).watchdog_s == expected


def test_without_a_socket_there_is_no_watchdog_and_an_unknown_kind_of_socket_is_told_nothing() -> None:
    assert Notifier.from_environment({"WATCHDOG_USEC": "3000000"}).watchdog_s is None
    odd = Notifier.from_environment({"NOTIFY_SOCKET": "vsock:2:1234"})
    assert not odd.listens


def test_it_works_alone_in_a_program(tmp_path: Path) -> None:
    """As systemd starts it: through the environment of a process."""
    manager = Manager(tmp_path / "s")
    try:
        text = "from ct_daemon.notify import Notifier; import os; n = Notifier.from_environment(); n.ready('up'); "
        subprocess.run(
            [sys.executable, "-c", text + "assert 'NOTIFY_SOCKET' not in os.environ"],
            env=os.environ | {"NOTIFY_SOCKET": manager.address},
            check=True,
            timeout=30,
        )
        assert manager.hear() == ["READY=1\nSTATUS=up"]
    finally:
        manager.close()
