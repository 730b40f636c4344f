"""What can be profiled, as *parts* that are read one after the other: files, tables, frames, streams of batches.

A part gives its columns one at a time, in pieces, so that a file of any size takes little memory.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Lock, get_ident
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ct_daemon.errors import SourceError
from ct_daemon.scan.columns import is_text
from ct_daemon.scan.paths import files_of
from ct_daemon.scan.read import PARQUET, check_columns, faults_of, read_table

MAX_ROWS = 2**40
MAX_COLUMNS = 10_000
PIECE = 1 << 20
"""So many rows of a column of a Parquet file are decoded at once."""
ROOM = 1 << 29
"""Text files that were read are kept while they take no more bytes than this."""


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

    def close(self) -> None:
        """Let go of what was opened for reading; the next column opens it again."""
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

    def close(self) -> None:
        """See `Part`; nothing is open."""


@dataclass(frozen=True)
class TextPart:
    """A file of CSV or JSON lines. It is read as a whole, and kept while there is room (see `forget_texts`)."""

    path: Path
    stamp: tuple[int, int] | None = None
    """Size and time of the file when it was named; it must stay the same while it is read."""

    @property
    def name(self) -> str:
        """The file's."""
        return self.path.name

    @property
    def schema(self) -> pa.Schema:
        """Columns and their types."""
        return self._shape[0]

    @property
    def rows(self) -> int:
        """How many."""
        return self._shape[1]

    @cached_property
    def _shape(self) -> tuple[pa.Schema, int]:
        found = _TEXTS.table(self.path, self.stamp)
        return found.schema, int(found.num_rows)

    def column(self, name: str) -> Iterator[pa.Array]:
        """See `Part`."""
        yield from _TEXTS.table(self.path, self.stamp).column(name).chunks

    def close(self) -> None:
        """See `Part`; nothing is open."""


@dataclass
class _Texts:
    """Text files that were read, so that several passes and threads parse each one once as long as there is room."""

    tables: dict[tuple[Path, tuple[int, int] | None], pa.Table] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)

    def table(self, path: Path, stamp: tuple[int, int] | None) -> pa.Table:
        with self.lock:
            key = path, stamp
            if key not in self.tables:
                self.tables[key] = _read(path, stamp)
                self._make_room()
            return self.tables[key]

    def _make_room(self) -> None:
        """The newest stays. Files are read in the same order again and again, so the one before it is needed last."""
        while len(self.tables) > 1 and sum(table.nbytes for table in self.tables.values()) > ROOM:
            del self.tables[list(self.tables)[-2]]

    def forget(self) -> None:
        with self.lock:
            self.tables.clear()


_TEXTS = _Texts()


def _read(path: Path, stamp: tuple[int, int] | None) -> pa.Table:
    with faults_of(path.name):
        found = read_table(path, path.name, max_rows=MAX_ROWS, max_columns=MAX_COLUMNS)
        if stamp is not None and _stamp(path) != stamp:
            raise SourceError(
                f"{path.name} was written to while it was read; try again once it stands still",
                reason="file_changed",
            )
    return found


def forget_texts() -> None:
    """Let go of the text files that are kept."""
    _TEXTS.forget()


def _stamp(path: Path) -> tuple[int, int]:
    with faults_of(path.name):
        found = path.stat()
    return found.st_size, found.st_mtime_ns


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

    @cached_property
    def _files(self) -> _OpenFiles:
        return _OpenFiles()

    def column(self, name: str) -> Iterator[pa.Array]:
        """See `Part`. Texts come as dictionaries, which is how the file holds them."""
        file = self._files.of_thread(self._open)
        for batch in file.iter_batches(batch_size=PIECE, columns=[name], use_threads=False):
            yield batch.column(batch.schema.get_field_index(name))

    def close(self) -> None:
        """See `Part`."""
        self._files.close()

    def _open(self) -> pq.ParquetFile:
        texts = [field.name for field in self.schema if is_text(field.type)]
        return pq.ParquetFile(self.path, metadata=self._metadata, read_dictionary=texts, pre_buffer=False)

    def __reduce__(self) -> tuple[type[ParquetPart], tuple[Path]]:
        return ParquetPart, (self.path,)


