"""What can be profiled, as *parts* that are read one after the other: files, tables, frames, streams of batches.

A part gives its columns one at a time, in pieces, so that a file of any size takes little memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from ct_daemon.errors import SourceError
from ct_daemon.scan.columns import is_text
from ct_daemon.scan.read import PARQUET, check_columns, faults_of, read_table

MAX_ROWS = 2**40
MAX_COLUMNS = 10_000
WHOLE_ROW_GROUP = 1 << 22
"""A column of a row group of so many rows or fewer is decoded in one go."""
PIECE = 1 << 20
"""Of larger ones, so many rows at once."""


class Part(Protocol):
    """Rows that can be read as often as needed."""

    @property
    def name(self) -> str:
        """For messages."""
        ...

    @property
    def schema(self) -> pa.Schema:
        """Columns and their types."""
        ...

    @property
    def rows(self) -> int:
        """How many."""
        ...

    def column(self, name: str) -> Iterator[pa.Array]:
        """One column in pieces, in the order of the rows. Several threads may read at once."""
        ...


@dataclass(frozen=True)
class TablePart:
    """A table in memory."""

    table: pa.Table
    name: str = "the table"

    @property
    def schema(self) -> pa.Schema:
        """Columns and their types."""
        return self.table.schema

    @property
    def rows(self) -> int:
        """How many."""
        return int(self.table.num_rows)

    def column(self, name: str) -> Iterator[pa.Array]:
        """See `Part`."""
        yield from self.table.column(name).chunks


@dataclass(frozen=True)
class TextPart:
    """A file of CSV or JSON lines. It is read as a whole, and the newest one read is kept."""

    path: Path

    @property
    def name(self) -> str:
        """The file's."""
        return self.path.name

    @property
    def schema(self) -> pa.Schema:
        """Columns and their types."""
        return _text(self.path, _stamp(self.path)).schema

    @property
    def rows(self) -> int:
        """How many."""
        return int(_text(self.path, _stamp(self.path)).num_rows)

    def column(self, name: str) -> Iterator[pa.Array]:
        """See `Part`."""
        yield from _text(self.path, _stamp(self.path)).column(name).chunks


def _stamp(path: Path) -> tuple[int, int, int]:
    """Changes when the file does."""
    with faults_of(path.name):
        found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


@lru_cache(maxsize=1)
def _text(path: Path, stamp: tuple[int, int, int]) -> pa.Table:
    with faults_of(path.name):
        return read_table(path, path.name, max_rows=MAX_ROWS, max_columns=MAX_COLUMNS)


@dataclass(frozen=True)
class ParquetPart:
    """A Parquet file. Each column of each row group is decoded on its own."""

    path: Path

    @property
    def name(self) -> str:
        """The file's."""
        return self.path.name

    @cached_property
    def _metadata(self) -> pq.FileMetaData:
        with faults_of(self.name):
            found = pq.read_metadata(self.path)
            check_columns(found.schema.to_arrow_schema().names, self.name, MAX_COLUMNS)
        return found

    @cached_property
    def schema(self) -> pa.Schema:
        """Columns and their types."""
        return self._metadata.schema.to_arrow_schema()

    @property
    def rows(self) -> int:
        """How many."""
        return int(self._metadata.num_rows)

    def column(self, name: str) -> Iterator[pa.Array]:
        """See `Part`. Texts come as dictionaries, which is how the file holds them."""
        texts = [name] if is_text(self.schema.field(name).type) else None
        with pq.ParquetFile(self.path, metadata=self._metadata, read_dictionary=texts) as file:
            for group in range(self._metadata.num_row_groups):
                if self._metadata.row_group(group).num_rows <= WHOLE_ROW_GROUP:
                    found = file.read_row_group(group, columns=[name], use_threads=False)
                    yield from found.column(name).chunks
                    continue
                for batch in file.iter_batches(
                    batch_size=PIECE, row_groups=[group], columns=[name], use_threads=False
                ):
                    yield batch.column(batch.schema.get_field_index(name))

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}


Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


def parts_of(data: Any) -> list[Part] | pa.RecordBatchReader:  # noqa: ANN401  (any frame)
    """The parts of `data`; a stream of batches, which can be read once only, is handed back as a reader.

    Parameters
    ----------
    data
        A path or several (Parquet, CSV, JSON lines), a mapping of names to arrays, an Arrow table, record batch or
        reader, or anything that speaks the Arrow C stream interface (pandas, polars, DuckDB).

    Raises
    ------
    SourceError
        `no_files`, `file_missing`, `unsupported_format`, `not_tabular`, and what `read_table` raises.
    """
    if isinstance(data, (str, os.PathLike)):
        return [_file(Path(data))]
    if isinstance(data, pa.RecordBatchReader):
        return data
    if isinstance(data, Sequence) and not isinstance(data, (bytes, bytearray)):
        if not data:
            raise SourceError("no files were given; name at least one", reason="no_files")
        if all(isinstance(path, (str, os.PathLike)) for path in data):
            return [_file(Path(path)) for path in data]
    try:
        return _in_memory(data)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise SourceError(
            f"a {type(data).__name__} can't be read as a table: {error}; give paths, an Arrow table, or a frame "
            "whose columns have one type each",
            reason="not_tabular",
        ) from error


def _in_memory(data: Any) -> list[Part] | pa.RecordBatchReader:  # noqa: ANN401
    if isinstance(data, pa.RecordBatch):
        return [TablePart(pa.Table.from_batches([data]))]
    if isinstance(data, (pa.Table, Mapping)):
        return [TablePart(pa.table(data))]
    if type(data).__module__.partition(".")[0] == "pandas":
        return [TablePart(pa.Table.from_pandas(data, preserve_index=False))]
    if hasattr(data, "__arrow_c_stream__") and not hasattr(data, "__len__"):
        return pa.RecordBatchReader.from_stream(data)
    if hasattr(data, "__arrow_c_stream__") or hasattr(data, "__arrow_c_array__"):
        return [TablePart(pa.table(data))]
    raise TypeError("it does not speak the Arrow C interface")


def _file(path: Path) -> Part:
    if not path.exists():
        raise SourceError(f"there is no file {path}; check the name", reason="file_missing")
    return ParquetPart(path) if path.suffix.lower() == PARQUET else TextPart(path)
