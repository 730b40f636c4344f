"""Estimators made of types of the user's, and models made elsewhere: what is asked where, and by which columns."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression

from ct_daemon import adopting
from ct_daemon.artifacts import AskedModel, load_version
from ct_daemon.errors import ArtifactError
from ct_daemon.scoring.champion import load_champion
from ct_daemon.testing import rows
from ct_daemon.types import Run
from tests.integration.pipeline_rig import Site

OWN = """
import os
from sklearn.dummy import DummyClassifier

class Mine(DummyClassifier):
    def predict(self, X):
        assert list(X.columns) == list(self.feature_names_in_)
        return ["1" if a > 0 else "0" for a in X["a"]]

def train(data):
    return Mine().fit(data.features[["b", "a"]], data.target)
"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    one = Site(tmp_path)
    yield one
    one.close()


def test_a_type_of_the_users_lives_in_processes_of_its_own(site: Site) -> None:
    (site.code / "own_types.py").write_text(OWN)
    trusted = {"function": "own_types:train", "path": str(site.code), "trusted_types": ["own_types.Mine"]}
    site.train_with(python=trusted)
    site.arrive("first.parquet", rows(200, seed=1))
    run = site.ended()
    assert (run.state, run.reason) == ("succeeded", None), run.detail
    files = site.target.shelf["m"]
    version = load_version(files, bounds=site.worker.bounds)
    assert isinstance(version.model, AskedModel)
    assert version.manifest["predictor"] == {
        "kind": "skops",
        "path": str(site.code),
        "trusted_types": ["own_types.Mine"],
    }
    fresh = rows(50, seed=2, first_id=200)
    site.arrive("second.parquet", fresh)
    (path,) = (site.folders.root / "predictions").rglob("*.parquet")
    expected = ["1" if a > 0 else "0" for a in fresh["a"].to_pylist()]
    assert pq.read_table(path)["prediction"].to_pylist() == expected
    assert "own_types" not in sys.modules

    with pytest.raises(ArtifactError) as caught:
        load_champion(files.path)
    assert caught.value.reason == "own_code"
    champion = load_champion(files.path, run_own_code=True)
    assert champion.predict(fresh).tolist() == expected
    artifact = Path(files.path) / "model.skops"
    artifact.write_bytes(artifact.read_bytes() + b" ")
    with pytest.raises(ArtifactError) as caught:
        champion.predict(fresh)
    assert caught.value.reason == "digest_mismatch"


def adopted(site: Site, model: Any, columns: list[str] | None = None) -> Run:
    skops.io.dump(model, site.folder / "model.skops")
    table = rows(120, seed=5)
    pq.write_table(table if columns is None else table.select(columns), site.folder / "reference.parquet")
    digest = adopting.stage(site.folders, site.folder / "model.skops", [site.folder / "reference.parquet"])
    ticket = site.control.adopt("m", digest, origin="cli")
    assert ticket.demand.run_id is not None
    return site.ended(ticket.demand.run_id)


def fitted(*names: str, named: bool = True) -> Any:
    frame = rows(300, seed=1).to_pandas().assign(b=lambda f: f["b"].fillna(0.0))
    known = frame[list(names)] if named else frame[list(names)].to_numpy()
    return LogisticRegression().fit(known, frame["y"])


def test_an_adopted_model_gets_its_columns_in_its_own_order(site: Site) -> None:
    run = adopted(site, fitted("d", "a"))
    assert (run.state, run.trigger) == ("succeeded", "adopt"), run.detail
    assert run.results["gate"]["candidate"]["value"] > 0.8
    assert run.results["gate"]["candidate"]["rows"] == 120
    fresh = rows(60, seed=7, first_id=900)
    found = load_champion(site.target.shelf["m"].path).predict(fresh)
    assert np.mean(found == np.asarray(fresh["y"])) > 0.8


@pytest.mark.parametrize(
    ("names", "named", "columns", "reason"),
    [
        (["a", "row_id"], True, None, "features_missing"),
        (["a", "d"], False, None, "features_unnamed"),
        (["a", "b"], True, None, "scoring_failed"),  # it can't do with gaps
    ],
)
def test_a_model_that_can_not_be_asked_is_not_adopted(
    site: Site, names: list[str], named: bool, columns: list[str] | None, reason: str
) -> None:
    run = adopted(site, fitted(*names, named=named), columns)
    assert (run.state, run.reason) == ("failed", reason), run.detail
    assert site.live() is None


def test_a_crash_in_the_middle_of_an_adoption_costs_nothing(site: Site) -> None:
    skops.io.dump(fitted("a", "d"), site.folder / "model.skops")
    pq.write_table(rows(120, seed=5), site.folder / "reference.parquet")
    digest = adopting.stage(site.folders, site.folder / "model.skops", [site.folder / "reference.parquet"])
    site.executor.stop(0.0, interrupt=lambda: None)  # the wish is recorded, and nobody works on it
    ticket = site.control.adopt("m", digest, origin="cli")
    assert ticket.verdict == "start"
    site.restart()
    run = site.ended(ticket.demand.run_id)
    assert (run.state, site.live()[0]) == ("succeeded", 1), run.detail  # type: ignore[index]
