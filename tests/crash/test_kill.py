"""kill -9 at any moment: nothing acknowledged is lost, nothing is done twice, nobody is left behind.

`CT_DAEMON_KILLS` sets how often (default 30); `scripts/torture` runs the long form.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from http.client import HTTPException
from pathlib import Path

import pytest

from ct_daemon import failpoints
from ct_daemon.testing import drop, rows
from tests.acceptance.rig import CONFIG, Rig
from tests.crash.invariants import check, children_of

KILLS = int(os.environ.get("CT_DAEMON_KILLS", "30"))
SEED = int(os.environ.get("CT_DAEMON_KILL_SEED", "20261123"))

SWEPT = ("-m", "ct_daemon") if os.environ.get("CT_DAEMON_REAL_SWEEP") else ("tests/crash/quick_daemon.py",)
"""The sweep crashes a daemon with stand-ins for its child processes; the long form a real one."""

CRASHING = CONFIG.replace("limits: {", "limits: {attempts: 20, ").replace(
    "first: 1s, longest: 2s", "first: 0, longest: 0"
)


class Clients:
    """Clients that ask for runs over and over, and repeat with the same key until they are answered."""

    def __init__(self, site: Rig) -> None:
        self._site = site
        self._stop = threading.Event()
        self.acknowledged: set[str] = set()
        self._thread = threading.Thread(target=self._ask_for_ever)

    def __enter__(self) -> Clients:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _ask_for_ever(self) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            key = f"k-{number}"
            while not self._stop.is_set() and not self._ask(key):
                self._stop.wait(0.03)
            self._stop.wait(0.1)

    def _ask(self, key: str) -> bool:
        try:
            reply = self._site.http("POST", "/api/v1/models/m/runs", {}, **{"Idempotency-Key": key})
        except (HTTPException, OSError):
            return False
        if reply.status_code == 202:
            self.acknowledged.add(key)
            return True
        return False


def gone(site: Rig) -> bool:
    return not children_of(site.state.root)


@pytest.mark.timeout(max(240, KILLS * 10))
def test_random_kills_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    random_moment = random.Random(SEED)
    site = Rig(tmp_path / "site", config=CRASHING, triggers="{new_data: {rows: 200}}")
    files: set[str] = set()
    states: set[str] = set()
    with Clients(site) as clients:
        for number in range(KILLS):
            site.start(ready=False)
            name = f"rows-{number:04d}.parquet"
            drop(site.inbox, name, rows(120 if number else 400, seed=number, first_id=number * 1000))
            files.add(name)
            # From before it is ready to the middle of a training.
            time.sleep(random_moment.uniform(0.3, 3.5))
            site.kill()
            states |= {run.state for run in site.runs()[-1:]}
            site.wait(lambda: gone(site), "no child outlives the daemon", timeout=2)
        site.start()
        site.wait(lambda: len(clients.acknowledged) > 1, "somebody was answered")
    settle(site)
    check(site.state.root, acknowledged=clients.acknowledged, files=files)
    assert len(clients.acknowledged) > KILLS / 3, "too few were answered for the test to mean anything"
    assert site.champion() is not None
    assert site.stop() == 0
    found = f"{len(clients.acknowledged)} acknowledged, {len(site.runs())} runs, killed in {sorted(states)}"
    print(f"{KILLS} kills: {found}")


def settle(site: Rig) -> None:
    """Until nothing waits and nothing runs."""

    def quiet() -> bool:
        with site.store() as store, store.read() as tx:
            return not store.runs.all_active(tx) and not store.demands.pending(tx, "m")

    site.wait(quiet, "the daemon settles", timeout=120)


@pytest.mark.timeout(240)
def test_the_suite_catches_a_daemon_that_acknowledges_before_it_commits(tmp_path: Path) -> None:
    site = Rig(tmp_path / "site", config=CRASHING, program=("tests/crash/sabotaged.py",))
    with Clients(site) as clients:
        for _ in range(4):
            site.start()
            before = len(clients.acknowledged)
            site.wait(lambda before=before: len(clients.acknowledged) > before + 1, "somebody was answered")
            site.kill()
    honest = Rig(tmp_path / "site", config=CRASHING).start()
    settle(honest)
    with pytest.raises(AssertionError, match="acknowledged demands are lost"):
        check(site.state.root, acknowledged=clients.acknowledged, files=set())
    assert honest.stop() == 0


# The order in which one story passes them; each kills the daemon once, and the next start goes on from there.
TAKING = ("tick.begin", "file.staged", "batch.stored", "batch.recorded", "decision.recorded")
RUNNING = (
    "run.claimed",
    "snapshot.written",
    "snapshot.recorded",
    "validated.recorded",
    "trained",
    "trained.recorded",
    "evaluated",
    "evaluated.recorded",
    "version.reserved",
    "artifact.copied",
    "artifact.renamed",
    "version.recorded",
    "deployment.recorded",
    "alias.linked",
    "alias.switched",
    "deployed.recorded",
    "verified",
    "verified.recorded",
)
LATER = ("window.recorded", "outcome.recorded", "demand.recorded", "demand.answered")
ROLLBACK = ("rollback.recorded", "rollback.switched")
SPOOL = ("spool.renamed", "spool.recorded")
RETENTION = ("retention.recorded",)


def test_the_sweep_walks_every_failpoint() -> None:
    assert sorted(TAKING + RUNNING + LATER + ROLLBACK + SPOOL + RETENTION) == sorted(failpoints.NAMES)


def dies_at(site: Rig, failpoint: str) -> None:
    """The daemon was started with this failpoint armed and must have reached it."""
    assert site.process is not None
    code = site.process.wait(60)
    assert code == -9, f"{failpoint}: ended with {code}\n{site.tail()}"
    site.wait(lambda: gone(site), "no child outlives the daemon", timeout=2)


@pytest.mark.timeout(300)
def test_a_crash_at_every_failpoint_costs_nothing(tmp_path: Path) -> None:
    config = CRASHING.replace(
        "    training:", "    labels: {folder: labels, settle: 200ms, rescan: 500ms}\n    training:"
    ).replace("limits: {", "retention: {versions: 2, decisions: 10, windows: 10}\nlimits: {")
    site = Rig(tmp_path / "site", config=config, program=SWEPT)
    labels = site.folder / "labels"
    labels.mkdir()
    table = rows(400, seed=1)
    drop(labels, "labels-1.parquet", table.select(["row_id", "y"]))
    drop(site.inbox, "rows-1.parquet", table.drop_columns(["y"]))
    acknowledged: set[str] = set()
    for name in TAKING + RUNNING:
        site.start(ready=False, CT_DAEMON_FAILPOINT=name)
        dies_at(site, name)
    site.start()
    settle(site)
    check(site.state.root, acknowledged=acknowledged, files={"rows-1.parquet", "labels-1.parquet"})
    assert len(site.runs()) == 1, "one story, one run"
    assert site.champion() == 1
    assert site.stop() == 0

    later = rows(300, seed=2, first_id=400)
    drop(site.inbox, "rows-2.parquet", later.drop_columns(["y"]))
    site.start(ready=False, CT_DAEMON_FAILPOINT="window.recorded")
    dies_at(site, "window.recorded")
    drop(labels, "labels-2.parquet", later.select(["row_id", "y"]))
    site.start(ready=False, CT_DAEMON_FAILPOINT="outcome.recorded")
    dies_at(site, "outcome.recorded")
    for name in ("demand.recorded", "demand.answered"):
        site.start(CT_DAEMON_FAILPOINT=name)
        with pytest.raises((HTTPException, OSError)):
            site.http("POST", "/api/v1/models/m/runs", {}, **{"Idempotency-Key": name})
        dies_at(site, name)
        acknowledged.add(name)  # it was in the ledger when the daemon died, so it must be served
    site.start()
    settle(site)
    newest = site.champion()
    assert newest in (2, 3), "the two demands were served by one run or by two"
    assert site.stop() == 0

    site.start(CT_DAEMON_FAILPOINT="rollback.recorded")
    with pytest.raises((HTTPException, OSError)):
        site.http("POST", "/api/v1/models/m/rollback", {})
    dies_at(site, "rollback.recorded")
    site.start(ready=False, CT_DAEMON_FAILPOINT="rollback.switched")  # the start finishes what was begun
    dies_at(site, "rollback.switched")
    site.start()
    check(
        site.state.root,
        acknowledged=acknowledged,
        files={"rows-1.parquet", "labels-1.parquet", "rows-2.parquet", "labels-2.parquet"},
    )
    assert site.champion() == newest - 1
    assert site.stop() == 0

    spooled = subprocess.run(
        [sys.executable, "-m", "ct_daemon", "trigger", "m", "--key", "spooled", "-c", str(site.config)],
        env=os.environ | {"CT_DAEMON_FAILPOINT": "spool.renamed"},
        timeout=60,
    )
    assert spooled.returncode == -9
    acknowledged.add("spooled")
    site.start(ready=False, CT_DAEMON_FAILPOINT="spool.recorded")
    dies_at(site, "spool.recorded")
    site.start()
    settle(site)
    assert site.stop() == 0
    site.start(ready=False, CT_DAEMON_FAILPOINT="retention.recorded")
    dies_at(site, "retention.recorded")
    site.start()
    settle(site)
    check(
        site.state.root,
        acknowledged=acknowledged,
        files={"rows-1.parquet", "labels-1.parquet", "rows-2.parquet", "labels-2.parquet"},
    )
    assert site.stop() == 0
