"""What was committed before a kill -9 is there; what was not is not."""

from __future__ import annotations

import signal
import subprocess
import sys

from ct_daemon.store.store import NAME, Store

WRITER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from ct_daemon.store.store import Store
from ct_daemon.types import Demand

store = Store.open(Path(sys.argv[1]))
at = datetime(2026, 3, 1, tzinfo=UTC)
number = 0
while True:
    number += 1
    with store.write() as tx:
        for half in "ab":  # both halves of a pair or none
            id = f"{number}{half}"
            store.demands.add(tx, Demand(id=id, model="m", origin="cli", dedupe_key=id, force=False, asked_at=at))
    print(number, flush=True)
"""

HALF_DONE = """
import os, signal, sys
from pathlib import Path
from ct_daemon.store.store import Store

store = Store.open(Path(sys.argv[1]))
with store.write() as tx:
    store.models.ensure(tx, ["committed"])
with store.write() as tx:
    store.models.ensure(tx, ["not committed"])
    os.kill(os.getpid(), signal.SIGKILL)
"""


def _pending(store):
    with store.read() as tx:
        return {demand.id for demand in store.demands.pending(tx, "m")}


def test_kill_9_between_commits_keeps_all_that_was_acknowledged(tmp_path):
    acknowledged = 0
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        while int(process.stdout.readline()) < acknowledged + 20:
            pass
        process.kill()
        rest, _ = process.communicate()
        acknowledged = max(
            [acknowledged + 20, *(int(line) for line in rest.splitlines(keepends=True) if "\n" in line)]
        )
        wal = (tmp_path / f"{NAME}-wal").read_bytes()
        with Store.open_readonly(tmp_path) as reader:
            found = _pending(reader)
        assert (
            (tmp_path / f"{NAME}-wal").read_bytes() == wal != b""
        )  # readers never checkpoint, not even at the end
        assert {f"{number}{half}" for number in range(1, acknowledged + 1) for half in "ab"} <= found
        assert len(found) in (2 * acknowledged, 2 * acknowledged + 2)
        with Store.open(tmp_path) as store:
            assert _pending(store) == found


def test_kill_9_inside_a_transaction_undoes_it(tmp_path):
    process = subprocess.run([sys.executable, "-c", HALF_DONE, str(tmp_path)], check=False)
    assert process.returncode == -signal.SIGKILL
    with Store.open(tmp_path) as store, store.read() as tx:
        assert [state.model for state in store.models.all(tx)] == ["committed"]
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
