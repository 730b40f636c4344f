"""Arrow columns to what estimators take: data frames of numbers and text, the same for training and scoring."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ct_daemon.errors import ContractError
from ct_daemon.evaluation.metrics import class_names
from ct_daemon.types import ColumnKind, Task

MISSING = "(missing)"
"""What a missing category is called: a category of its own."""

LARGEST = 3e38
"""Numbers beyond ± this (infinite ones too) count as missing: estimators that work in float32 can't take them."""

_NUMBERS = frozenset({ColumnKind.NUMERIC, ColumnKind.BOOLEAN, ColumnKind.DATETIME})


def to_frame(table: pa.Table, features: Mapping[str, ColumnKind]) -> pd.DataFrame:
    """The features of a table as a data frame.

    Parameters
    ----------
    table : pyarrow.Table
        Other columns are ignored.
    features : mapping of name to kind
        Numeric, boolean, datetime or categorical.

    Returns
    -------
    pandas.DataFrame
        Columns in the order of `features`: float64 with NaN for missing (booleans 0 and 1, datetimes seconds since
        1970 UTC), or object columns of text with "(missing)".

    Raises
    ------
    ContractError
        `columns_missing` naming the absent columns; `contract_broken` if a column can't be read as its kind.
    """
    absent = [name for name in features if name not in table.column_names]
    if absent:
        raise ContractError(
            f"columns are missing: {', '.join(absent)}; the data must hold every feature of the model",
            reason="columns_missing",
        )
    return _frame({name: _values(table[name], name, kind) for name, kind in features.items()}, table.num_rows)


def to_rows(frame: pd.DataFrame) -> list[dict[str, float | str | None]]:
    """The rows of a frame of `to_frame` as plain JSON, missing numbers as None.

    ``to_frame(pyarrow.Table.from_pylist(rows), features)`` gives the same frame again.
    """
    columns = [
        [None if value != value else value for value in frame[name].tolist()] for name in frame.columns
    ]
    return [dict(zip(frame.columns, row, strict=True)) for row in zip(*columns, strict=True)]


def labels_of(column: pa.ChunkedArray, task: Task, name: str) -> pa.ChunkedArray:
    """Labels in the form in which they are trained on and compared.

    Returns
    -------
    pyarrow.ChunkedArray
        Class names (text) or float64; null where there is no label that counts: a missing one, empty text, a number
        beyond ± `LARGEST`.

    Raises
    ------
    ContractError
        `contract_broken` if the column can't be read so.
    """
    if task is Task.CLASSIFICATION:
        names = names_of(column, name)
        return pc.if_else(pc.equal(names, ""), pa.scalar(None, pa.string()), names)
    numbers = numbers_of(column, name)
    return pa.chunked_array([pa.array(numbers, type=pa.float64(), mask=~(np.abs(numbers) <= LARGEST))])


def numbers_of(column: pa.ChunkedArray, name: str) -> NDArray[np.float64]:
    """A column of numbers, booleans or times as float64; missing is NaN, times are seconds since 1970 UTC.

    Raises
    ------
    ContractError
        `contract_broken` if the column is none of these.
    """
    column = decoded(column)
    kind = column.type
    if pa.types.is_timestamp(kind):
        column, unit = column.cast(pa.timestamp("us"), safe=False).cast(pa.int64()), 1e6
    elif _is_number(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind):
        unit = 1.0
    else:
        raise _not_readable(name, kind, "numbers")
    numbers: NDArray[np.float64] = column.cast(pa.float64(), safe=False).to_numpy()
    return numbers / unit if unit != 1.0 else numbers


def names_of(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """A column as text by the rule of `evaluation.metrics.class_name`, but empty text stays; missing is null.

    Row ids, classes and categories are compared in this form.

    Raises
    ------
    ContractError
        `contract_broken` if the column is nested or binary.
    """
    column = decoded(column)
    kind = column.type
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        values = class_names(column.cast(pa.float64()).to_pylist())
        return pa.chunked_array([pa.array(values, type=pa.string())])
    if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        raise _not_readable(name, kind, "text")
    try:
        return column.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise _not_readable(name, kind, "text") from error


def decoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The same values in one of few types, so that files that spell a column differently fit together.

    Dictionaries are written out; dates and times become microseconds without a zone, the instant in UTC.
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        return decoded(column.cast(kind.value_type))
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return column.cast(pa.timestamp("us"), safe=False)
    return column


def _values(column: pa.ChunkedArray, name: str, kind: ColumnKind) -> NDArray[Any]:
    if kind in _NUMBERS:
        numbers = numbers_of(column, name)
        return np.where(np.abs(numbers) <= LARGEST, numbers, np.nan)
    if kind is ColumnKind.CATEGORICAL:
        texts: NDArray[Any] = pc.fill_null(names_of(column, name), MISSING).to_numpy()
        return texts
    raise ContractError(f"column {name!r} of kind {kind.value} can't be a feature; list it under data.ignore")


def _frame(columns: Mapping[str, NDArray[Any]], rows: int) -> pd.DataFrame:
    """Each as its own series: pandas would turn object columns of text into its text type by itself."""
    series = {name: pd.Series(values, dtype=values.dtype) for name, values in columns.items()}
    return pd.DataFrame(series, index=pd.RangeIndex(rows))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _not_readable(name: str, kind: pa.DataType, what: str) -> ContractError:
    return ContractError(
        f"column {name!r} holds {kind}, which can't be read as {what}; give it the type that it had before, "
        "or list it under data.ignore"
    )
