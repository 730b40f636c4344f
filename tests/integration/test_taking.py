"""Files on their way in: what is taken, what is quarantined and why, and what the champion says of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from ct_daemon.dataset.contract import first_contract
from ct_daemon.errors import StateError
from ct_daemon.feedback import join
from ct_daemon.protocols import CompareRequest, JoinRequest, LabelsFile, ScoredRows
from ct_daemon.types import BatchKind, ColumnKind, Contract, Task
from ct_daemon.workers.comparing import Comparer
from ct_daemon.workers.taking import take
from tests.integration.rig import (
    COLUMNS,
    CONTRACT,
    START,
    baseline_digest,
    comparison,
    rows,
    validated,
    with_column,
    without,
)

# --- what is taken -------------------------------------------------------------------------------------


def test_a_batch_within_the_contract_is_stored_and_described(shop):
    result, request = shop.take(rows(50))
    assert result.reason is None
    assert (result.rows, result.labelled_rows) == (50, 50)
    assert result.event_from_at == START
    assert result.event_until_at == START.replace(second=49)
    assert first_contract(result.contract, COLUMNS) == CONTRACT
    assert result.scored_rows is None
    stored = pq.read_table(request.object_path)
    assert stored.drop_columns("at").equals(rows(50).drop_columns("at"))


def test_taking_it_twice_changes_nothing(shop):
    request = shop.request(rows(50))
    first = take(request, shop.scorer)
    before = Path(request.object_path).stat()
    assert take(request, shop.scorer) == first
    assert Path(request.object_path).stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize("name", ["in.csv", "in.jsonl", "in.parquet"])
def test_every_format_gives_the_same_batch(shop, name):
    table = rows(30)
    if name == "in.csv":
        sink = pa.BufferOutputStream()
        pyarrow.csv.write_csv(table, sink)
        content = sink.getvalue().to_pybytes()
    elif name == "in.jsonl":
        content = "\n".join(json.dumps(row, default=str) for row in table.to_pylist()).encode()
    else:
        content = table
    result, _ = shop.take(content, name=name)
    assert result.reason is None, result.detail
    assert result.contract.columns == {
        "id": ColumnKind.NUMERIC,
        "at": ColumnKind.DATETIME,
        "a": ColumnKind.NUMERIC,
        "b": ColumnKind.CATEGORICAL,
        "y": ColumnKind.CATEGORICAL,
    }
    assert result.event_from_at == START


@pytest.mark.parametrize(
    "change",
    {
        "one row": lambda t: t.slice(0, 1),
        "re-ordered columns": lambda t: t.select(t.column_names[::-1]),
        "constant": lambda t: with_column(t, "a", np.ones(t.num_rows)),
        "one column all NaN": lambda t: with_column(t, "a", np.full(t.num_rows, np.nan)),
        "one column all null": lambda t: with_column(t, "b", pa.nulls(t.num_rows)),
        "text column all NaN as floats": lambda t: with_column(t, "b", np.full(t.num_rows, np.nan)),
        "infinite numbers": lambda t: with_column(t, "a", np.full(t.num_rows, np.inf)),
        "integers for floats": lambda t: with_column(t, "a", np.arange(t.num_rows)),
        "decimals for floats": lambda t: with_column(
            t, "a", t["a"].cast(pa.decimal128(20, 4), safe=False).combine_chunks()
        ),
        "dictionary for text": lambda t: with_column(t, "b", t["b"].combine_chunks().dictionary_encode()),
        "extra columns": lambda t: t.append_column("more", pa.array(np.arange(t.num_rows))),
        "a nested extra column": lambda t: t.append_column("deep", pa.array([{"q": [1]}] * t.num_rows)),
        "a binary extra column": lambda t: t.append_column("deep", pa.array([b"x"] * t.num_rows)),
        "no target yet": lambda t: without(t, "y"),
        "a target without values": lambda t: with_column(t, "y", pa.nulls(t.num_rows, pa.float64())),
        "text ids": lambda t: with_column(t, "id", [f"row {i}" for i in range(t.num_rows)]),
    }.items(),
    ids=lambda item: item[0],
)
def test_an_unusual_batch_within_the_contract_is_taken_scored_and_compared(shop, trained, change):
    result, request = shop.take(
        change[1](rows(60)), champion=trained.files, predictions_path=str(shop.path("p.parquet"))
    )
    assert (result.reason, result.scoring_reason) == (None, None), result
    assert result.scored_rows == result.rows
    report = Comparer().compare(
        CompareRequest(
            objects=(request.object_path, str(trained.shop.path(trained.part.path))),
            baseline=str(Path(trained.files.path) / "baseline.json"),
            baseline_digest=baseline_digest(trained.files),
        )
    )
    assert report.window_rows == result.rows + 300


@pytest.mark.parametrize(
    "times",
    [
        ["2026-01-01T00:00:00Z", "2026-01-01T02:00:30+02:00"],
        ["2026-01-01 00:00:00", "2026-01-01T00:00:30.000"],
        [START.timestamp(), START.timestamp() + 30],
        pa.array([int(START.timestamp()), int(START.timestamp()) + 30]),
        pa.array([START, START.replace(second=30)], pa.timestamp("ns", tz="Asia/Tokyo")),
        pa.array([START.replace(tzinfo=None), START.replace(second=30, tzinfo=None)], pa.timestamp("ms")),
    ],
    ids=["iso with zone", "iso", "float seconds", "whole seconds", "zone", "no zone"],
)
def test_event_times_are_read_and_stored_as_utc(shop, times):
    result, request = shop.take(with_column(rows(2), "at", times))
    assert (result.event_from_at, result.event_until_at) == (START, START.replace(second=30))
    stored = pq.read_table(request.object_path)["at"]
    assert stored.type == pa.timestamp("us")
    assert stored.to_pylist() == [START.replace(tzinfo=None), START.replace(second=30, tzinfo=None)]


def test_a_missing_time_does_not_hide_the_others(shop):
    result, _ = shop.take(with_column(rows(2), "at", [None, START.timestamp()]))
    assert (result.event_from_at, result.event_until_at) == (START, START)


def test_numbers_and_text_of_any_type_fit_together(shop, trained):
    numbers = [
        pa.array([1, 2, 3], pa.int64()),
        pa.array([1, 2, 2**64 - 1], pa.uint64()),
        pa.array([1.5, 2.5, 3.5], pa.float32()).cast(pa.float16()),
        pa.array([1, 2, 3]).cast(pa.decimal128(20, 1)),
    ]
    texts = [
        pa.array(["red", "blue", "red"], kind) for kind in (pa.string(), pa.large_string(), pa.string_view())
    ]
    texts.append(texts[0].dictionary_encode())
    parts = [
        shop.part(i, with_column(with_column(rows(3, start=3 * i), "a", a), "b", b))
        for i, (a, b) in enumerate(zip(numbers, texts, strict=True))
    ]
    report = Comparer().compare(comparison(trained, *(str(shop.path(part.path)) for part in parts)))
    assert {score.column: score.window_rows for score in report.columns} == {"a": 12, "b": 12}
    found = validated(shop, *parts, min_rows=12)
    assert found.reason in (None, "single_class")
    assert found.labelled_rows == 12


def test_large_row_ids_and_classes_keep_their_digits(shop):
    big = pa.array([2**64 - 1, 2**64 - 2], pa.uint64())
    contract = Contract(columns=dict(CONTRACT.columns) | {"y": ColumnKind.NUMERIC})
    path = shop.stored(with_column(with_column(rows(2), "id", big), "y", big), contract=contract)
    stored = pq.read_table(path)
    assert stored["id"].to_pylist() == stored["y"].to_pylist() == big.to_pylist()


def test_labels_are_stored_without_anything_else(shop):
    table = rows(20).select(["y", "a", "id"]).append_column("deep", pa.array([[1]] * 20))
    result, request = shop.take(table, kind=BatchKind.LABELS)
    assert (result.rows, result.labelled_rows, result.reason) == (20, 20, None)
    assert set(result.contract.columns) == {"id", "y"}
    assert pq.read_table(request.object_path).to_pydict() == table.select(["id", "y"]).to_pydict()


# --- what is quarantined -------------------------------------------------------------------------------


WIDE = pa.table({f"c{i}": [1.0] for i in range(101)})
BROKEN = {
    "no bytes": (b"", "empty_file"),
    "garbage": (b"\x00garbage", "unreadable"),
    "half a file": (b"PAR1", "unreadable"),
    "no rows": (rows(10).slice(0, 0), "no_rows"),
    "too many rows": (rows(10_001), "too_many_rows"),
    "very wide": (WIDE, "too_many_columns"),
    "a column gone": (without(rows(10), "b"), "columns_missing"),
    "a column renamed": (rows(10).rename_columns(["id", "at", "a", "B", "y"]), "columns_missing"),
    "numbers for text": (with_column(rows(10), "b", np.arange(10)), "columns_retyped"),
    "text for numbers": (with_column(rows(10), "a", [str(i) for i in range(10)]), "columns_retyped"),
    "booleans for numbers": (with_column(rows(10), "a", [True] * 10), "columns_retyped"),
    "nested for numbers": (with_column(rows(10), "a", [[1.0]] * 10), "columns_retyped"),
    "another kind of target": (with_column(rows(10), "y", np.arange(10)), "columns_retyped"),
    "all NaN": (
        with_column(with_column(rows(10), "a", np.full(10, np.nan)), "b", pa.nulls(10, pa.string())),
        "no_features",
    ),
    "no row id": (without(rows(10), "id"), "row_id_missing"),
    "a row id is null": (with_column(rows(3), "id", [1, None, 3]), "row_id_missing"),
    "a row id is NaN": (with_column(rows(3), "id", [1.0, np.nan, 3.0]), "row_id_missing"),
    "a row id is empty": (with_column(rows(3), "id", ["1", "", "3"]), "row_id_missing"),
    "a row id twice": (with_column(rows(3), "id", [1, 2, 1]), "row_id_repeated"),
    "no time": (without(rows(10), "at"), "time_missing"),
    "times all null": (with_column(rows(3), "at", pa.nulls(3, pa.timestamp("us"))), "time_missing"),
    "times are words": (with_column(rows(2), "at", ["yesterday", "noon"]), "time_unreadable"),
    "times are empty words": (with_column(rows(2), "at", ["", ""]), "time_missing"),
    "times are milliseconds": (with_column(rows(2), "at", [1.7e12, 1.7e12 + 1]), "time_unreadable"),
    "times are endless": (with_column(rows(2), "at", [np.inf, 1.0]), "time_unreadable"),
    "times beyond the calendar": (
        with_column(rows(2), "at", pa.array([2**62, 0], pa.int64()).cast(pa.timestamp("us"))),
        "time_unreadable",
    ),
    "times are booleans": (with_column(rows(2), "at", [True, False]), "time_unreadable"),
}


@pytest.mark.parametrize(("content", "reason"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_is_quarantined_with_its_reason_and_nothing_is_stored(shop, content, reason):
    result, request = shop.take(content)
    assert result.reason == reason, result.detail
    assert result.detail
    assert not Path(request.object_path).exists()
    assert result.rows == 0


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (rows(3).select(["id"]), "target_missing"),
        (rows(3).select(["y"]), "row_id_missing"),
        (with_column(rows(3), "id", [1, 1, 2]), "row_id_repeated"),
        (with_column(rows(3), "y", [1, 2, 3]), "columns_retyped"),
    ],
)
def test_broken_labels_are_quarantined(shop, table, reason):
    assert shop.take(table, kind=BatchKind.LABELS)[0].reason == reason


def test_a_first_batch_without_any_feature_is_quarantined(shop):
    assert shop.take(rows(5).select(["id", "at", "y"]), contract=None)[0].reason == "no_features"


def test_a_full_disk_is_not_the_files_fault(shop):
    request = shop.request(rows(5), object_path=str(shop.path("no such folder") / "x.parquet"))
    with pytest.raises(StateError) as error:
        take(request, shop.scorer)
    assert error.value.reason == "disk_refused"


def test_a_copy_of_ours_that_can_not_be_read_is_not_the_files_fault(shop):
    request = shop.request(rows(5))
    Path(request.staged).unlink()
    with pytest.raises(StateError, match="No such file") as error:
        take(request, shop.scorer)
    assert error.value.reason == "staging_unreadable"
    assert not Path(request.object_path).exists()


def test_too_little_memory_is_not_held_against_the_file_here(shop, monkeypatch):
    def fail(*arguments, **options):
        raise pa.ArrowMemoryError("malloc of size 64 failed")

    monkeypatch.setattr("pyarrow.parquet.ParquetFile", fail)
    with pytest.raises(MemoryError):
        take(shop.request(rows(5)), shop.scorer)


cells = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(max_size=3),
    st.just([1]),
    st.dates(),
)


@st.composite
def tables(draw):
    """A good table with up to three columns dropped, emptied or filled with something else."""
    n = draw(st.integers(0, 5))
    table = rows(n)
    for name in draw(st.lists(st.sampled_from(table.column_names), unique=True, max_size=3)):
        sample = draw(cells)
        values = pa.array([draw(st.sampled_from([sample, None])) for _ in range(n)], pa.array([sample]).type)
        table = with_column(table, name, values) if draw(st.integers(0, 5)) else without(table, name)
    return table


@settings(max_examples=100)
@given(tables(), st.sampled_from(BatchKind), st.sampled_from(Task), st.booleans())
def test_no_table_makes_the_worker_stumble(trained, table, kind, task, first):
    shop = trained.shop
    result, request = shop.take(
        table,
        kind=kind,
        task=task,
        contract=None if first else CONTRACT,
        object_path=str(shop.path(f"fuzz{shop.made}.parquet")),
        champion=trained.files,
        predictions_path=str(shop.path(f"fuzz{shop.made}-p.parquet")),
    )
    event(result.reason or "accepted")
    assert (result.reason is None) == Path(request.object_path).exists()
    if result.reason is not None:
        assert result.detail
        return
    assert result.rows == table.num_rows > 0
    if kind is BatchKind.ROWS and task is Task.CLASSIFICATION and not first:
        assert result.scored_rows == result.rows or result.scoring_detail
        report = Comparer().compare(
            comparison(trained, request.object_path, str(shop.path(trained.part.path)))
        )
        assert report.window_rows == result.rows + 300 or report.reason


def test_a_column_of_empty_objects_is_left_out(shop):
    table = rows(3)
    lines = [json.dumps({**row, "deep": {}}, default=str) for row in table.to_pylist()]
    result, request = shop.take("\n".join(lines).encode(), name="in.jsonl")
    assert result.reason is None, result.detail
    assert pq.read_schema(request.object_path).names == table.column_names


def test_of_labels_only_those_count_that_are_there(shop):
    table = pa.table({"id": [1, 2, 3, 4], "y": ["hi", None, "", "lo"]})
    result, _ = shop.take(table, kind=BatchKind.LABELS)
    assert (result.reason, result.rows, result.labelled_rows) == (None, 4, 2)


@pytest.mark.parametrize(
    ("ids", "reason"), [(["1", "2", "1"], "row_id_repeated"), (["1", None, ""], "row_id_missing")]
)
def test_labels_name_each_row_once_so_that_labels_are_as_many_as_rows(shop, ids, reason):
    result, _ = shop.take(pa.table({"id": ids, "y": ["hi", "lo", "hi"]}), kind=BatchKind.LABELS)
    assert (result.reason, result.labelled_rows) == (reason, 0)


def test_rows_without_the_target_are_refused_unless_labels_come_later(shop):
    table = rows(20, labels=False)
    result, request = shop.take(table, labels_later=False, contract=None)
    assert result.reason == "target_missing"
    assert "'y' is not among its columns ('id', 'at', 'a', 'b')" in result.detail
    assert not Path(request.object_path).exists()
    assert shop.take(table, contract=None)[0].reason is None


# --- scoring -------------------------------------------------------------------------------------------


def test_rows_are_scored_by_row_id_and_held_against_labels_that_came_along(shop, trained):
    table = rows(100, start=500, seed=5)
    table = with_column(table, "y", [*table["y"].to_pylist()[:40], *[None] * 60])
    path = shop.path("p.parquet")
    result, _ = shop.take(table, champion=trained.files, predictions_path=str(path))
    assert (result.scored_rows, result.labelled_rows) == (100, 40)
    found = pq.read_table(path)
    assert found["row_id"].to_pylist() == list(range(500, 600))
    wrong = sum(
        p != y for p, y in zip(found["prediction"].to_pylist()[:40], table["y"].to_pylist(), strict=False)
    )
    assert result.outcome == (40, wrong, wrong)
    assert wrong < 10


def test_without_labels_there_is_no_outcome(shop, trained):
    result, _ = shop.take(
        rows(20, labels=False), champion=trained.files, predictions_path=str(shop.path("p.parquet"))
    )
    assert (result.scored_rows, result.outcome) == (20, None)


def test_labels_on_arrival_stay_in_the_outcome_when_the_rest_of_the_labels_comes(shop, trained):
    table = rows(80, start=900, seed=6)
    path = str(shop.path("p.parquet"))
    whole, _ = shop.take(table, champion=trained.files, predictions_path=path)
    half = with_column(table, "y", [*table["y"].to_pylist()[:40], *[None] * 40])
    arrived, request = shop.take(half, champion=trained.files, predictions_path=path)
    labels = shop.stored(table.select(["id", "y"]).slice(40), kind=BatchKind.LABELS)
    joined = join(
        JoinRequest(
            scored=(ScoredRows(batch_seq=7, version=1, predictions=path, rows=request.object_path),),
            labels=(LabelsFile(batch_seq=8, path=labels),),
            columns=COLUMNS,
            task=Task.CLASSIFICATION,
        )
    )
    (found,) = joined.outcomes
    assert arrived.outcome[0] == 40
    assert (found.rows, found.error_sum, found.squared_sum) == whole.outcome


def test_a_champion_that_cannot_score_leaves_the_batch_accepted(shop, trained):
    altered = replace(trained.files, digest="0" * 64)
    result, request = shop.take(rows(20), champion=altered, predictions_path=str(shop.path("p.parquet")))
    assert (result.reason, result.rows, result.scored_rows) == (None, 20, None)
    assert result.scoring_reason == "digest_mismatch"
    assert result.scoring_detail
    assert Path(request.object_path).exists()
    assert not shop.path("p.parquet").exists()


def test_a_champion_for_another_task_does_not_score(shop, trained):
    contract = Contract(columns=dict(CONTRACT.columns) | {"y": ColumnKind.NUMERIC})
    result, _ = shop.take(
        with_column(rows(20), "y", np.arange(20)),
        task=Task.REGRESSION,
        contract=contract,
        champion=trained.files,
        predictions_path=str(shop.path("p.parquet")),
    )
    assert (result.reason, result.scoring_reason, result.outcome) == (None, "task_changed", None)
    assert not shop.path("p.parquet").exists()


def test_a_champion_that_needs_a_column_which_is_ignored_by_now_says_so(shop, trained):
    columns = replace(COLUMNS, ignore=("b",))
    result, _ = shop.take(
        without(rows(20), "b"),
        columns=columns,
        champion=trained.files,
        predictions_path=str(shop.path("p.parquet")),
    )
    assert (result.reason, result.scoring_reason) == (None, "columns_missing")


def test_late_labels_give_the_outcome_that_labels_on_arrival_would_have_given(shop, trained):
    table = rows(80, start=900, seed=6)
    path = str(shop.path("p.parquet"))
    arrived, _ = shop.take(table, champion=trained.files, predictions_path=path)
    unlabelled = shop.stored(table.drop_columns("y"))
    text_ids = with_column(table.select(["id", "y"]), "id", [str(i) for i in table["id"].to_pylist()])
    labels = tuple(
        LabelsFile(batch_seq=seq, path=shop.stored(part, kind=BatchKind.LABELS))
        for seq, part in enumerate((text_ids.slice(0, 30), text_ids.slice(30)), 8)
    )
    scored = ScoredRows(batch_seq=7, version=1, predictions=path, rows=unlabelled)
    request = JoinRequest(scored=(scored,), labels=labels, columns=COLUMNS, task=Task.CLASSIFICATION)
    (found,) = join(request).outcomes
    assert (found.rows, found.error_sum, found.squared_sum) == arrived.outcome
