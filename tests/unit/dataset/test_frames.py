"""Arrow columns to frames: kinds, missing values, odd spellings of the same column."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ct_daemon.dataset.frames import LARGEST, MISSING, labels_of, names_of, numbers_of, to_frame, to_rows
from ct_daemon.errors import ContractError
from ct_daemon.evaluation.metrics import class_name
from ct_daemon.types import ColumnKind, Task

N, B, C, D = ColumnKind.NUMERIC, ColumnKind.BOOLEAN, ColumnKind.CATEGORICAL, ColumnKind.DATETIME
MOMENT = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
SECONDS = MOMENT.timestamp()


def chunked(*chunks: pa.Array) -> pa.ChunkedArray:
    return pa.chunked_array(list(chunks))


def test_every_kind_becomes_numbers_or_text_in_the_order_asked_for() -> None:
    table = pa.table(
        {
            "t": pa.array([MOMENT, None], pa.timestamp("ns", "UTC")),
            "n": [1, None],
            "unused": ["x", "y"],
            "b": [True, None],
            "c": ["red", None],
        }
    )
    frame = to_frame(table, {"c": C, "n": N, "b": B, "t": D})
    assert list(frame.columns) == ["c", "n", "b", "t"]
    assert [str(kind) for kind in frame.dtypes] == ["object", "float64", "float64", "float64"]
    assert frame.iloc[0].tolist() == ["red", 1.0, 1.0, SECONDS]
    assert frame["c"].tolist() == ["red", MISSING]
    assert frame[["n", "b", "t"]].iloc[1].isna().all()


def test_missing_columns_are_named() -> None:
    with pytest.raises(ContractError, match="age, height") as caught:
        to_frame(pa.table({"x": [1]}), {"age": N, "x": N, "height": N})
    assert caught.value.reason == "columns_missing"


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (pa.array(["a"]), N),
        (pa.array(["a"]), D),
        (pa.array([[1]]), N),
        (pa.array([[1]]), C),
        (pa.array([b"a"]), C),
        (pa.array([1]), ColumnKind.UNSUPPORTED),
        (pa.nulls(1), ColumnKind.EMPTY),
    ],
)
def test_a_column_that_is_not_of_its_kind_is_named(column: pa.Array, kind: ColumnKind) -> None:
    with pytest.raises(ContractError, match="'x'") as caught:
        to_frame(pa.table({"x": column}), {"x": kind})
    assert caught.value.reason == "contract_broken"


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 3.5e38, -1e300])
def test_numbers_that_no_estimator_takes_are_missing(value: float) -> None:
    frame = to_frame(pa.table({"x": [value, LARGEST, -LARGEST]}), {"x": N})
    assert frame["x"].isna().tolist() == [True, False, False]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([MOMENT], pa.timestamp("ms", "UTC")),
        pa.array([MOMENT], pa.timestamp("us", "Asia/Tokyo")),
        pa.array([MOMENT.replace(tzinfo=None)], pa.timestamp("ns")),
        pa.array([SECONDS]),
    ],
)
def test_an_instant_is_the_same_however_it_is_spelled(column: pa.Array) -> None:
    assert numbers_of(chunked(column), "t").tolist() == [SECONDS]


def test_dates_are_midnight_utc_and_decimals_are_numbers() -> None:
    assert numbers_of(chunked(pa.array([date(1970, 1, 2)])), "t").tolist() == [86400.0]
    assert numbers_of(chunked(pa.array([Decimal("1.50")])), "t").tolist() == [1.5]


def test_categories_from_pandas_are_the_same_as_text() -> None:
    coded = pa.array(["a", None, "b"]).dictionary_encode()
    assert to_frame(pa.table({"c": coded}), {"c": C})["c"].tolist() == ["a", MISSING, "b"]


def test_no_rows_are_a_frame_of_the_right_types() -> None:
    table = pa.table({"c": pa.array([], pa.string()), "n": pa.array([], pa.int64())})
    frame = to_frame(table, {"c": C, "n": N})
    assert frame.shape == (0, 2)
    assert [str(kind) for kind in frame.dtypes] == ["object", "float64"]


plain = st.one_of(
    st.lists(st.booleans() | st.none(), max_size=5),
    st.lists(st.integers(-(2**63), 2**63 - 1) | st.none(), max_size=5),
    st.lists(st.floats(-1e12, 1e12) | st.none(), max_size=5),
    st.lists(st.text(min_size=1, max_size=3) | st.none(), max_size=5),
)


@given(plain)
def test_columns_and_single_values_are_named_by_one_rule(values: list[object]) -> None:
    assert names_of(chunked(pa.array(values)), "x").to_pylist() == [class_name(value) for value in values]


def test_labels_that_count() -> None:
    names = labels_of(chunked(pa.array(["a", "", None])), Task.CLASSIFICATION, "y")
    assert names.to_pylist() == ["a", None, None]
    numbers = labels_of(chunked(pa.array([1, math.nan, math.inf, 1e300, None])), Task.REGRESSION, "y")
    assert numbers.to_pylist() == [1.0, None, None, None, None]
    assert labels_of(chunked(pa.nulls(2)), Task.REGRESSION, "y").to_pylist() == [None, None]
    with pytest.raises(ContractError, match="'y'"):
        labels_of(chunked(pa.array(["a"])), Task.REGRESSION, "y")


CENTURIES = (datetime(1900, 1, 1), datetime(2200, 1, 1))  # noqa: DTZ001  (hypothesis wants bounds without a zone)
rows = st.lists(
    st.tuples(
        st.none() | st.floats(allow_nan=False, width=64),
        st.none() | st.booleans(),
        st.none() | st.text(max_size=4),
        st.none() | st.datetimes(*CENTURIES),
    ),
    min_size=1,
    max_size=6,
)


@given(rows)
def test_golden_rows_survive_json_exactly(values: list[tuple[object, ...]]) -> None:
    features = {"n": N, "b": B, "c": C, "t": D}
    columns = dict(zip(features, zip(*values, strict=True), strict=True))
    kinds = {"n": pa.float64(), "b": pa.bool_(), "c": pa.string(), "t": pa.timestamp("us")}
    frame = to_frame(pa.table({name: pa.array(columns[name], kinds[name]) for name in features}), features)
    back = json.loads(json.dumps(to_rows(frame), allow_nan=False))
    pd.testing.assert_frame_equal(to_frame(pa.Table.from_pylist(back), features), frame, check_exact=True)


def test_a_frame_does_not_depend_on_how_the_rows_lie_in_chunks() -> None:
    values = np.arange(10.0)
    whole = pa.table({"x": values})
    parts = pa.table({"x": chunked(pa.array(values[:3]), pa.array(values[3:]))})
    pd.testing.assert_frame_equal(to_frame(whole, {"x": N}), to_frame(parts, {"x": N}))
