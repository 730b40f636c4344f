"""The labelled rows of a snapshot as one table: late labels joined, sorted by time, cut to the window, split."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ct_daemon.dataset.frames import decoded, labels_of, names_of, numbers_of
from ct_daemon.dataset.labels import labels_in_force, late_labels
from ct_daemon.errors import ContractError
from ct_daemon.types import BatchKind, Snapshot, SnapshotPart, Task

SEQ = "__seq__"
"""Column of `load_rows`: the `seq` of the batch that a row came in."""

MIN_SPLIT_ROWS = 10
"""Neither side of a split may have fewer rows."""


def load_rows(snapshot: Snapshot, state: Path, task: Task, columns: Iterable[str] | None = None) -> pa.Table:
    """The labelled rows of a snapshot.

    Parameters
    ----------
    snapshot : Snapshot
    state : Path
        The state folder, to which the parts' paths are relative.
    task : Task
        How labels are read (`frames.labels_of`): as class names or as float64.
    columns : iterable of str, optional
        Columns to read, those of the contract; default: the columns common to all parts.

    Returns
    -------
    pyarrow.Table
        The columns asked for, target, row id (as text) and time, and the integer `__seq__`. Sorted by time where
        the snapshot has a time column (rows of the same time in arrival order, rows without a time first), else
        in arrival order; only the newest `window_rows` of them. Which label a row has is settled in
        `dataset.labels`; rows without one are left out.

    Raises
    ------
    ContractError
        `columns_missing`; `part_altered` if a part is absent or not as recorded; `contract_broken` if columns
        can't be brought to one type, or labels can't be read.
    """
    parts = [part for part in snapshot.parts if part.kind is BatchKind.ROWS]
    if not parts:
        raise ContractError(
            "the snapshot holds no batch of rows; wait for one to arrive", reason="too_few_rows"
        )
    files = {part.seq: _open(part, state) for part in parts}
    wanted = _wanted(snapshot, files.values(), columns)
    tables = [_read_rows(snapshot, part, files[part.seq], wanted, task) for part in parts]
    try:
        table = pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowTypeError, pa.ArrowInvalid) as error:
        raise ContractError(
            f"the batches of the snapshot don't agree on a column's type ({error}); give it one type in all files, "
            "or list it under data.ignore"
        ) from error
    target = snapshot.columns.target
    table = _set(table, target, _with_late_labels(snapshot, state, task, table))
    table = _by_time(table.filter(pc.is_valid(table[target])), snapshot.columns.time)
    return table.slice(max(0, table.num_rows - (snapshot.window_rows or table.num_rows)))


def split(table: pa.Table, holdout: float) -> tuple[pa.Table, pa.Table]:
    """(older part to fit on, newest part to judge on); the latter is the share `holdout`, rounded.

    Raises
    ------
    ContractError
        `too_few_rows` unless both parts have ten rows.
    """
    newest = round(table.num_rows * holdout)
    older = table.num_rows - newest
    if min(older, newest) < MIN_SPLIT_ROWS:
        raise ContractError(
            f"{table.num_rows} labelled rows make {older} to train on and {newest} to judge on; both need "
            f"{MIN_SPLIT_ROWS}: wait for more, or change training.holdout",
            reason="too_few_rows",
        )
    return table.slice(0, older), table.slice(older)


# --- reading parts ---------------------------------------------------------------------------------------


def _open(part: SnapshotPart, state: Path) -> pq.ParquetFile:
    path = state / part.path
    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise _altered(part, f"can't be read ({error})") from error
    if file.metadata.num_rows != part.rows:
        raise _altered(part, f"holds {file.metadata.num_rows} rows, not {part.rows}")
    return file


def _read(part: SnapshotPart, file: pq.ParquetFile, names: list[str]) -> pa.Table:
    absent = [name for name in names if name not in file.schema_arrow.names]
    if absent:
        raise ContractError(
            f"batch {part.seq} lacks {', '.join(absent)}; every batch must hold all columns of the contract",
            reason="columns_missing",
        )
    try:
        return file.read(columns=names)
    except (OSError, pa.ArrowInvalid) as error:
        raise _altered(part, f"can't be read ({error})") from error


def _wanted(snapshot: Snapshot, files: Iterable[pq.ParquetFile], columns: Iterable[str] | None) -> list[str]:
    """Columns to read from each batch of rows, the target left aside (it may come later)."""
    if columns is None:
        schemas = [file.schema_arrow.names for file in files]
        common = set(schemas[0]).intersection(*schemas[1:])
        columns = [name for name in schemas[0] if name in common]
    roles = snapshot.columns
    joined = roles.row_id if any(part.kind is BatchKind.LABELS for part in snapshot.parts) else None
    wanted = dict.fromkeys([*columns, *(name for name in (joined, roles.time) if name)])
    if SEQ in wanted:
        raise ContractError(f"a column is called {SEQ}, which has a meaning of its own; rename it")
    return [name for name in wanted if name != roles.target]


def _read_rows(
    snapshot: Snapshot, part: SnapshotPart, file: pq.ParquetFile, wanted: list[str], task: Task
) -> pa.Table:
    roles = snapshot.columns
    has_target = roles.target in file.schema_arrow.names
    raw = _read(part, file, [*wanted, roles.target] if has_target else wanted)
    columns = {name: decoded(raw[name]) for name in wanted}
    if roles.row_id in columns:
        columns[roles.row_id] = names_of(raw[roles.row_id], roles.row_id)
    target = raw[roles.target] if has_target else pa.chunked_array([pa.nulls(part.rows)])
    columns[roles.target] = labels_of(target, task, roles.target)
    columns[SEQ] = pa.array(np.full(part.rows, part.seq, dtype=np.int64))
    return pa.table(columns)


# --- joining and sorting ---------------------------------------------------------------------------------


def _with_late_labels(snapshot: Snapshot, state: Path, task: Task, table: pa.Table) -> pa.ChunkedArray:
    """The target column of `table` with what the labels batches say."""
    roles = snapshot.columns
    parts = [part for part in snapshot.parts if part.kind is BatchKind.LABELS]
    if not parts:
        return table[roles.target]
    if roles.row_id is None:
        raise ContractError("labels that come later are joined by a row id: set data.row_id")
    late = late_labels((_read_labels(snapshot, part, state, task, roles.row_id) for part in parts), task)
    return labels_in_force(table[roles.target], table[SEQ], table[roles.row_id], late)


def _read_labels(
    snapshot: Snapshot, part: SnapshotPart, state: Path, task: Task, row_id: str
) -> tuple[int, pa.ChunkedArray, pa.ChunkedArray]:
    target = snapshot.columns.target
    raw = _read(part, _open(part, state), [row_id, target])
    return part.seq, names_of(raw[row_id], row_id), labels_of(raw[target], task, target)


def _by_time(table: pa.Table, time: str | None) -> pa.Table:
    if time is None:
        return table
    seconds = _seconds(table[time], time)
    order = np.argsort(np.where(np.isnan(seconds), -np.inf, seconds), kind="stable")
    return table.take(pa.array(order))


def _seconds(column: pa.ChunkedArray, name: str) -> NDArray[np.float64]:
    """Times as seconds since 1970 UTC, from text in ISO 8601 too; NaN where there is none."""
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return numbers_of(column, name)
    times = pd.to_datetime(pd.Series(column.to_numpy()), format="ISO8601", utc=True, errors="coerce")
    return numbers_of(pa.chunked_array([pa.array(times)]), name)


def _set(table: pa.Table, name: str, column: pa.ChunkedArray) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, column)


def _altered(part: SnapshotPart, what: str) -> ContractError:
    return ContractError(
        f"the stored batch {part.seq} ({part.path}) {what}; put it back from a backup", reason="part_altered"
    )
