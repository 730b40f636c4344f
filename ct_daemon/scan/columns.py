"""What a column is, and its values as arrays."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ct_daemon.drift.places import Floats, Ints
from ct_daemon.types import ColumnKind, Contract

_UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_DAY_S = 86_400.0


def kind_of(type_: pa.DataType) -> ColumnKind:
    """How a column of this Arrow type is compared."""
    if pa.types.is_dictionary(type_):
        return kind_of(type_.value_type)
    if pa.types.is_null(type_):
        return ColumnKind.EMPTY
    if pa.types.is_boolean(type_):
        return ColumnKind.BOOLEAN
    if pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_):
        return ColumnKind.NUMERIC
    if pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_):
        return ColumnKind.CATEGORICAL
    if pa.types.is_date(type_) or pa.types.is_timestamp(type_):
        return ColumnKind.DATETIME
    return ColumnKind.UNSUPPORTED


def kinds_of(table: pa.Table) -> Mapping[str, ColumnKind]:
    """The kind of each column by name."""
    return {field.name: kind_of(field.type) for field in table.schema}


def contract_of(table: pa.Table) -> Contract:
    """The columns of a table as found."""
    return Contract(columns=kinds_of(table))


def numbers(column: pa.ChunkedArray) -> Floats:
    """A numeric, boolean or datetime column as float64; missing is NaN, datetimes are seconds since 1970 UTC
    (a timestamp without a time zone counts as UTC). Integers beyond 2**53 are rounded.

    Raises
    ------
    ValueError
        For a column of another kind.
    """
    type_ = column.type
    if pa.types.is_dictionary(type_):
        return numbers(column.cast(type_.value_type))
    kind = kind_of(type_)
    if kind is ColumnKind.EMPTY:
        return np.full(len(column), np.nan)
    if kind not in (ColumnKind.NUMERIC, ColumnKind.BOOLEAN, ColumnKind.DATETIME):
        raise ValueError(f"a column of type {type_} has no numbers")
    if pa.types.is_date32(type_):
        return _floats(column.cast(pa.int32())) * _DAY_S
    if pa.types.is_date64(type_):
        return _seconds(column, _UNITS["ms"])
    if pa.types.is_timestamp(type_):
        return _seconds(column, _UNITS[type_.unit])
    return _floats(column)


def floats_of(array: pa.Array) -> Floats:
    """The same for a piece of a column; without a copy where the memory already is what is wanted."""
    if pa.types.is_float64(array.type):
        return np.asarray(array.to_numpy(zero_copy_only=False))
    return numbers(pa.chunked_array([array]))


def is_text(type_: pa.DataType) -> bool:
    """Whether a column of this type is of texts, plain or coded."""
    if pa.types.is_dictionary(type_):
        return is_text(type_.value_type)
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_))


def names_of(array: pa.Array) -> tuple[pa.Array, Ints]:
    """The distinct values of a piece of a categorical or boolean column as texts, and how often each occurs.

    Missing is one of them if there is any. A value may be listed more than once.
    """
    if pa.types.is_dictionary(array.type):
        counts = np.bincount(array.indices.drop_null().to_numpy(), minlength=len(array.dictionary))
        names = array.dictionary.cast(pa.large_string())
        gone = array.indices.null_count
        if gone:
            names = pa.concat_arrays([names, pa.nulls(1, pa.large_string())])
            counts = np.append(counts, gone)
        return names, counts.astype(np.int64)
    found = pc.value_counts(array if is_text(array.type) else array.cast(pa.large_string()))
    return found.field(0).cast(pa.large_string()), found.field(1).to_numpy().astype(np.int64)


def _floats(column: pa.ChunkedArray) -> Floats:
    floats = column.cast(pa.float64(), safe=False)
    return np.asarray(floats.to_numpy(), dtype=np.float64)


def _seconds(column: pa.ChunkedArray, unit: int) -> Floats:
    """Timestamps to seconds. Whole seconds and the rest apart: a count of nanoseconds has more digits than float64,
    and the same moment must be the same number in every unit."""
    whole, rest = np.divmod(pc.fill_null(column.cast(pa.int64()), 0).to_numpy(), unit)
    return np.where(column.is_null().to_numpy(), np.nan, whole + rest / unit)


def codes(column: pa.ChunkedArray) -> tuple[Ints, list[str]]:
    """A categorical or boolean column as places in a list of its distinct names; missing is -1."""
    texts = column.cast(pa.large_string())
    encoded = pc.dictionary_encode(texts).combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.unify_dictionaries().combine_chunks()
    places = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
    return places.astype(np.int64), encoded.dictionary.to_pylist()
