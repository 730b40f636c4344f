"""Predictions against labels: equal to a slow reading, whatever the ids and in whatever order labels come."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ct_daemon.errors import ContractError, SourceError
from ct_daemon.feedback import join, losses
from ct_daemon.protocols import JoinRequest, LabelsFile, ScoredRows
from ct_daemon.types import Columns, Outcome, Task

COLUMNS = Columns(target="y", row_id="id")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("join")


def joined(folder, predictions, labels, task=Task.CLASSIFICATION):
    """Write files and join them, the batches of rows first.

    Predictions are (ids, values) or (ids, values, labels that came along), labels (ids, values).
    """
    batches = [("rows", *batch) for batch in predictions] + [("labels", *batch) for batch in labels]
    return joined_in_order(folder, batches, task)


def joined_in_order(folder, batches, task=Task.CLASSIFICATION):
    """The same, in whatever order they came: ("rows", ids, predictions[, own labels]) or ("labels", ids, values)."""
    scored, late = [], []
    for seq, (kind, ids, values, *own) in enumerate(batches, 10):
        path = folder / f"{seq}.parquet"
        if kind == "labels":
            pq.write_table(pa.table({"id": ids, "y": values}), path)
            late.append(LabelsFile(batch_seq=seq, path=str(path)))
            continue
        pq.write_table(pa.table({"id": ids} | ({"y": own[0]} if own else {})), path)
        made = folder / f"p{seq}.parquet"
        pq.write_table(pa.table({"row_id": ids, "prediction": values}), made)
        scored.append(ScoredRows(batch_seq=seq, version=3, predictions=str(made), rows=str(path)))
    return join(JoinRequest(scored=tuple(scored), labels=tuple(late), columns=COLUMNS, task=task)).outcomes


def outcome(seq, rows, errors, squared=None):
    return Outcome(
        batch_seq=seq,
        version=3,
        rows=rows,
        error_sum=errors,
        squared_sum=errors if squared is None else squared,
    )


def test_classes_count_as_right_or_wrong(folder):
    found = joined(folder, [(["a", "b", "c"], ["x", "y", "x"])], [(["c", "a", "q"], ["y", "x", "x"])])
    assert found == (outcome(10, 2, 1.0),)


def test_numbers_add_absolute_and_squared_errors(folder):
    found = joined(folder, [([1, 2], [1.0, 5.0])], [([2, 1], [2, 1])], Task.REGRESSION)
    assert found == (outcome(10, 2, 3.0, 9.0),)


def test_a_file_without_any_label_has_no_outcome(folder):
    found = joined(folder, [(["a"], ["x"]), (["b"], ["x"])], [(["b"], ["x"])])
    assert found == (outcome(11, 1, 0.0),)


def test_the_newest_label_of_a_row_counts_once(folder):
    found = joined(folder, [(["a"], ["x"])], [(["a"], ["y"]), (["a"], ["z"]), (["a"], ["x"])])
    assert found == (outcome(10, 1, 0.0),)


@pytest.mark.parametrize("nothing", [None, ""])
def test_a_missing_class_is_no_label_and_leaves_the_older_one(folder, nothing):
    found = joined(folder, [(["a", "b"], ["x", "x"])], [(["a"], ["y"]), (["a", "b"], [nothing, nothing])])
    assert found == (outcome(10, 1, 1.0),)


@pytest.mark.parametrize("nothing", [None, float("nan"), float("inf"), 1e300])
def test_a_missing_or_endless_number_is_no_label(folder, nothing):
    labels = [(["a", "b"], pa.array([2.0, nothing]))]
    assert joined(folder, [(["a", "b"], [1.0, 1.0])], labels, Task.REGRESSION) == (outcome(10, 1, 1.0),)


def test_only_missing_labels_have_no_outcome(folder):
    assert joined(folder, [(["a"], ["x"])], [(["a"], pa.nulls(1))]) == ()


@pytest.mark.parametrize(
    "ids",
    [
        pa.array([7, 8], pa.int8()),
        pa.array([7, 8], pa.uint64()),
        pa.array([7.0, 8.0]),
        pa.array(["7", "8"]),
        pa.array(["7", "8"], pa.large_string()),
        pa.array(["7", "8"]).dictionary_encode(),
    ],
    ids=["int8", "uint64", "double", "string", "large_string", "dictionary"],
)
def test_a_row_id_is_the_same_id_in_any_type(folder, ids):
    found = joined(folder, [(ids, ["x", "x"]), ([7, 8], ["y", "y"])], [(["7"], ["x"]), ([8], ["x"])])
    assert found == (outcome(10, 2, 0.0), outcome(11, 2, 2.0))


def test_large_whole_row_ids_keep_their_digits(folder):
    big = 2**63 - 1
    found = joined(folder, [([big, big - 1], ["x", "y"])], [([str(big)], ["x"]), ([big - 1], ["y"])])
    assert found == (outcome(10, 2, 0.0),)


def test_without_a_row_id_column_nothing_can_be_joined():
    request = JoinRequest(scored=(), labels=(), columns=Columns(target="y"), task=Task.REGRESSION)
    with pytest.raises(ContractError) as error:
        join(request)
    assert error.value.reason == "row_id_missing"


# --- labels that came along ------------------------------------------------------------------------------


def test_labels_on_arrival_and_later_ones_make_one_outcome(folder):
    arrived = (["a", "b", "c", "d"], ["x", "x", "x", "x"], ["x", "y", None, None])
    assert joined(folder, [arrived], [(["c"], ["z"])]) == (outcome(10, 3, 2.0),)


def test_a_later_label_corrects_the_one_that_came_along(folder):
    arrived = (["a", "b"], ["x", "x"], ["x", "x"])
    assert joined(folder, [arrived], [(["a"], ["y"]), (["b"], [None])]) == (outcome(10, 2, 1.0),)


def test_a_label_from_before_its_row_fills_a_gap_but_corrects_nothing(folder):
    early = ("labels", ["a", "b"], ["y", "y"])
    rows = ("rows", ["a", "b"], ["x", "x"], ["x", None])
    assert joined_in_order(folder, [early, rows]) == (outcome(11, 2, 1.0),)


def test_without_labels_batches_the_outcome_is_that_of_the_arrival(folder):
    rng = np.random.default_rng(0)
    truth, values = rng.normal(size=(2, 1000))
    found = joined(folder, [(np.arange(1000), values, truth)], [], Task.REGRESSION)
    on_arrival = losses(pa.chunked_array([truth]), pa.chunked_array([values]), Task.REGRESSION)
    assert found == (outcome(10, *on_arrival),)


def test_rows_that_are_not_those_of_the_predictions_are_refused(folder):
    joined(folder, [(["a"], ["x"])], [])
    pq.write_table(pa.table({"id": ["a", "b"], "y": ["x", "x"]}), folder / "10.parquet")
    scored = ScoredRows(
        batch_seq=10, version=3, predictions=str(folder / "p10.parquet"), rows=str(folder / "10.parquet")
    )
    with pytest.raises(SourceError, match=r"2 rows are stored for 1 predictions in p10\.parquet") as error:
        join(JoinRequest(scored=(scored,), labels=(), columns=COLUMNS, task=Task.CLASSIFICATION))
    assert error.value.reason == "object_unreadable"


@pytest.mark.parametrize("content", [None, b"", b"PAR1 not really PAR1"])
@pytest.mark.parametrize("broken", ["labels", "rows", "predictions"])
def test_a_stored_file_that_cannot_be_read_is_named(tmp_path, content, broken):
    paths = {name: tmp_path / f"{name}.parquet" for name in ("labels", "rows", "predictions")}
    table = pa.table({"id": [1], "row_id": [1], "prediction": ["x"], "y": ["x"]})
    for path in paths.values():
        pq.write_table(table, path)
    paths[broken].unlink()
    if content is not None:
        paths[broken].write_bytes(content)
    request = JoinRequest(
        scored=(
            ScoredRows(
                batch_seq=1, version=1, predictions=str(paths["predictions"]), rows=str(paths["rows"])
            ),
        ),
        labels=(LabelsFile(batch_seq=2, path=str(paths["labels"])),),
        columns=COLUMNS,
        task=Task.CLASSIFICATION,
    )
    with pytest.raises(SourceError, match=rf"{broken}\.parquet") as error:
        join(request)
    assert error.value.reason == "object_unreadable"


def test_labels_that_came_along_are_measured_row_by_row():
    labels = pa.chunked_array([["x", None], ["y"]])
    predictions = pa.chunked_array([["x", "x", "x"]])
    assert losses(labels, predictions, Task.CLASSIFICATION) == (2, 1.0, 1.0)
    assert losses(pa.chunked_array([pa.nulls(3, pa.string())]), predictions, Task.CLASSIFICATION) is None


ids = st.integers(0, 12)
classes = st.sampled_from(["x", "y", "1", "true"])
numbers = st.floats(-1e6, 1e6)


def typed(keys, as_text):
    return [str(key) for key in keys] if as_text else list(keys)


def naive(batches, loss):
    """Row by row: the rule as `dataset.labels` words it."""
    for place, (kind, rows) in enumerate(batches):
        if kind == "labels":
            continue
        cost = []
        for key, (value, own) in rows.items():
            label = own
            for other, (other_kind, others) in enumerate(batches):
                if other_kind == "labels" and others.get(key) is not None and (other > place or own is None):
                    label = others[key]
            if label is not None:
                cost.append(loss(label, value))
        if cost:
            yield 10 + place, len(cost), sum(cost), sum(c * c for c in cost)


def mixed(values):
    """Batches of rows with predictions and labels of their own, and of labels, in any order."""
    rows = st.tuples(st.just("rows"), st.dictionaries(ids, st.tuples(values, st.none() | values), min_size=1))
    labels = st.tuples(st.just("labels"), st.dictionaries(ids, st.none() | values, min_size=1))
    return st.lists(rows | labels, min_size=1, max_size=6)


def as_files(batches, kind, random):
    for name, batch in batches:
        keys = typed(batch, random.random() < 0.5)
        if name == "labels":
            yield name, keys, pa.array(batch.values(), kind)
        else:
            made, own = zip(*batch.values(), strict=True)
            yield name, keys, pa.array(made, kind), pa.array(own, kind)


@settings(max_examples=80)
@given(mixed(classes), st.randoms(use_true_random=False))
def test_joining_classes_equals_a_slow_and_simple_reading(folder, batches, random):
    found = joined_in_order(folder, as_files(batches, pa.string(), random))
    wanted = naive(batches, lambda label, value: float(label != value))
    assert [(o.batch_seq, o.rows, o.error_sum, o.squared_sum) for o in found] == list(wanted)


@settings(max_examples=80)
@given(mixed(numbers), st.randoms(use_true_random=False))
def test_joining_numbers_equals_a_slow_and_simple_reading(folder, batches, random):
    found = joined_in_order(folder, as_files(batches, pa.float64(), random), Task.REGRESSION)
    wanted = list(naive(batches, lambda label, value: abs(label - value)))
    assert [(o.batch_seq, o.rows) for o in found] == [(seq, rows) for seq, rows, _, _ in wanted]
    assert [o.error_sum for o in found] == pytest.approx([errors for _, _, errors, _ in wanted])
    assert [o.squared_sum for o in found] == pytest.approx([squared for _, _, _, squared in wanted])


def test_two_hundred_files_of_a_thousand_rows_are_joined_in_seconds(tmp_path):
    rng = np.random.default_rng(0)
    predictions = [(np.arange(i * 1000, (i + 1) * 1000), rng.choice(["x", "y"], 1000)) for i in range(200)]
    labels = [(ids_[::2], values[::2]) for ids_, values in predictions]
    started = time.process_time()
    found = joined(tmp_path, predictions, labels)
    assert [(o.rows, o.error_sum) for o in found] == [(500, 0.0)] * 200
    assert time.process_time() - started < 10
