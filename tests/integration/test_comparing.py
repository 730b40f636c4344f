"""Windows of stored batches against a baseline."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ct_daemon.errors import ArtifactError, ContractError, SourceError, StateError
from ct_daemon.scan.stored import load_baseline
from ct_daemon.workers.comparing import compare
from tests.integration.rig import COLUMNS, comparison, rows, without


def test_moved_rows_show_in_the_report_and_the_profile_is_kept(shop, trained):
    objects = [shop.stored(rows(100, start=s, seed=s, shift=2.0)) for s in (1000, 2000)]
    path = shop.path("profile.json")
    report = compare(comparison(trained, *objects, profile_path=str(path)))
    assert report.window_rows == 200
    assert {score.column for score in report.columns} == {"a", "b"}
    moved = {score.column: score.statistics["psi"].value for score in report.columns}
    assert moved["a"] > 0.5 > moved["b"]
    kept = load_baseline(path, hashlib.sha256(path.read_bytes()).hexdigest())
    assert kept.merge().rows == 200


def test_only_watched_columns_are_compared(shop, trained):
    report = compare(comparison(trained, shop.stored(rows(100)), watch=("b", "new")))
    assert [score.column for score in report.columns] == ["b", "new"]
    assert report.columns[1].statistics["psi"].reason == "not_in_baseline"


def test_rows_count_even_where_no_watched_column_is_left(shop, trained):
    columns = replace(COLUMNS, ignore=("b",))
    objects = [shop.stored(without(rows(60), "b"), columns=columns) for _ in range(2)]
    report = compare(comparison(trained, *objects, watch=("b",)))
    assert (report.window_rows, report.reason) == (120, "nothing_evaluated")
    assert report.columns[0].statistics["psi"].reason == "column_missing"


def test_a_batch_that_lacks_a_column_by_now_counts_as_missing_there(shop, trained):
    columns = replace(COLUMNS, ignore=("b",))
    objects = shop.stored(rows(100)), shop.stored(without(rows(100), "b"), columns=columns)
    report = compare(comparison(trained, *objects))
    missing = {score.column: score.statistics["missing"].value for score in report.columns}
    assert missing == {"a": 0.0, "b": 0.5}


def test_an_altered_baseline_is_refused(trained):
    with pytest.raises(ArtifactError):
        compare(replace(comparison(trained, "x"), baseline_digest="0" * 64))


def test_stored_rows_that_are_gone_are_named(trained):
    with pytest.raises(SourceError, match=r"gone\.parquet") as error:
        compare(comparison(trained, "gone.parquet"))
    assert error.value.reason == "object_unreadable"


def test_stored_rows_of_types_that_do_not_join_are_told(shop, trained):
    for name, values in (("x.parquet", [1.5]), ("y.parquet", ["text"])):
        pq.write_table(pa.table({"a": values}), shop.path(name))
    with pytest.raises(ContractError, match="Field a") as error:
        compare(comparison(trained, str(shop.path("x.parquet")), str(shop.path("y.parquet"))))
    assert error.value.reason == "contract_broken"


def test_a_profile_that_cannot_be_written_is_the_disks_fault(shop, trained):
    with pytest.raises(StateError):
        compare(comparison(trained, shop.stored(rows(60)), profile_path=str(shop.path("no") / "p.json")))
