"""Snapshots: their name, and the labelled rows they stand for, held against a slow and simple reading."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ct_daemon.dataset.manifest import make_snapshot, manifest_of, read_snapshot, write_snapshot
from ct_daemon.dataset.snapshots import SEQ, load_rows, split
from ct_daemon.errors import ArtifactError, ContractError
from ct_daemon.types import BatchKind, Columns, Snapshot, SnapshotPart, Task

COLUMNS = Columns(target="y", row_id="id")
Rows = Mapping[str, list[Any]] | pa.Table


class Shelf:
    """Stored batches in a state folder."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.parts: list[SnapshotPart] = []

    def put(self, rows: Rows, kind: BatchKind = BatchKind.ROWS) -> Shelf:
        table = rows if isinstance(rows, pa.Table) else pa.table(dict(rows))
        seq = len(self.parts) + 1
        path = f"batches/{seq}.parquet"
        (self.state / "batches").mkdir(exist_ok=True)
        pq.write_table(table, self.state / path)
        self.parts.append(
            SnapshotPart(seq=seq, kind=kind, path=path, digest=f"{seq:064}", rows=table.num_rows)
        )
        return self

    def labels(self, rows: Rows) -> Shelf:
        return self.put(rows, BatchKind.LABELS)

    def snapshot(self, columns: Columns = COLUMNS, window_rows: int | None = None) -> Snapshot:
        return make_snapshot(model="m", columns=columns, window_rows=window_rows, parts=self.parts)

    def load(
        self,
        columns: Columns = COLUMNS,
        *,
        window_rows: int | None = None,
        task: Task = Task.CLASSIFICATION,
        names: list[str] | None = None,
    ) -> pa.Table:
        return load_rows(self.snapshot(columns, window_rows), self.state, task, names)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


# --- the manifest ----------------------------------------------------------------------------------------


def test_a_snapshot_survives_being_written(shelf: Shelf) -> None:
    snapshot = shelf.put({"id": ["a"], "y": ["p"]}).put({"id": ["b"], "y": ["q"]}).snapshot(window_rows=7)
    path = shelf.state / f"{snapshot.digest}.json"
    write_snapshot(snapshot, path)
    first = path.read_bytes()
    write_snapshot(snapshot, path)
    assert path.read_bytes() == first
    assert read_snapshot(path) == snapshot
    assert [entry.name for entry in shelf.state.glob("*.json*")] == [path.name]


def test_the_name_is_made_of_all_that_matters(shelf: Shelf) -> None:
    shelf.put({"id": ["a"], "y": ["p"]}).put({"id": ["b"], "y": ["q"]})
    snapshot = shelf.snapshot()
    again = make_snapshot(model="m", columns=COLUMNS, window_rows=None, parts=reversed(shelf.parts))
    assert again == snapshot
    others = {
        snapshot.digest,
        shelf.snapshot(window_rows=20).digest,
        shelf.snapshot(Columns(target="y")).digest,
        make_snapshot(model="n", columns=COLUMNS, window_rows=None, parts=shelf.parts).digest,
        make_snapshot(model="m", columns=COLUMNS, window_rows=None, parts=shelf.parts[:1]).digest,
    }
    assert len(others) == 5
    assert manifest_of(snapshot)["digest"] == snapshot.digest


def test_an_altered_or_absent_manifest_is_refused(shelf: Shelf) -> None:
    snapshot = shelf.put({"id": ["a"], "y": ["p"]}).snapshot()
    path = shelf.state / "s.json"
    with pytest.raises(ArtifactError) as caught:
        read_snapshot(path)
    assert caught.value.reason == "file_missing"
    write_snapshot(snapshot, path)
    whole = path.read_text()
    for altered in (whole.replace('"rows":1', '"rows":2'), whole[:-1], "[]", ""):
        path.write_text(altered)
        with pytest.raises(ArtifactError) as caught:
            read_snapshot(path)
        assert caught.value.reason == "digest_mismatch"


@pytest.mark.parametrize("count", [0, 2])
def test_a_snapshot_has_each_part_once_and_one_at_least(count: int) -> None:
    part = SnapshotPart(seq=1, kind=BatchKind.ROWS, path="x", digest="d", rows=1)
    with pytest.raises(ValueError, match="one or more"):
        make_snapshot(model="m", columns=COLUMNS, window_rows=None, parts=[part] * count)


# --- labels ----------------------------------------------------------------------------------------------


