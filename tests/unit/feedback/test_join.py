"""Predictions against labels: equal to a dictionary, whatever the ids and in whatever order labels come."""

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
from ct_daemon.protocols import JoinRequest
from ct_daemon.types import Columns, Outcome, Task

COLUMNS = Columns(target="y", row_id="id")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("join")


def joined(folder, predictions, labels, task=Task.CLASSIFICATION):
    """Write (ids, values) pairs as files and join them."""
    asked = []
    for i, (ids, values) in enumerate(predictions):
        path = folder / f"p{i}.parquet"
        pq.write_table(pa.table({"row_id": ids, "prediction": values}), path)
        asked.append((10 + i, 3, str(path)))
    given_ = []
    for i, (ids, values) in enumerate(labels):
        path = folder / f"l{i}.parquet"
        pq.write_table(pa.table({"id": ids, "y": values}), path)
        given_.append(str(path))
    request = JoinRequest(predictions=tuple(asked), labels=tuple(given_), columns=COLUMNS, task=task)
    return join(request).outcomes


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
    request = JoinRequest(predictions=(), labels=(), columns=Columns(target="y"), task=Task.REGRESSION)
    with pytest.raises(ContractError) as error:
        join(request)
    assert error.value.reason == "row_id_missing"


@pytest.mark.parametrize("content", [None, b"", b"PAR1 not really PAR1"])
def test_a_stored_file_that_cannot_be_read_is_named(folder, content):
    path = folder / "labels-broken.parquet"
    path.unlink(missing_ok=True)
    if content is not None:
        path.write_bytes(content)
    good = folder / "good.parquet"
    pq.write_table(pa.table({"row_id": [1], "prediction": ["x"]}), good)
    request = JoinRequest(
        predictions=((1, 1, str(good)),), labels=(str(path),), columns=COLUMNS, task=Task.CLASSIFICATION
    )
    with pytest.raises(SourceError, match=r"labels-broken\.parquet") as error:
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


def files(values):
    """Lists of files; in a file no id stands twice."""
    return st.lists(st.dictionaries(ids, values, min_size=1), min_size=1, max_size=4)


def typed(keys, as_text):
    return [str(key) for key in keys] if as_text else list(keys)


def naive(predictions, labels, loss):
    newest = {key: label for file in labels for key, label in file.items() if label is not None}
    for i, file in enumerate(predictions):
        cost = [loss(newest[key], value) for key, value in file.items() if key in newest]
        if cost:
            yield i, len(cost), sum(cost), sum(c * c for c in cost)


@settings(max_examples=50)
@given(files(classes), files(st.none() | classes), st.randoms(use_true_random=False))
def test_joining_classes_equals_a_dictionary(folder, predictions, labels, random):
    found = joined(
        folder,
        [(typed(f, random.random() < 0.5), list(f.values())) for f in predictions],
        [(typed(f, random.random() < 0.5), pa.array(f.values(), pa.string())) for f in labels],
    )
    wanted = naive(predictions, labels, lambda label, value: float(label != value))
    assert [(o.batch_seq, o.rows, o.error_sum, o.squared_sum) for o in found] == [
        (10 + i, rows, errors, squared) for i, rows, errors, squared in wanted
    ]


@settings(max_examples=50)
@given(files(numbers), files(st.none() | numbers))
def test_joining_numbers_equals_a_dictionary(folder, predictions, labels):
    found = joined(
        folder,
        [(list(f), pa.array(f.values(), pa.float64())) for f in predictions],
        [(list(f), pa.array(f.values(), pa.float64())) for f in labels],
        Task.REGRESSION,
    )
    wanted = list(naive(predictions, labels, lambda label, value: abs(label - value)))
    assert [(o.batch_seq - 10, o.rows) for o in found] == [(i, rows) for i, rows, _, _ in wanted]
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
