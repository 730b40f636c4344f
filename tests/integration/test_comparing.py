"""Windows of stored batches against a baseline."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ct_daemon.errors import ArtifactError, SourceError, StateError
from ct_daemon.scan.stored import load_baseline
from ct_daemon.workers.baselines import Baselines
from ct_daemon.workers.comparing import Comparer
from tests.integration.rig import COLUMNS, comparison, rows, without


def test_moved_rows_show_in_the_report_and_the_profile_is_kept(shop, trained):
    objects = [shop.stored(rows(100, start=s, seed=s, shift=2.0)) for s in (1000, 2000)]
    path = shop.path("profile.json")
    report = Comparer().compare(comparison(trained, *objects, profile_path=str(path)))
    assert report.window_rows == 200
    assert {score.column for score in report.columns} == {"a", "b"}
    moved = {score.column: score.statistics["psi"].value for score in report.columns}
    assert moved["a"] > 0.5 > moved["b"]
    kept = load_baseline(path, hashlib.sha256(path.read_bytes()).hexdigest())
    assert kept.merge().rows == 200


def test_only_watched_columns_are_compared(shop, trained):
    report = Comparer().compare(comparison(trained, shop.stored(rows(100)), watch=("b", "new")))
    assert [score.column for score in report.columns] == ["b", "new"]
    assert report.columns[1].statistics["psi"].reason == "not_in_baseline"


def test_rows_count_even_where_no_watched_column_is_left(shop, trained):
    columns = replace(COLUMNS, ignore=("b",))
    objects = [shop.stored(without(rows(60), "b"), columns=columns) for _ in range(2)]
    report = Comparer().compare(comparison(trained, *objects, watch=("b",)))
    assert (report.window_rows, report.reason) == (120, "nothing_evaluated")
    assert report.columns[0].statistics["psi"].reason == "column_missing"


def test_a_batch_that_lacks_a_column_by_now_counts_as_missing_there(shop, trained):
    columns = replace(COLUMNS, ignore=("b",))
    objects = shop.stored(rows(100)), shop.stored(without(rows(100), "b"), columns=columns)
    report = Comparer().compare(comparison(trained, *objects))
    missing = {score.column: score.statistics["missing"].value for score in report.columns}
    assert missing == {"a": 0.0, "b": 0.5}


def test_an_altered_baseline_is_refused(trained):
    with pytest.raises(ArtifactError):
        Comparer().compare(replace(comparison(trained, "x"), baseline_digest="0" * 64))


def test_stored_rows_that_are_gone_are_named(trained):
    with pytest.raises(SourceError, match=r"gone\.parquet") as error:
        Comparer().compare(comparison(trained, "gone.parquet"))
    assert error.value.reason == "object_unreadable"


def test_a_column_of_another_kind_in_one_object_is_reported_and_the_others_are_compared(shop, trained):
    for name, values in (("x.parquet", [1.5]), ("y.parquet", ["text"])):
        pq.write_table(pa.table({"a": values, "b": ["red"]}), shop.path(name))
    objects = [str(shop.path(name)) for name in ("x.parquet", "y.parquet")]
    report = Comparer().compare(comparison(trained, *objects * 30))
    assert report.window_rows == 60
    found = {score.column: score.statistics["psi"] for score in report.columns}
    assert found["a"].value is None
    assert found["a"].reason == "kind_changed"
    assert found["b"].value > 0


def test_a_baseline_is_read_once(shop, trained, tmp_path):
    asked = comparison(trained, shop.stored(rows(60)))
    copy = tmp_path / "baseline.json"
    copy.write_bytes(Path(asked.baseline).read_bytes())
    comparer = Comparer()
    first = comparer.compare(replace(asked, baseline=str(copy)))
    copy.unlink()
    assert comparer.compare(replace(asked, baseline=str(copy))) == first
    with pytest.raises(ArtifactError):
        comparer.compare(replace(asked, baseline=str(copy), baseline_digest="0" * 64))


def test_so_many_columns_of_baselines_are_kept_and_no_more(trained):
    asked = comparison(trained, "x")
    for columns, kept in ((2, True), (1, False)):
        baselines = Baselines(columns)
        found = baselines.get(Path(asked.baseline), asked.baseline_digest)
        assert (baselines.get(Path(asked.baseline), asked.baseline_digest) is found) is kept


def test_a_profile_that_cannot_be_written_is_the_disks_fault(shop, trained):
    with pytest.raises(StateError):
        Comparer().compare(
            comparison(trained, shop.stored(rows(60)), profile_path=str(shop.path("no") / "p.json"))
        )
