"""The power goes at any moment: what was promised is on the disk, and no version is half a version.

`CT_DAEMON_CUTS` sets how often (default 8); `scripts/torture` runs the long form.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

from ct_daemon.testing import drop, rows
from tests.acceptance.rig import REPOSITORY, Rig
from tests.crash.disks import CutDisk, cut_disk
from tests.crash.invariants import check
from tests.crash.publisher import faults
from tests.crash.test_kill import CRASHING, Clients, settle

CUTS = int(os.environ.get("CT_DAEMON_CUTS", "8"))
SEED = int(os.environ.get("CT_DAEMON_KILL_SEED", "20261123"))
TRIGGERS = "{new_data: {rows: 200}}"

pytestmark = [pytest.mark.linux, pytest.mark.timeout(max(120, CUTS * 12))]


class Promises:
    """What a publisher has printed, as it prints it."""

    def __init__(self, stream: IO[str]) -> None:
        self.demands: list[str] = []
        self.versions: list[int] = []
        self._stream = stream
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        for line in self._stream:
            kind, number = line.split()
            if kind == "demand":
                self.demands.append(f"d-{number}")
            else:
                self.versions.append(int(number))

    def close(self) -> None:
        self._thread.join()


def cuts_while_publishing(disk: CutDisk, cuts: int, control: str = "") -> list[str]:
    """Cut the power again and again; what was broken each time (nothing, for a publisher without a control)."""
    program = [sys.executable, "tests/crash/publisher.py", str(disk.place / "state"), control]
    moment, broken = random.Random(SEED), []
    with subprocess.Popen(program, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        promises = Promises(process.stdout)
        try:
            until(lambda: len(promises.versions) >= 3 or process.poll() is not None, "the publisher works")
            assert process.poll() is None, f"the publisher ended with {process.returncode}"
            for _ in range(cuts):
                time.sleep(moment.uniform(0.0, 0.05))  # the moment of the cut
                promised = list(promises.demands), list(promises.versions)
                with disk.cut() as after:
                    broken += faults(after / "state", *promised)
            assert process.poll() is None, f"the publisher ended with {process.returncode}"
        finally:
            process.kill()
            promises.close()
    return broken


def until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, f"after 30 s still not: {what}"
        time.sleep(0.005)


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_what_was_promised_survives_power_cuts(tmp_path: Path, kind: str) -> None:
    with cut_disk(tmp_path, mega=400, kind=kind) as disk:
        assert cuts_while_publishing(disk, CUTS) == []


@pytest.mark.parametrize("control", ["no_fsync", "normal"])
def test_the_suite_catches_a_publisher_that_does_not_sync(tmp_path: Path, control: str) -> None:
    with cut_disk(tmp_path) as disk:
        broken = cuts_while_publishing(disk, 16, control)
    signs = {"no_fsync": ("version", "alias"), "normal": ("demand",)}[control]
    assert any(sign in fault for fault in broken for sign in signs), broken


def test_a_daemon_that_loses_its_power_goes_on_where_it_was(tmp_path: Path) -> None:
    moment, cuts = random.Random(SEED), max(3, CUTS // 4)
    files = {"first.parquet"}
    with cut_disk(tmp_path) as disk:
        site = Rig(disk.place / "site", config=CRASHING, triggers=TRIGGERS).start()
        drop(site.inbox, "first.parquet", rows(400, seed=1))
        with Clients(site) as clients:
            site.wait(lambda: site.champion() == 1, "the first model is live")
            for number in range(1, cuts + 1):
                drop(site.inbox, f"rows-{number}.parquet", rows(120, seed=number + 1, first_id=1000 * number))
                time.sleep(moment.uniform(0.2, 1.5))  # the moment of the cut
                acknowledged = set(clients.acknowledged)
                with disk.cut() as after:
                    state = after / "site" / "state"
                    check(state, acknowledged=acknowledged, files=files, idle=False)
                    if number == cuts:
                        site.kill()
                        goes_on(after / "site", acknowledged, files)


def goes_on(folder: Path, acknowledged: set[str], files: set[str]) -> None:
    """A start on what the cut left finishes all that had been promised."""
    again = Rig(folder, config=CRASHING, triggers=TRIGGERS).start()
    try:
        settle(again)
        check(again.state.root, acknowledged=acknowledged, files=files)
        assert again.stop() == 0
    finally:
        again.kill()
