"""The first rows of a file, and what they say about its columns: enough to propose settings for it."""

from __future__ import annotations

from datetime import datetime
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from ct_daemon.scan.columns import kind_of, numbers
from ct_daemon.scan.read import BATCH_ROWS, read_table
from ct_daemon.types import ColumnKind

SAMPLE_BYTES = 8 * 1024 * 1024
"""So much of a text file is looked at ..."""
SAMPLE_CELLS = 10_000_000
"""... and so many values of a Parquet file."""
MAX_COLUMNS = 10_000
EXAMPLES = 20
"""So many different values of a column are handed on."""
_LONGEST_EXAMPLE = 60
_PROVED = 50
"""So many texts must be times for the column to be taken for one of times."""


def look_at(path: Path) -> dict[str, Any]:
    """What the first rows of a file say, as a plain JSON document.

    Returns
    -------
    dict
        ``{"rows": n, "whole": true, "columns": [{"name": ..., "kind": "numeric", "missing": n, "distinct": n,
        "examples": [text, ...], "integers": true, "moments": false, "least": x, "most": x}]}``. `whole` tells whether
        these are all rows; `examples` are the least values, in order; `moments` whether text is ISO 8601 times;
        `least` and `most` are there for numbers. A nested or binary column has its name, its kind and zeros.

    Raises
    ------
    SourceError, OSError, MemoryError
        As `read_table`.
    """
    table, whole = read_sample(path)
    columns = [_column(name, column) for name, column in zip(table.column_names, table.columns, strict=True)]
    return {"rows": table.num_rows, "whole": whole, "columns": columns}


def read_sample(
    path: Path, *, most_bytes: int = SAMPLE_BYTES, most_cells: int = SAMPLE_CELLS
) -> tuple[pa.Table, bool]:
    """The first rows of a file as the daemon would read them, and whether they are all.

    Raises
    ------
    SourceError, OSError, MemoryError
        As `read_table`.
    """
    with TemporaryDirectory(prefix="ct-daemon-") as folder:
        part = Path(folder) / f"part{path.suffix}"
        cut = _cut_rows(path, part, most_cells) if _is_parquet(path) else _cut_lines(path, part, most_bytes)
        table = read_table(part if cut else path, path.name, max_rows=most_cells, max_columns=MAX_COLUMNS)
    return table, not cut


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() == ".parquet"


def _cut_rows(path: Path, part: Path, most_cells: int) -> bool:
    """Write the first rows to `part` where there are too many; what is no Parquet is left to the reader."""
    try:
        with pa.parquet.ParquetFile(path) as file:
            rows = max(most_cells // max(len(file.schema_arrow.names), 1), 1)
            if file.metadata.num_rows <= rows:
                return False
            batches = list(
                islice(file.iter_batches(batch_size=min(rows, BATCH_ROWS)), -(-rows // BATCH_ROWS))
            )
            pa.parquet.write_table(
                pa.Table.from_batches(batches, schema=file.schema_arrow).slice(0, rows), part
            )
    except pa.ArrowException:
        return False
    return True


def _cut_lines(path: Path, part: Path, most_bytes: int) -> bool:
    """Write the first whole lines to `part` where there are too many. A line break in quotes ends no line."""
    if path.stat().st_size <= most_bytes:
        return False
    with path.open("rb") as file:
        head = file.read(most_bytes)
    quoted = path.suffix.lower() == ".csv"
    end = head.rfind(b"\n")
    while quoted and end > 0 and head.count(b'"', 0, end) % 2:
        end = head.rfind(b"\n", 0, end)
    if end <= 0:  # one endless line: the reader says what it thinks of it
        return False
    part.write_bytes(head[: end + 1])
    return True


def _column(name: str, column: pa.ChunkedArray) -> dict[str, Any]:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_string_view(column.type):
        column = column.cast(pa.large_string())
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), None, column)
    kind = kind_of(column.type)
    found: dict[str, Any] = {"name": name, "kind": kind.value, "missing": column.null_count}
    found |= {"distinct": 0, "examples": [], "integers": False, "moments": False}
    if kind in (ColumnKind.EMPTY, ColumnKind.UNSUPPORTED):
        return found
    distinct = pc.unique(column.drop_null())
    found["distinct"] = len(distinct)
    few = pc.take(distinct, pc.select_k_unstable(distinct, min(EXAMPLES, len(distinct)), [("", "ascending")]))
    found["examples"] = [str(value)[:_LONGEST_EXAMPLE] for value in few.to_pylist()]
    if kind is ColumnKind.CATEGORICAL:
        found["moments"] = _are_moments(distinct[:_PROVED].to_pylist())
    if kind is ColumnKind.NUMERIC:
        found |= _numbers(column)
    return found


def _numbers(column: pa.ChunkedArray) -> dict[str, Any]:
    values = numbers(column)
    finite = values[np.isfinite(values)]
    if not finite.size:
        return {}
    whole = bool(np.all(finite == np.floor(finite)))
    return {"integers": whole, "least": float(finite.min()), "most": float(finite.max())}


def _are_moments(texts: list[str]) -> bool:
    return bool(texts) and all(_is_moment(text) for text in texts)


def _is_moment(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return "-" in text  # a number of eight digits may be anything