def test_unlabelled_rows_are_left_out_and_each_row_knows_its_batch(shelf: Shelf) -> None:
    shelf.put({"id": ["a", "b"], "y": ["p", None]}).put({"id": ["c", "d"], "y": ["", "q"]})
    table = shelf.load()
    assert table["id"].to_pylist() == ["a", "d"]
    assert table[SEQ].to_pylist() == [1, 2]
    assert table.schema.field(SEQ).type == pa.int64()


def test_the_newest_label_wins(shelf: Shelf) -> None:
    shelf.put({"id": ["a", "b", "c", "d"], "y": ["own", "own", None, "own"]})
    shelf.labels({"id": ["a", "c", "a"], "y": ["old", "late", "twice"]})
    shelf.labels({"id": ["b", "c", "x", None], "y": [None, "latest", "nobody", "nobody"]})
    assert shelf.load()["y"].to_pylist() == ["twice", "own", "latest", "own"]


def test_a_label_that_came_before_its_row_fills_a_gap_but_overrides_nothing(shelf: Shelf) -> None:
    shelf.labels({"id": ["a", "b"], "y": ["early", "early"]}).put({"id": ["a", "b"], "y": ["own", None]})
    assert shelf.load()["y"].to_pylist() == ["own", "early"]


def test_rows_without_a_target_column_get_their_labels_by_id_whatever_its_type(shelf: Shelf) -> None:
    shelf.put({"id": [1, 2, None], "x": [1, 2, 3]}).labels({"id": ["2", "3"], "y": [True, False]})
    shelf.labels({"id": pa.array([1.0]), "y": pa.array([False])})
    table = shelf.load()
    assert table["x"].to_pylist() == [1, 2]
    assert table["y"].to_pylist() == ["false", "true"]


def test_numbers_as_labels(shelf: Shelf) -> None:
    shelf.put({"id": ["a", "b", "c"], "y": [1, 2, None]}).labels({"id": ["c", "b"], "y": [0.5, float("inf")]})
    table = shelf.load(task=Task.REGRESSION)
    assert table["y"].to_pylist() == [1.0, 2.0, 0.5]
    assert table.schema.field("y").type == pa.float64()


batches = st.lists(
    st.tuples(
        st.booleans(),
        st.lists(
            st.tuples(st.none() | st.integers(0, 5), st.none() | st.sampled_from("pqr")),
            min_size=1,
            max_size=6,
        ),
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=60)
@given(batches=batches, window=st.none() | st.integers(1, 8))
def test_the_join_equals_a_simple_reading(
    batches: list[tuple[bool, list[tuple[int | None, str | None]]]], window: int | None
) -> None:
    expected = []
    for place, (late, rows) in enumerate(batches):
        for row_id, own in [] if late else rows:
            label = own
            for other, (other_late, others) in enumerate(batches):
                for label_id, value in others if other_late else []:
                    is_match = row_id is not None and label_id == row_id and value is not None
                    if is_match and (other > place or own is None):
                        label = value
            if label is not None:
                expected.append((row_id, label, place + 1))
    with tempfile.TemporaryDirectory() as folder:
        shelf = Shelf(Path(folder))
        for late, rows in [*batches, (False, [(None, None)])]:
            ids, labels = (list(side) for side in zip(*rows, strict=True))
            columns = {"id": pa.array(ids, pa.int64()), "y": pa.array(labels, pa.string())}
            shelf.put(pa.table(columns), BatchKind.LABELS if late else BatchKind.ROWS)
        table = shelf.load(window_rows=window)
    found = zip(table["id"].to_pylist(), table["y"].to_pylist(), table[SEQ].to_pylist(), strict=True)
    names = [(None if row_id is None else str(row_id), label, seq) for row_id, label, seq in expected]
    assert list(found) == names[-window if window else 0 :]


# --- order and window ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "as_time",
    [
        lambda days: pa.array([None if d is None else d * 86_400_000_000 for d in days], pa.timestamp("us")),
        lambda days: pa.array(days, pa.float64()),
        lambda days: pa.array(
            [None if d is None else f"2026-01-{d:02}T00:00:00Z" for d in days], pa.string()
        ),
    ],
    ids=["timestamp", "number", "text"],
)
def test_rows_are_sorted_by_time_and_stay_in_order_of_arrival_within_one(shelf: Shelf, as_time: Any) -> None:
    columns = Columns(target="y", time="t")
    shelf.put({"i": [0, 1, 2], "t": as_time([3, 2, None]), "y": ["p"] * 3})
    shelf.put({"i": [3, 4, 5], "t": as_time([2, 9, 1]), "y": ["p"] * 3})
    assert shelf.load(columns)["i"].to_pylist() == [2, 5, 1, 3, 0, 4]
    assert shelf.load(columns, window_rows=2)["i"].to_pylist() == [0, 4]
    assert shelf.load(window_rows=2, columns=Columns(target="y"))["i"].to_pylist() == [4, 5]


