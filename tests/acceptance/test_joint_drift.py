"""Drift that no column shows by itself, and what a version says: the real command on files and under a daemon."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ct_daemon.testing import drop, rows
from tests.acceptance.rig import CONFIG, Rig

Make = Callable[..., Rig]

pytestmark = pytest.mark.timeout(240)


def paired(count: int, *, seed: int, first_id: int = 0, turned: bool = False) -> pa.Table:
    """Rows whose `b` goes with `a`, or against it; each by itself is as ever."""
    table = rows(count, seed=seed, first_id=first_id)
    random = np.random.default_rng(seed + 1000)
    a = table["a"].to_numpy()
    b = 0.9 * a * (-1 if turned else 1) + np.sqrt(1 - 0.81) * random.normal(size=count)
    return table.set_column(table.column_names.index("b"), "b", pa.array(b))


def drift(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ct_daemon", "drift", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_the_command_compares_files_by_all_their_columns_together(tmp_path: Path) -> None:
    old = str(drop(tmp_path, "old.parquet", paired(500, seed=1)))
    new = str(drop(tmp_path, "-new.parquet", paired(300, seed=2, first_id=500, turned=True)))
    without = ("--ignore", "row_id", "--ignore", "at")
    done = drift("--joint", *without, "--json", "--", old, new)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found["columns"]["a"]["verdict"] == found["columns"]["b"]["verdict"] == "calm"
    joint = found["joint"]
    assert joint["verdict"] == "moved"
    assert joint["statistics"]["auc"]["low"] > 0.8
    assert {one["column"] for one in joint["leaned_on"]} == {"a", "b"}
    refused = drift(old, new, *without)
    assert refused.returncode == 2
    assert "--ignore is for --joint" in refused.stderr


def test_a_window_that_a_classifier_tells_from_the_rows_trained_on_retrains(rig: Make) -> None:
    config = CONFIG.replace("drift: {window_rows: 200}", "drift: {window_rows: 200, joint: true}")
    site = rig(config=config, triggers="{concept_drift: {psi: null, ks: null, joint: 0.6}}").start()
    drop(site.inbox, "first.parquet", paired(400, seed=1))
    site.wait(lambda: site.run_ended(count=1), "the first run ended")
    drop(site.inbox, "calm.parquet", paired(200, seed=2, first_id=400))
    site.wait(lambda: len(site.batches()) == 2 and site.settled(), "the calm rows are dealt with")
    [model] = site.cli("status")["models"]
    report = model["last_window"]["report"]
    assert report["joint"]["reason"] is None
    assert report["joint"]["low"] < 0.6
    assert {score["column"]: score["role"] for score in report["columns"]} == {
        "a": "feature",
        "b": "feature",
        "c": "feature",
        "d": "feature",
        "y": "target",
        "prediction": "prediction",
    }
    assert all(score["statistics"]["psi"]["value"] is not None for score in report["columns"])
    told = next(t for t in site.cli("explain", "m")["triggers"] if t["trigger"] == "concept_drift")
    assert "all columns together AUC" in told["reason"]
    assert len(site.runs()) == 1, "no drift, no run"
    drop(site.inbox, "turned.parquet", paired(200, seed=3, first_id=600, turned=True))
    second = site.wait(lambda: site.run_ended(count=2), "the second run ended")[1]
    assert second.trigger == "concept_drift"
    explained = site.cli("explain", str(second.decision_seq))
    assert explained["drift"]["joint"]["low"] >= 0.6
    assert {name for name, _ in explained["drift"]["joint"]["leaned_on"]} >= {"a", "b"}
    [sample] = (site.state.root / "samples" / "m").iterdir()
    assert sample.suffix == ".parquet"
    assert site.stop() == 0
