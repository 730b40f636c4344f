"""The rows of batches as they lie in the state folder: written once, read by column."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ct_daemon.errors import SourceError, StateError
from ct_daemon.scan.read import write_table


def store_rows(rows: pa.Table, path: Path) -> None:
    """Objects are named by the digest of the file they came in and written whole: one that is there is complete."""
    if path.exists():
        return
    try:
        write_table(rows, path)
    except OSError as error:
        raise disk_refused(path, error) from error


def read_columns(path: Path, names: Iterable[str]) -> pa.Table:
    """Those of the columns that a stored object has."""
    try:
        with pq.ParquetFile(path) as file:
            there = set(file.schema_arrow.names)
            table = file.read(columns=[name for name in names if name in there])
    except (OSError, pa.ArrowException) as error:
        raise SourceError(
            f"the stored rows {path.name} can't be read ({error}); put the file back from a backup",
            reason="object_unreadable",
        ) from error
    # Without any column, Arrow forgets the number of rows as soon as tables are joined.
    return table if table.num_columns else pa.table({"": pa.nulls(table.num_rows)})


def disk_refused(path: Path, error: OSError) -> StateError:
    """The state folder takes no more: nobody's file is at fault."""
    return StateError(
        f"{path} can't be written: {error.strerror or error}; check space and permissions of the state folder",
        reason="disk_refused",
    )
