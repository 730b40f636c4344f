"""Disks that fail, fill up, turn read-only, are damaged, or are held by others: nothing acknowledged is lost."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ct_daemon.store.store import NAME
from ct_daemon.testing import drop, rows
from tests.acceptance.rig import CONFIG, REPOSITORY, Rig
from tests.crash.disks import Disk, disk
from tests.crash.failing_disk import LIBRARY, PRELOAD

Make = Callable[..., Rig]

STRIDE = int(os.environ.get("CT_DAEMON_SWEEP_STRIDE", "6"))
"""The sweep lets every so many-th call fail; 1 in the long form."""

pytestmark = [pytest.mark.linux, pytest.mark.timeout(180)]


@pytest.fixture(scope="session")
def preload() -> str:
    """The library that lets system calls fail; without it the test is skipped."""
    for folder in (Path("/usr/lib/fiu"), *Path("/usr/lib").glob("*/fiu")):
        if (folder / PRELOAD).exists():
            return str(folder / PRELOAD)
    pytest.skip(f"{LIBRARY} is not here (Debian: fiu-utils)")


# --- calls that fail -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC], ids=["EIO", "ENOSPC"])
def test_whichever_write_or_sync_fails_what_was_promised_is_there(
    tmp_path: Path, preload: str, error: int
) -> None:
    program = [sys.executable, "tests/crash/failing_disk.py", "sweep", str(tmp_path), str(error), str(STRIDE)]
    env = os.environ | {"LD_PRELOAD": preload, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(program, cwd=REPOSITORY, env=env, capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["broken"] == []
    assert found["calls"] > 200
    ended = sum(count for reason, count in found["reasons"].items() if reason != "none")
    assert ended > 0.9 * found["calls"] / STRIDE, f"most failures end the story: {found}"


class FailingRig(Rig):
    """A site whose daemon's writes to files fail while the file `armed` is there."""

    def __init__(self, folder: Path, preload: str, error: int, **options: Any) -> None:
        self.armed = folder.with_name("armed")
        program = ("tests/crash/failing_disk.py", "daemon", str(self.armed), str(error))
        super().__init__(folder, program=program, **options)
        self._env = {"LD_PRELOAD": preload, "PYTHONPATH": str(REPOSITORY)}

    def start(self, *, ready: bool = True, **env: str) -> Rig:
        return super().start(ready=ready, **self._env, **env)


def ask(site: Rig, key: str) -> Any:
    return site.http("POST", "/api/v1/models/m/runs", {}, **{"Idempotency-Key": key})


def test_a_disk_that_refuses_a_write_ends_the_daemon_and_nothing_is_acknowledged(
    tmp_path: Path, preload: str
) -> None:
    site = FailingRig(tmp_path / "site", preload, errno.EIO).start()
    assert ask(site, "before").status_code == 202
    site.armed.touch()
    reply = ask(site, "k")
    assert (reply.status_code, reply.json()["reason"]) == (503, "io_error")
    assert site.ended() == 3
    assert "ledger.broken" in site.log.read_text()
    site.armed.unlink()
    again = Rig(tmp_path / "site").start()
    assert ask(again, "before").json()["new"] is False
    assert (ask(again, "k").status_code, ask(again, "k").json()["new"]) == (202, False)
    assert again.stop() == 0


# --- full ----------------------------------------------------------------------------------------------------------


def test_a_full_state_folder_is_said_waited_for_and_recovered_from(
    warm: Make, rig: Make, with_a_model: Path, tmp_path: Path
) -> None:
    with disk(tmp_path, mega=48) as small:
        shutil.copytree(with_a_model, small.place / "site", symlinks=True)
        site = Rig(small.place / "site", triggers="{new_data: {rows: 250}}")
        inbox = tmp_path / "inbox"
        inbox.mkdir()
        site.inbox.rmdir()
        site.inbox.symlink_to(inbox)
        with closing_rig(site):
            site.start()
            ballast = small.fill()
            reply = ask(site, "full")
            assert (reply.status_code, reply.json()["reason"]) == (507, "disk_full")
            assert site.http("GET", "/healthz").status_code == 507
            assert {f["level"] for f in site.cli("doctor", expect=1)["findings"]} >= {"fault"}
            drop(inbox, "more.parquet", rows(300, seed=2, first_id=400))
            site.wait(lambda: "disk_full" in site.log.read_text(), "the daemon says that the disk is full")
            assert not [b for b in site.batches() if b.name == "more.parquet"], (
                "a good file waits, it is not refused"
            )
            assert site.champion() == 1, "whoever reads the alias is served"
            ballast.unlink()
            run = site.wait(lambda: site.run_ended(count=2), "it goes on by itself")[1]
            assert (run.trigger, run.state) == ("new_data", "succeeded")
            assert site.http("GET", "/healthz").status_code == 200
            assert ask(site, "full").json()["new"] is True, "what was refused had not been recorded"
            assert site.stop() == 0


