"""Who belongs to a child is found, told apart from others, and killed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest

from ct_daemon.processes import kin
from ct_daemon.processes.kin import LINUX
from tests.unit.processes.rig import FOR_EVER, Start, until

pytestmark = pytest.mark.skipif(not LINUX, reason="/proc and the death signal are Linux features")


def test_identity_is_stable_and_differs_between_processes(start: Start) -> None:
    with start(FOR_EVER) as child:
        assert kin.identity(child.pid) == kin.identity(child.pid) == child.started
        assert child.started != kin.identity(os.getpid())


def test_there_is_no_identity_of_a_process_that_is_gone(start: Start) -> None:
    with start("") as child:
        assert child.ended(10.0)
    assert kin.identity(child.pid) is None


def test_identity_tells_boots_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    here = kin.identity(os.getpid())
    other = "fff" if not kin._BOOT_ID.startswith("fff") else "000"
    monkeypatch.setattr(kin, "_BOOT_ID", other)
    assert kin.identity(os.getpid()) != here


def test_a_double_resolves_a_clock_tick_at_the_largest_boot_number_after_thirty_years(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kin, "_BOOT_ID", "fff")
    late = kin._boot_number() + 30 * 366 * 86400
    assert late + 0.01 != late


def test_kin_without_the_marker_is_found_as_long_as_the_session_or_the_parent_shows_it(start: Start) -> None:
    text = (
        "import os, signal\n"
        "if os.fork() == 0: os.execve('/bin/sleep', ['sleep', '60'], {})\n"
        "while True: signal.pause()\n"
    )
    with start(text) as child:
        assert until(lambda: len(child.family()) == 2)
        pids = [process.pid for process in child.family()]
        assert until(lambda: not Path(f"/proc/{pids[1]}/environ").read_bytes())
        assert len(child.family()) == 2
    assert not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in pids)


def test_kill_marked_kills_the_run_and_nobody_else(start: Start, run: str) -> None:
    with start(FOR_EVER) as child:
        assert kin.kill_marked(run + "x") == ()
        assert not child.ended()
        assert kin.kill_marked(run) == (child.pid,)
        assert child.ended()
        assert child.end() == -signal.SIGKILL


def test_a_process_with_another_identity_is_not_killed(start: Start, run: str) -> None:
    with start(FOR_EVER) as child:
        [process] = child.family()
        kin._kill(process._replace(started=process.started - 1))
        assert not child.ended(0.1)