class _OpenFiles:
    """An open file for each thread that reads: opening one costs as much as decoding a column, if it has many."""

    def __init__(self) -> None:
        self._files: dict[int, pq.ParquetFile] = {}

    def of_thread(self, open_one: Callable[[], pq.ParquetFile]) -> pq.ParquetFile:
        me = get_ident()
        if me not in self._files:
            self._files[me] = open_one()
        return self._files[me]

    def close(self) -> None:
        while self._files:
            self._files.popitem()[1].close()


Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


def parts_of(data: Any) -> list[Part] | pa.RecordBatchReader:  # noqa: ANN401  (any frame)
    """The parts of `data`; a stream of batches, which can be read once only, is handed back as a reader.

    Parameters
    ----------
    data
        A path or several (Parquet, CSV, JSON lines; a folder or a pattern stands for its files), a mapping of names
        to arrays, an Arrow table, record batch or reader, or anything that speaks the Arrow C stream interface
        (pandas, polars, DuckDB).

    Raises
    ------
    SourceError
        `no_files`, `file_missing`, `unsupported_format`, `not_tabular`, and what `read_table` raises.
    """
    if isinstance(data, (str, os.PathLike)):
        return _parts(Path(data))
    if isinstance(data, pa.RecordBatchReader):
        return data
    if isinstance(data, Sequence) and not isinstance(data, (bytes, bytearray)):
        if not data:
            raise SourceError("no files were given; name at least one", reason="no_files")
        if all(isinstance(path, (str, os.PathLike)) for path in data):
            return [part for path in data for part in _parts(Path(path))]
    try:
        return _in_memory(data)
    except (pa.ArrowException, AttributeError, KeyError, TypeError, ValueError) as error:
        raise SourceError(
            f"a {type(data).__name__} can't be read as a table: {error}; give paths, an Arrow table, or a frame "
            "whose columns have one type each",
            reason="not_tabular",
        ) from error


def _in_memory(data: Any) -> list[Part] | pa.RecordBatchReader:  # noqa: ANN401
    if hasattr(data, "__arrow_c_stream__") and not hasattr(data, "__len__"):
        reader = pa.RecordBatchReader.from_stream(data)
        _once(reader.schema)
        return reader
    table = _table(data)
    _once(table.schema)
    return [TablePart(table)]


def _table(data: Any) -> pa.Table:  # noqa: ANN401
    if isinstance(data, pa.RecordBatch):
        return pa.Table.from_batches([data])
    if isinstance(data, pa.Table):
        return data
    if isinstance(data, Mapping):
        return pa.table({name: _array(values) for name, values in data.items()})
    if type(data).__module__.partition(".")[0] == "pandas" and hasattr(data, "columns"):
        columns = [_array(data.iloc[:, nth]) for nth in range(len(data.columns))]
        return pa.Table.from_arrays(columns, names=[str(name) for name in data.columns])
    if hasattr(data, "__arrow_c_stream__") or hasattr(data, "__arrow_c_array__"):
        return pa.table(data)
    raise TypeError("it does not speak the Arrow C interface")


def _array(values: Any) -> Any:  # noqa: ANN401
    """As Arrow. In numbers NaN stays what it is, and nothing is copied; among objects it stands for missing, as
    pandas has it."""
    numbers = getattr(values, "dtype", None)
    if isinstance(numbers, np.dtype) and numbers.kind in "iuf":
        return pa.array(np.asarray(values), from_pandas=False)
    pandas = type(values).__module__.partition(".")[0] == "pandas"
    objects = pandas or (isinstance(values, np.ndarray) and values.dtype == object)
    return pa.array(values, from_pandas=True) if objects else values


def _once(schema: pa.Schema) -> None:
    twice = [name for name, count in Counter(schema.names).items() if count > 1]
    if twice:
        raise ValueError(f"it has the column {twice[0]!r} more than once")


def _parts(path: Path) -> list[Part]:
    return [
        ParquetPart(file) if file.suffix.lower() == PARQUET else TextPart(file, _stamp(file))
        for file in files_of(path)
    ]
