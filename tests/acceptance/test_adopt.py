"""An existing model comes under care, as the documentation says, by the real command: daemon up and daemon down."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from sklearn.dummy import DummyClassifier

from ct_daemon import load_champion
from ct_daemon.scan.stored import load_baseline
from ct_daemon.testing import drop, rows
from tests.acceptance.rig import CONFIG, REPOSITORY, Rig
from tests.acceptance.test_own_trainers import config, example, right, with_program

Make = Callable[..., Rig]

pytestmark = pytest.mark.timeout(180)

PAGE = (REPOSITORY / "docs" / "how-to" / "adopt.md").read_text(encoding="utf-8")


def saved_as_documented(folder: Path) -> Path:
    """A model made by the example of the page, outside of the daemon."""
    (block,) = re.findall(r"^ *```python\n(.*?)^ *```", PAGE, flags=re.MULTILINE | re.DOTALL)
    pq.write_table(rows(400, seed=1), folder / "history.parquet")
    (folder / "save_model.py").write_text(textwrap.dedent(block))
    subprocess.run([sys.executable, "save_model.py"], cwd=folder, check=True, timeout=60)
    return folder / "model.skops"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    pq.write_table(rows(200, seed=9, first_id=9000), folder / "reference.parquet")
    return folder


def assert_under_care(site: Rig, count: int = 1) -> Any:
    """The adopted model is version 1, with a baseline of the reference rows and its quality on all of them."""
    runs = site.runs()
    assert [(run.trigger, run.state, run.reason) for run in runs] == [("adopt", "succeeded", None)], runs
    (run,) = runs
    assert site.champion() == 1
    gate = run.results["gate"]
    assert (gate["reason"], gate["candidate"]["rows"]) == ("first_version", 200)
    assert gate["candidate"]["low"] < gate["candidate"]["value"] < gate["candidate"]["high"]
    with site.store() as store, store.read() as tx:
        (version,) = store.versions.list(tx, "m")
        reference = [batch for batch in store.batches.list(tx, "m") if batch.source == "reference"]
    assert version.quality is not None
    assert version.quality.rows == 200
    assert [batch.rows for batch in reference] == [200] * count
    baseline = load_baseline(site.state.root / version.path / "baseline.json", version.baseline_digest)
    assert sum(block.rows for block in baseline.blocks) == 200
    assert set(baseline.merge().columns) == {"a", "b", "c", "d"}
    return run


def test_a_model_is_adopted_scores_and_is_retrained(rig: Make, elsewhere: Path) -> None:
    artifact = saved_as_documented(elsewhere)
    site = rig().start()
    arguments = ("--artifact", str(artifact), "--reference", str(elsewhere / "reference.parquet"))
    reply = site.cli("adopt", "m", *arguments, "--wait", "--note", "from the old platform")
    assert (reply["verdict"], reply["ended"]["state"], reply["ended"]["version"]) == ("start", "succeeded", 1)
    run = assert_under_care(site)
    assert run.results["gate"]["candidate"]["value"] > 0.75
    explained = site.cli("explain", str(run.decision_seq))
    assert (explained["rule"], explained["verdict"]) == ("demanded", "start")
    assert "adopt a model" in explained["reason"]

    batch = rows(300, seed=2, first_id=400)
    drop(site.inbox, "second.parquet", batch)
    (path,) = site.wait(lambda: list((site.state.root / "predictions").rglob("*.parquet")), "it is scored")
    found = [str(value) for value in pq.read_table(path)["prediction"].to_pylist()]
    champion = load_champion(site.state.deploy / "m" / "champion")
    assert found == [str(value) for value in champion.predict(batch)]
    assert right(batch, found) > 0.75
    assert (champion.version, champion.loaded.manifest["trainer"]) == (1, {"adopted": True})

    again = site.cli("adopt", "m", *arguments, expect=6)
    assert again["error"]["reason"] == "version_live"
    site.cli("trigger", "m")
    second = site.wait(lambda: site.run_ended(count=2), "the second run ended")[1]
    assert (second.trigger, second.state, site.champion()) == ("on_demand", "succeeded", 2), second
    assert second.results["gate"]["champion"]["rows"] >= 30
    assert site.cli("rollback", "m")["version"] == 1
    assert site.stop() == 0


def test_with_the_daemon_down_the_next_start_adopts_before_it_trains(rig: Make, elsewhere: Path) -> None:
    artifact = saved_as_documented(elsewhere)
    site = rig()
    drop(site.inbox, "first.parquet", rows(400, seed=1))  # enough for a first training
    arguments = ("--artifact", str(artifact), "--reference", str(elsewhere / "reference.parquet"))
    reply = site.cli("adopt", *arguments)
    assert (reply["verdict"], reply["run"], reply["new"]) == ("spooled", None, True)
    same = site.cli("adopt", *arguments)
    assert (same["id"], same["new"]) == (reply["id"], False)
    artifact.unlink()  # the copy counts
    site.start()
    site.wait(lambda: site.run_ended(count=1), "the run ended")
    site.wait(site.settled, "all is dealt with")
    run = assert_under_care(site)
    with site.store() as store, store.read() as tx:
        assert [demand.id for demand in store.demands.served_by(tx, "m", run.id)] == [reply["id"]]
    assert not list((site.state.root / "spool").iterdir())
    assert site.stop() == 0


def test_a_model_that_a_program_asks_is_adopted(rig: Make, elsewhere: Path) -> None:
    site = rig(config=config("command: {run: [./midpoint.sh], format: csv}"))
    with_program(site, "midpoint.sh", example("# midpoint.sh")).start()
    artifact = elsewhere / "old-model.txt"
    artifact.write_text("0.1\n")
    reply = site.cli(
        "adopt", "--artifact", str(artifact), "--reference", str(elsewhere / "reference.parquet"), "--wait"
    )
    assert reply["ended"]["state"] == "succeeded"
    manifest = json.loads((site.state.deploy / "m" / "champion" / "version.json").read_text())
    assert manifest["predictor"]["argv"] == ["./midpoint.sh"]
    assert "model/old-model.txt" in manifest["files"]
    assert_under_care(site)
    assert site.stop() == 0


def test_what_can_not_be_adopted_is_told_and_changes_nothing(rig: Make, elsewhere: Path) -> None:
    site = rig(config=CONFIG.replace("{margin: 0.05}", "{floor: 0.99}")).start()
    reference = elsewhere / "reference.parquet"

    def refused(artifact: Path, code: int, rows_in: Path = reference) -> str:
        arguments = ("--artifact", str(artifact), "--reference", str(rows_in), "--wait")
        return str(site.cli("adopt", "m", *arguments, expect=code)["error"]["reason"])

    mark = elsewhere / "mark"
    disguised = elsewhere / "disguised.skops"
    disguised.write_bytes(pickle.dumps(Exploit(mark)))
    assert refused(disguised, 8) == "unreadable"
    unlabelled = elsewhere / "unlabelled.parquet"
    pq.write_table(rows(100, seed=3, labelled=False), unlabelled)
    assert refused(disguised, 7, unlabelled) == "target_missing"
    assert refused(saved_as_documented(elsewhere), 8) == "below_floor"
    assert not mark.exists()
    assert site.champion() is None
    ends = [(run.trigger, run.state) for run in site.runs()]
    assert ends == [("adopt", "failed"), ("adopt", "rejected")]
    assert site.stop() == 0


class Exploit(DummyClassifier):
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)
