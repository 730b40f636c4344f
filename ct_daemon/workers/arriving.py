"""From the table in a file to a batch within its contract."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ct_daemon.dataset.contract import check
from ct_daemon.dataset.frames import decoded, labels_of, names_of, numbers_of
from ct_daemon.errors import ContractError
from ct_daemon.scan.columns import contract_of, kind_of
from ct_daemon.types import BatchKind, ColumnKind, Columns, Contract, Task

YEAR_9999_S = 253_402_300_799.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """A batch within its contract.

    `rows` is what gets stored: nested and binary columns are left out, the time column holds UTC timestamps, a column
    without any value has the type null, and other types are few, so that all batches of a model fit together. Of
    labels, only row id and target are kept. `labels` is the target as `dataset.frames.labels_of` gives it.
    """

    rows: pa.Table
    found: Contract
    labels: pa.ChunkedArray | None
    event_from_at: datetime | None = None
    event_until_at: datetime | None = None


def arrived(
    table: pa.Table,
    contract: Contract | None,
    columns: Columns,
    kind: BatchKind,
    task: Task,
    *,
    labels_later: bool = False,
) -> Arrived:
    """Make a batch of a table, or say why not.

    Parameters
    ----------
    labels_later : bool
        Rows may lack the target, since labels come in files of their own.

    Raises
    ------
    ContractError
        With one of the reasons of `dataset.contract.check` (and the details of all faults), `target_missing`, or
        `row_id_missing`, `row_id_repeated`, `time_missing`, `time_unreadable` for what stands in the rows.
    """
    if kind is BatchKind.ROWS and not labels_later and columns.target not in table.column_names:
        there = ", ".join(map(repr, table.column_names[:8])) + (", ..." if table.num_columns > 8 else "")
        raise ContractError(
            f"the target {columns.target!r} is not among its columns ({there}); correct data.target, or add a "
            "'labels' section if labels come later",
            reason="target_missing",
        )
    if kind is BatchKind.LABELS:
        table = table.select(
            [name for name in (columns.row_id, columns.target) if name in table.column_names]
        )
    found = _found(table)
    faults = check(contract, found, columns, kind, task)
    if faults:
        raise ContractError("; ".join(fault.detail for fault in faults), reason=faults[0].reason)
    if columns.row_id is not None:
        _check_row_ids(table[columns.row_id], columns.row_id)
    first = last = None
    if kind is BatchKind.ROWS and columns.time is not None:
        times = _times(table[columns.time], columns.time)
        first, last = _span(times, columns.time)
        table = table.set_column(table.column_names.index(columns.time), columns.time, times)
    rows = _storable(table, found, columns)
    target = columns.target
    return Arrived(
        rows=rows,
        found=found,
        labels=labels_of(rows[target], task, target) if target in rows.column_names else None,
        event_from_at=first,
        event_until_at=last,
    )


def _found(table: pa.Table) -> Contract:
    """The columns as found; one in which every value is missing tells no kind, whatever its type."""
    kinds = contract_of(table).columns
    return Contract(
        columns={
            name: ColumnKind.EMPTY if _all_missing(table[name]) else kind for name, kind in kinds.items()
        }
    )


def _all_missing(column: pa.ChunkedArray) -> bool:
    if column.null_count == len(column):
        return True
    return pa.types.is_floating(column.type) and bool(pc.all(pc.is_nan(column)).as_py())


def _check_row_ids(column: pa.ChunkedArray, name: str) -> None:
    ids = names_of(column, name)
    nameless = ids.null_count + (pc.sum(pc.equal(ids, "")).as_py() or 0)
    if nameless:
        raise ContractError(
            f"{nameless} of {len(ids)} rows have no row id in {name!r}; give every row one",
            reason="row_id_missing",
        )
    if pc.count_distinct(ids).as_py() == len(ids):
        return
    counts = ids.value_counts()
    repeated = counts.filter(pc.greater(counts.field("counts"), 1)).field("values")
    raise ContractError(
        f"{len(repeated)} row ids stand more than once in {name!r}, such as {repeated[0].as_py()!r}; a row id "
        "names one row",
        reason="row_id_repeated",
    )


def _times(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """Times as UTC timestamps in microseconds; null where there is none.

    Text is ISO 8601, numbers are seconds since 1970; what has no zone counts as UTC.
    """
    kind = kind_of(column.type)
    if kind is ColumnKind.DATETIME:
        return decoded(column)
    if kind is ColumnKind.CATEGORICAL:
        texts = pd.Series(names_of(column, name).to_numpy(), dtype=object)
        try:
            times = pd.to_datetime(texts, format="ISO8601", utc=True)
        except ValueError as error:
            raise _unreadable(name, str(error).partition("You might")[0].strip()) from error
        return decoded(pa.chunked_array([pa.array(times)]))
    seconds = numbers_of(column, name)
    known = ~np.isnan(seconds)
    if np.any(np.abs(seconds[known]) > YEAR_9999_S):
        raise _unreadable(name, f"{seconds[known].max():g} is no number of seconds since 1970")
    micros = np.rint(np.where(known, seconds, 0.0) * 1e6).astype(np.int64)
    return pa.chunked_array([pa.array(micros, mask=~known)]).cast(pa.timestamp("us"))


def _span(times: pa.ChunkedArray, name: str) -> tuple[datetime, datetime]:
    """The first and the last of them."""
    ends = pc.min_max(times)
    try:
        first, last = ends["min"].as_py(), ends["max"].as_py()
    except (OverflowError, ValueError) as error:
        raise _unreadable(name, "there are times beyond the years 1 to 9999") from error
    if first is None:
        raise ContractError(f"the time column {name!r} is empty", reason="time_missing")
    return first.replace(tzinfo=UTC), last.replace(tzinfo=UTC)


def _unreadable(name: str, why: str) -> ContractError:
    return ContractError(
        f"the time column {name!r} can't be read: {why}; give times, ISO 8601 text or seconds since 1970",
        reason="time_unreadable",
    )


def _storable(table: pa.Table, found: Contract, columns: Columns) -> pa.Table:
    """What `Arrived.rows` says. Row ids and targets keep their digits: they are compared by name, not joined."""
    exact = (columns.row_id, columns.target)
    stored = {}
    for name, kind in found.columns.items():
        if kind is ColumnKind.EMPTY:
            stored[name] = pa.nulls(table.num_rows)
        elif kind is not ColumnKind.UNSUPPORTED:
            column = decoded(table[name])
            stored[name] = column if name in exact else _plain(column)
    return pa.table(stored)


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """In a type that Arrow joins with the others of its kind: integers up to 64 bits with a sign, floats, text."""
    kind = column.type
    if pa.types.is_decimal(kind) or pa.types.is_uint64(kind) or pa.types.is_float16(kind):
        return column.cast(pa.float64(), safe=False)
    if pa.types.is_string_view(kind):
        return column.cast(pa.string())
    return column
