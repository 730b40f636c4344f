"""Scoring: a version is verified once, kept while it is used, and its answers are held to account."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import LogisticRegression

from ct_daemon.artifacts import FORMAT, MODEL, LoadedVersion, save_model
from ct_daemon.errors import ArtifactError, ContractError
from ct_daemon.manifests import write_manifest
from ct_daemon.protocols import VersionFiles
from ct_daemon.scoring.predict import Scorer, predict_frame, write_predictions
from ct_daemon.types import Columns, Task

FRAME = pd.DataFrame({"a": [-2.0, -1.0, 1.0, 2.0]})


def published(folder: Path, version: int, *, task: Task = Task.REGRESSION) -> VersionFiles:
    """A version of one feature: `hi` above 0, or ten times the number of the version."""
    place = folder / f"v{version}"
    place.mkdir()
    if task is Task.CLASSIFICATION:
        model = LogisticRegression().fit(FRAME, np.array(["lo", "lo", "hi", "hi"], dtype=object))
    else:
        model = DummyRegressor(strategy="constant", constant=10.0 * version).fit(FRAME, FRAME["a"])
    save_model(model, place / MODEL)
    digest = write_manifest(place, {"format": FORMAT, "features": {"a": "numeric"}, "task": task.value})
    return VersionFiles(version=version, path=str(place), digest=digest)


class Answers:
    """A model that gives the answer that it was made with, or raises it."""

    def __init__(self, answer):
        self.answer = answer

    def predict(self, frame):
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


def answer(value, task=Task.REGRESSION):
    loaded = LoadedVersion(version=4, manifest={"task": task.value}, model=Answers(value))
    return predict_frame(loaded, FRAME)


def test_rows_get_the_answers_of_the_version(tmp_path):
    files = published(tmp_path, 1, task=Task.CLASSIFICATION)
    found = Scorer().predict(files, pa.table({"other": ["?", "?"], "a": [-1.5, 1.5]}))
    assert found.tolist() == ["lo", "hi"]


def test_a_loaded_version_does_not_need_its_files_again(tmp_path):
    files, table = published(tmp_path, 1), pa.table({"a": [0.0]})
    scorer = Scorer()
    assert scorer.predict(files, table).tolist() == [10.0]
    shutil.rmtree(files.path)
    assert scorer.predict(files, table).tolist() == [10.0]


def test_the_version_used_longest_ago_makes_room(tmp_path):
    first, second, third = (published(tmp_path, n) for n in (1, 2, 3))
    scorer, table = Scorer(capacity=2), pa.table({"a": [0.0]})
    for files in (first, second, first, third):
        scorer.predict(files, table)
    for files in (first, second, third):
        shutil.rmtree(files.path)
    assert scorer.predict(first, table).tolist() == [10.0]
    assert scorer.predict(third, table).tolist() == [30.0]
    with pytest.raises(ArtifactError) as error:
        scorer.predict(second, table)
    assert error.value.reason == "file_missing"


def test_an_altered_version_is_refused_and_not_kept(tmp_path):
    files, scorer = published(tmp_path, 1), Scorer()
    path = Path(files.path) / MODEL
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    for _ in range(2):
        with pytest.raises(ArtifactError) as error:
            scorer.version(files)
        assert error.value.reason == "digest_mismatch"
    path.write_bytes(good)
    assert scorer.version(files).version == 1


def test_rows_without_a_feature_are_refused(tmp_path):
    with pytest.raises(ContractError) as error:
        Scorer().predict(published(tmp_path, 1), pa.table({"b": [0.0]}))
    assert error.value.reason == "columns_missing"


@pytest.mark.parametrize(
    ("value", "task", "reason"),
    [
        (ValueError("no"), Task.REGRESSION, "scoring_failed"),
        (ZeroDivisionError(), Task.CLASSIFICATION, "scoring_failed"),
        (np.zeros(3), Task.REGRESSION, "scoring_failed"),
        (np.zeros((4, 1)), Task.REGRESSION, "scoring_failed"),
        (np.array([1.0, np.nan, 1.0, 1.0]), Task.REGRESSION, "nan_prediction"),
        (np.array([1.0, -np.inf, 1.0, 1.0]), Task.REGRESSION, "nan_prediction"),
        (np.array([1.0, 1e39, 1.0, 1.0]), Task.REGRESSION, "nan_prediction"),
        (np.array(["x", None, "x", "x"], dtype=object), Task.CLASSIFICATION, "nan_prediction"),
        (np.array(["x", "", "x", "x"], dtype=object), Task.CLASSIFICATION, "nan_prediction"),
        (np.array([1.0, np.nan, 1.0, 1.0]), Task.CLASSIFICATION, "nan_prediction"),
    ],
)
def test_an_answer_that_cannot_be_used_says_why(value, task, reason):
    with pytest.raises(ArtifactError, match="version 4") as error:
        answer(value, task)
    assert error.value.reason == reason


def test_running_out_of_memory_is_not_the_models_fault():
    with pytest.raises(MemoryError):
        answer(MemoryError())


@pytest.mark.parametrize("value", [np.array(["x", "y", "x", "y"], dtype=object), np.array([0, 1, 0, 1])])
def test_usable_answers_are_handed_on_as_they_are(value):
    assert answer(value, Task.CLASSIFICATION).tolist() == value.tolist()


@pytest.mark.parametrize(
    "ids", [pa.array(["r1", "r2"]), pa.array([2**63 + 1, 5], pa.uint64())], ids=["text", "uint64"]
)
def test_predictions_rest_by_row_id(tmp_path, ids):
    path = tmp_path / "p.parquet"
    table = pa.table({"key": ids, "a": [0.0, 1.0]})
    write_predictions(table, np.array(["x", "y"], dtype=object), Columns(target="t", row_id="key"), path)
    assert pq.read_table(path).to_pydict() == {"row_id": ids.to_pylist(), "prediction": ["x", "y"]}


def test_without_a_row_id_the_place_in_the_file_is_the_id(tmp_path):
    path = tmp_path / "p.parquet"
    for _ in range(2):
        write_predictions(pa.table({"a": [0.5, 1.5]}), np.array([3.0, 4.0]), Columns(target="t"), path)
    written = pq.read_table(path)
    assert written.schema.field("row_id").type == pa.int64()
    assert written.to_pydict() == {"row_id": [0, 1], "prediction": [3.0, 4.0]}
    assert [p.name for p in tmp_path.iterdir()] == ["p.parquet"]