# --- columns ---------------------------------------------------------------------------------------------


def test_without_a_contract_the_common_columns_are_taken(shelf: Shelf) -> None:
    shelf.put({"a": [1], "b": [1], "y": ["p"]}).put({"c": [1], "b": [2.5], "y": ["p"]})
    table = shelf.load(Columns(target="y"))
    assert set(table.column_names) == {"b", "y", SEQ}
    assert table["b"].to_pylist() == [1.0, 2.5]


def test_with_a_contract_its_columns_must_be_there(shelf: Shelf) -> None:
    shelf.put({"a": [1], "b": [1], "y": ["p"]}).put({"b": [2], "y": ["p"]})
    assert set(shelf.load(Columns(target="y"), names=["b", "y"]).column_names) == {"b", "y", SEQ}
    with pytest.raises(ContractError, match="batch 2 lacks a") as caught:
        shelf.load(Columns(target="y"), names=["a", "b", "y"])
    assert caught.value.reason == "columns_missing"


def test_spellings_of_a_column_fit_together(shelf: Shelf) -> None:
    texts = pa.array(["u", "v"])
    shelf.put({"c": texts.dictionary_encode(), "n": [1, 2], "e": pa.nulls(2), "y": [1, 0]})
    shelf.put({"c": texts, "n": [0.5, None], "e": ["x", "y"], "y": ["1", "0"]})
    shelf.put({"c": texts.cast(pa.large_string()), "n": [3.0, 4.0], "e": pa.nulls(2), "y": [True, None]})
    table = shelf.load(Columns(target="y"))
    assert table["y"].to_pylist() == ["1", "0", "1", "0", "true"]
    assert table["n"].to_pylist() == [1.0, 2.0, 0.5, None, 3.0]
    assert table["e"].to_pylist() == [None, None, "x", "y", None]


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        ({"x": ["text"], "y": ["p"]}, "contract_broken"),
        ({"z": [1], "y": ["p"]}, "columns_missing"),
        ({"x": [1], "y": [[1]]}, "contract_broken"),
    ],
)
def test_what_does_not_fit_together_is_refused(shelf: Shelf, second: Rows, reason: str) -> None:
    shelf.put({"x": [1], "y": ["p"]}).put(second)
    with pytest.raises(ContractError) as caught:
        shelf.load(Columns(target="y"), names=["x"])
    assert caught.value.reason == reason


def test_parts_that_are_not_as_recorded_are_refused(shelf: Shelf) -> None:
    shelf.put({"x": [1, 2], "y": ["p", "q"]})
    path = shelf.state / shelf.parts[0].path
    whole = path.read_bytes()

    def reason() -> str:
        with pytest.raises(ContractError) as caught:
            shelf.load(Columns(target="y"))
        return caught.value.reason

    path.unlink()
    assert reason() == "part_altered"
    path.write_bytes(whole[:-20])
    assert reason() == "part_altered"
    pq.write_table(pa.table({"x": [1], "y": ["p"]}), path)
    assert reason() == "part_altered"


def test_a_snapshot_of_labels_alone_and_labels_without_a_row_id_are_refused(shelf: Shelf) -> None:
    shelf.labels({"id": ["a"], "y": ["p"]})
    with pytest.raises(ContractError) as caught:
        shelf.load()
    assert caught.value.reason == "too_few_rows"
    shelf.put({"id": ["a"], "y": ["p"]})
    with pytest.raises(ContractError, match=r"data\.row_id"):
        shelf.load(Columns(target="y"))


def test_our_own_column_name_is_not_taken_from_the_data(shelf: Shelf) -> None:
    shelf.put({SEQ: [1], "y": ["p"]})
    with pytest.raises(ContractError, match=SEQ):
        shelf.load(Columns(target="y"), names=[SEQ])


# --- the split -------------------------------------------------------------------------------------------


@given(rows=st.integers(0, 300), holdout=st.floats(0.01, 0.89))
def test_a_split_is_the_newest_share_and_loses_nothing(rows: int, holdout: float) -> None:
    table = pa.table({"i": list(range(rows))})
    newest = round(rows * holdout)
    if min(newest, rows - newest) < 10:
        with pytest.raises(ContractError) as caught:
            split(table, holdout)
        assert caught.value.reason == "too_few_rows"
        return
    older, held = split(table, holdout)
    assert held.num_rows == newest
    assert older["i"].to_pylist() + held["i"].to_pylist() == list(range(rows))
