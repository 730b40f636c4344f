"""Snapshots before anything is trained on them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ct_daemon.errors import ArtifactError
from ct_daemon.protocols import ValidateRequest
from ct_daemon.types import BatchKind, ColumnKind, Columns, Contract, SnapshotPart, Task
from ct_daemon.workers.validating import validate
from tests.integration.rig import CONTRACT, rows, validated, with_column, without


def test_a_good_snapshot_has_no_reason(shop):
    found = validated(shop, shop.part(1, rows(30)), shop.part(2, rows(30, start=30)))
    assert (found.reason, found.rows, found.labelled_rows, found.contract) == (None, 60, 60, CONTRACT)


def test_late_labels_count_and_settle_the_kind_of_the_target(shop):
    contract = Contract(columns=dict(CONTRACT.columns) | {"y": ColumnKind.EMPTY})
    table = with_column(rows(30), "y", np.arange(30) % 2)
    parts = (
        shop.part(1, without(table, "y"), contract=contract),
        shop.part(2, table.select(["id", "y"]).slice(0, 25), kind=BatchKind.LABELS, contract=contract),
    )
    found = validated(shop, *parts, contract=contract)
    assert (found.reason, found.rows, found.labelled_rows) == (None, 30, 25)
    assert found.contract.columns["y"] is ColumnKind.NUMERIC


def test_without_a_contract_the_snapshot_founds_it(shop):
    found = validated(shop, shop.part(1, rows(30), contract=None), contract=None)
    assert (found.reason, found.contract) == (None, CONTRACT)


def test_a_feature_that_was_empty_at_first_takes_its_kind(shop):
    contract = Contract(columns=dict(CONTRACT.columns) | {"b": ColumnKind.EMPTY})
    first = with_column(rows(30), "b", pa.nulls(30))
    parts = shop.part(1, first, contract=contract), shop.part(2, rows(30, start=30), contract=contract)
    assert validated(shop, *parts, contract=contract).contract == CONTRACT


def test_too_few_labelled_rows(shop):
    found = validated(shop, shop.part(1, rows(30)), min_rows=31)
    assert (found.reason, found.rows, found.labelled_rows) == ("too_few_rows", 30, 30)


def test_rows_that_nobody_labelled_are_too_few(shop):
    found = validated(shop, shop.part(1, rows(30, labels=False)))
    assert (found.reason, found.labelled_rows) == ("too_few_rows", 0)


def test_a_single_class_teaches_nothing(shop):
    found = validated(shop, shop.part(1, with_column(rows(30), "y", ["hi"] * 30)))
    assert found.reason == "single_class"


def test_a_constant_number_is_a_target_all_the_same(shop):
    contract = Contract(columns=dict(CONTRACT.columns) | {"y": ColumnKind.NUMERIC})
    part = shop.part(1, with_column(rows(30), "y", np.ones(30)), contract=contract, task=Task.REGRESSION)
    assert validated(shop, part, contract=contract, task=Task.REGRESSION).reason is None


@pytest.mark.parametrize("harm", ["gone", "garbage", "shorter", "other name"])
def test_a_part_that_is_not_as_recorded_is_found(shop, harm):
    part = shop.part(1, rows(60))
    path = shop.path(part.path)
    if harm == "gone":
        path.unlink()
    elif harm == "garbage":
        path.write_bytes(b"garbage")
    elif harm == "shorter":
        pq.write_table(rows(59), path)
    else:
        part = replace(part, digest="0" * 64)
    found = validated(shop, part)
    assert (found.reason, found.rows) == ("part_altered", 60)
    assert found.detail


def test_a_part_with_a_feature_of_another_kind_breaks_the_contract(shop):
    part = shop.part(1, with_column(rows(30), "b", np.arange(30)), contract=None)
    found = validated(shop, part)
    assert found.reason == "contract_broken"
    assert "'b'" in found.detail


def test_a_part_that_lacks_a_feature_breaks_the_contract(shop):
    assert validated(shop, shop.part(1, without(rows(30), "b"), contract=None)).reason == "contract_broken"


def test_labels_of_several_kinds_break_the_contract(shop):
    contract = Contract(columns=dict(CONTRACT.columns) | {"y": ColumnKind.EMPTY})
    table = rows(30)
    parts = [shop.part(1, without(table, "y"), contract=contract)]
    for seq, values in ((2, np.arange(15) % 2), (3, [True] * 15)):
        labels = with_column(table.select(["id", "y"]).slice(15 * (seq - 2), 15), "y", values)
        parts.append(shop.part(seq, labels, kind=BatchKind.LABELS, contract=contract))
    found = validated(shop, *parts, contract=contract)
    assert found.reason == "contract_broken"
    assert "batch 2" in found.detail


def test_features_without_a_value_in_the_whole_snapshot(shop):
    pq.write_table(
        pa.table({"id": range(30), "a": pa.nulls(30), "b": pa.nulls(30), "y": ["hi", "lo"] * 15}),
        shop.path("empty.parquet"),
    )
    part = SnapshotPart(seq=1, kind=BatchKind.ROWS, path="empty.parquet", digest="empty", rows=30)
    assert validated(shop, part, columns=Columns(target="y", row_id="id")).reason == "no_features"


def test_an_altered_manifest_is_an_error_not_a_verdict(shop):
    path = Path(shop.snapshot(shop.part(1, rows(30))))
    path.write_bytes(path.read_bytes().replace(b'"rows":30', b'"rows":31'))
    with pytest.raises(ArtifactError):
        validate(
            ValidateRequest(
                snapshot=str(path), state=str(shop.root), task=Task.CLASSIFICATION, min_rows=1, contract=None
            )
        )


def test_a_number_to_be_predicted_is_no_class(shop):
    table = with_column(rows(600), "y", np.random.default_rng(1).normal(size=600))
    columns = CONTRACT.columns | {"y": ColumnKind.NUMERIC}
    contract = Contract(columns=columns)
    part = shop.part(1, table, contract=contract)
    result = validated(shop, part, contract=contract)
    assert result.reason == "too_many_classes"
    assert "600 classes in 600 rows" in result.detail
    assert "data.task: regression" in result.detail
    few = with_column(rows(600), "y", np.arange(600.0) % 60)
    assert validated(shop, shop.part(1, few, contract=contract), contract=contract).reason is None