def test_a_full_disk_under_the_alias_keeps_the_old_version_until_there_is_space(
    with_a_model: Path, tmp_path: Path
) -> None:
    with disk(tmp_path, mega=8) as small:
        shutil.copytree(with_a_model, tmp_path / "site", symlinks=True)
        config = CONFIG.replace("    policy:", f"    alias: {{folder: {small.place}}}\n    policy:")
        site = Rig(tmp_path / "site", config=config)
        with closing_rig(site):
            site.start()
            assert (small.place / "m" / "champion").exists(), "the start puts the alias where it is wanted"
            ballast = small.fill()
            ticket = site.cli("trigger", "m")
            site.wait(lambda: "run.waits" in site.log.read_text(), "the switch waits")
            current = small.place / "m" / "current.json"
            assert json.loads(current.read_text())["version"] == 1
            ballast.unlink()
            assert site.wait(lambda: site.run_ended(ticket["run"]), "it goes on").state == "succeeded"
            assert json.loads(current.read_text())["version"] == 2
            assert site.stop() == 0


def test_a_log_that_can_not_be_written_stops_nothing(tmp_path: Path) -> None:
    site = Rig(tmp_path / "site")
    site.log = Path("/dev/full")
    with closing_rig(site):
        site.start()
        assert ask(site, "k").status_code == 202
        assert site.stop() == 0


# --- read-only -----------------------------------------------------------------------------------------------------


def test_a_disk_that_turns_read_only_ends_the_daemon_and_a_start_on_it_says_why(
    with_a_model: Path, tmp_path: Path
) -> None:
    with disk(tmp_path, mega=48) as failing:
        shutil.copytree(with_a_model, failing.place / "site", symlinks=True)
        site = Rig(failing.place / "site")
        site.log = tmp_path / "daemon.log"
        with closing_rig(site):
            site.start()
            failing.break_down()
            reply = ask(site, "k")
            assert reply.status_code == 503
            assert reply.json()["reason"] in ("io_error", "read_only")
            assert site.ended() == 3
            site.start(ready=False)
            assert site.ended() == 3
            assert "Read-only file system" in site.tail()
            assert "Traceback" not in site.tail()
            assert site.champion() == 1, "whoever reads the alias is served"


# --- damaged -------------------------------------------------------------------------------------------------------


def test_a_damaged_or_newer_ledger_is_refused_and_left_as_it_is(warm: Make) -> None:
    site = warm()
    ledger = site.state.root / NAME
    whole = ledger.read_bytes()

    def refused(reason: str, *words: str) -> None:
        before = ledger.read_bytes()
        site.start(ready=False)
        assert site.ended() == 3
        for word in (str(ledger), *words):
            assert word in site.tail(3), site.tail(3)
        assert ledger.read_bytes() == before
        found = site.cli("doctor", expect=1)["findings"]
        assert any(f["level"] == "fault" and str(ledger) in f["what"] for f in found), found
        assert site.cli("status", expect=3)["error"]["reason"] == reason

    pages = bytearray(whole)
    for page in range(4096, len(pages), 3 * 4096):
        pages[page : page + 64] = b"\xff" * 64
    ledger.write_bytes(pages)
    site.start(ready=False)
    assert site.ended() == 3
    assert "restore a backup" in site.tail(3)
    assert ledger.read_bytes() == bytes(pages), "never made anew in silence"
    assert any(f["level"] == "fault" for f in site.cli("doctor", expect=1)["findings"])

    ledger.write_bytes(b"no ledger at all" * 400)
    refused("corrupt", "restore a backup")

    ledger.write_bytes(whole)
    with closing(sqlite3.connect(ledger)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    refused("newer_schema", "9999")

    ledger.unlink()
    site.start(ready=False)
    assert site.ended() == 3
    assert "versions" in site.tail(3)
    assert not ledger.exists()

    ledger.write_bytes(whole)
    site.start()
    assert site.stop() == 0


# --- locked --------------------------------------------------------------------------------------------------------


def test_a_ledger_that_another_program_holds_is_waited_for_and_no_wish_or_file_is_lost(warm: Make) -> None:
    site = warm(triggers="{new_data: {rows: 250}}").start()
    held, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with closing(sqlite3.connect(site.state.root / NAME, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            held.set()
            let_go.wait(60)
            other.execute("ROLLBACK")

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert held.wait(10)
        drop(site.inbox, "more.parquet", rows(300, seed=2, first_id=400))
        site.send(signal.SIGUSR1)
        reply = ask(site, "k")  # waits for some seconds, not for ever
        assert (reply.status_code, reply.json()["reason"]) == (503, "locked")
        site.wait(
            lambda: "signal.not_recorded" in site.log.read_text(), "the signal could not be recorded yet"
        )
        assert site.http("GET", "/api/v1/models/m").status_code == 200, "whoever only reads is answered"
    finally:
        let_go.set()
        holder.join()
    site.wait(lambda: "signal.acknowledged" in site.log.read_text(), "the signal is recorded")
    site.wait(lambda: site.settled() and len(site.runs()) >= 2, "file and wish are dealt with")
    assert [b.status.value for b in site.batches()] == ["accepted", "accepted"]
    assert site.runs()[1].state == "succeeded"
    assert site.http("GET", "/healthz").status_code == 200
    assert site.stop() == 0


class closing_rig:  # noqa: N801  (reads like contextlib's closing)
    """Kills what still runs, so that its disk can be taken away."""

    def __init__(self, site: Rig) -> None:
        self._site = site

    def __enter__(self) -> Rig:
        return self._site

    def __exit__(self, *_: object) -> None:
        if self._site.process is not None and self._site.process.poll() is None:
            self._site.kill()


def test_disks_are_taken_away(tmp_path: Path) -> None:
    with disk(tmp_path) as made:
        assert isinstance(made, Disk)
        assert os.path.ismount(made.place)
    assert not os.path.ismount(made.place)
