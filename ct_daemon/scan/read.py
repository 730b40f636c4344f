"""Files of rows to Arrow tables and back. Whatever bytes a file holds, the answer is a table or a `SourceError`
whose `reason` is a quarantine code; what is wrong with the disk or the memory is never called the file's fault."""

from __future__ import annotations

import errno
import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

from ct_daemon.errors import SourceError
from ct_daemon.folders import sync

PARQUET = ".parquet"
BLOCK_BYTES = 8 * 1024 * 1024
"""CSV and JSON are parsed in blocks of this size; no row may be longer."""
BATCH_ROWS = 65_536
OTHER_SEPARATORS = ";\t|"
MAX_DEPTH = 64
"""JSON values may be nested so deep."""

_FAULTS = (pa.ArrowException, OSError, ValueError, TypeError, KeyError, OverflowError)
"""What Arrow raises on bytes that it can't make sense of."""
_OF_BYTES = frozenset({None, errno.EINVAL, errno.EOVERFLOW})
"""Numbers of an `OSError` that bytes can bring about: Arrow's own has none, and a place in a file that can't be is
refused by the system. With any other number it is the disk that failed."""
_TEXT = re.compile(rb'"((?:[^"\\]|\\.)*+)"\s*+(:?)')
"""A JSON text, and whether it is a key."""


def read_table(path: Path, name: str, *, max_rows: int, max_columns: int) -> pa.Table:
    """Read a Parquet, CSV or JSON-lines file; the end of `name` tells which.

    Limits are counted while reading and not taken from what the file says about itself. Types of CSV and JSON
    columns are inferred over the whole file; in CSV an empty field (or NA, null, nan) is missing.

    Parameters
    ----------
    path : Path
        The bytes.
    name : str
        The name under which the file arrived, for its format and for messages.

    Raises
    ------
    SourceError
        `unsupported_format`, `empty_file` (no bytes), `unreadable`, `no_rows`, `too_many_rows`,
        `too_many_columns`, `duplicate_columns`; of CSV also `not_comma_separated`, `not_utf8`.
    OSError
        When `path` can't be opened or the disk does not give its bytes.
    MemoryError
        When there is too little memory (a file that claims to be huge can bring it about, too).
    """
    readers = {PARQUET: _parquet, ".csv": _csv, ".jsonl": _json_lines, ".ndjson": _json_lines}
    reader = readers.get(Path(name).suffix.lower())
    if reader is None:
        raise _refusal(name, "unsupported_format", f"its name ends in none of {', '.join(readers)}")
    try:
        if path.stat().st_size == 0:
            raise _refusal(name, "empty_file", "it has no bytes")
        table = reader(path, name, max_rows, max_columns)
        table.validate(full=True)
    except MemoryError:  # before the others, since Arrow's own is one of them
        raise
    except _FAULTS as error:
        if isinstance(error, OSError) and error.errno not in _OF_BYTES:
            raise
        raise _refusal(name, "unreadable", _short(error)) from error
    if table.num_rows == 0:
        raise _refusal(
            name, "no_rows", "it has columns but no rows" if table.num_columns else "it has no rows"
        )
    return table


@contextmanager
def faults_of(name: str) -> Iterator[None]:
    """Turn what goes wrong while the file of this name is read into a `SourceError` that names it.

    Raises
    ------
    SourceError
        `unreadable`, also when the disk does not give the bytes, or `out_of_memory`.
    """
    try:
        yield
    except MemoryError as error:
        raise SourceError(
            f"{name} needs more memory than there is; compare a part of it", reason="out_of_memory"
        ) from error
    except SourceError:
        raise
    except _FAULTS as error:
        if isinstance(error, OSError) and error.errno not in _OF_BYTES:
            raise SourceError(
                f"{name} can't be read: {error.strerror}; name a file that is there and open to this user",
                reason="unreadable",
            ) from error
        raise _refusal(name, "unreadable", _short(error)) from error


def write_table(table: pa.Table, path: Path) -> None:
    """Write Parquet (zstd) so that after a power cut `path` is whole or as before.

    The temporary file beside it has a fixed name, so that a write that was cut off leaves nothing behind once it is
    repeated.

    Raises
    ------
    SourceError
        `not_storable` when Parquet has no place for one of the types.
    OSError
        When the disk does not take it.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        with temporary.open("wb") as file:
            pa.parquet.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except pa.ArrowException as error:
        raise SourceError(
            f"the rows can't be stored as Parquet: {_short(error)}; leave that column out of the file",
            reason="not_storable",
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    sync(path.parent)


def _parquet(path: Path, name: str, max_rows: int, max_columns: int) -> pa.Table:
    with pa.parquet.ParquetFile(path) as file:
        check_columns(file.schema_arrow.names, name, max_columns)
        _check_rows(file.metadata.num_rows, name, max_rows)
        batches: list[pa.RecordBatch] = []
        rows = 0
        for batch in file.iter_batches(batch_size=BATCH_ROWS):
            rows += batch.num_rows
            _check_rows(rows, name, max_rows)
            batches.append(batch)
        return pa.Table.from_batches(batches, schema=file.schema_arrow)


def _csv(path: Path, name: str, max_rows: int, max_columns: int) -> pa.Table:
    """Two passes: the first only counts, because reading with types inferred over the whole file can't stop."""
    read = pa.csv.ReadOptions(block_size=BLOCK_BYTES)
    parse = pa.csv.ParseOptions(newlines_in_values=True)
    with pa.csv.open_csv(path, read_options=read, parse_options=parse) as reader:
        names = reader.schema.names
    check_columns(names, name, max_columns)
    _check_separator(names, name)
    first = pa.csv.ConvertOptions(include_columns=names[:1], column_types={names[0]: pa.binary()})
    with pa.csv.open_csv(path, read_options=read, parse_options=parse, convert_options=first) as reader:
        rows = 0
        for batch in reader:
            rows += batch.num_rows
            _check_rows(rows, name, max_rows)
    convert = pa.csv.ConvertOptions(strings_can_be_null=True)
    table = pa.csv.read_csv(path, read_options=read, parse_options=parse, convert_options=convert)
    # Text that is no UTF-8 is what Arrow takes for binary.
    binary = [field.name for field in table.schema if pa.types.is_binary(field.type)]
    if binary:
        raise _refusal(name, "not_utf8", f"its column {binary[0]!r} holds text that is not UTF-8")
    return table


def _check_separator(names: list[str], name: str) -> None:
    """A file of another separator has one column, and would be taken for a table of one."""
    other = next((mark for mark in OTHER_SEPARATORS if len(names) == 1 and mark in names[0]), None)
    if other is not None:
        raise _refusal(
            name, "not_comma_separated", f"its fields seem to be parted by {other!r}, and commas are expected"
        )


def _json_lines(path: Path, name: str, max_rows: int, max_columns: int) -> pa.Table:
    """Looks before it parses: with a new key in every line the table would be the square of the file, and values
    nested some ten thousand deep overflow the parser's stack, which ends the process."""
    rows = 0
    keys: set[bytes] = set()
    with path.open("rb") as file:
        while piece := file.readlines(BLOCK_BYTES):
            rows += sum(_is_row(line, name) for line in piece)
            _check_rows(rows, name, max_rows)
            keys.update(key for key, colon in _TEXT.findall(b"".join(piece)) if colon)
            check_columns(keys, name, max_columns)
    table = pa.json.read_json(path, read_options=pa.json.ReadOptions(block_size=BLOCK_BYTES))
    _check_rows(table.num_rows, name, max_rows)
    check_columns(table.column_names, name, max_columns)
    return table


def _is_row(line: bytes, name: str) -> bool:
    """Whether the line is not blank; refused when it is no object of its own (the parser would read on in the next
    line, ever deeper) or is nested too deep."""
    text = line.strip().removeprefix(b"\xef\xbb\xbf")
    if not text:
        return False
    if not (text.startswith(b"{") and text.endswith(b"}")):
        raise _refusal(name, "unreadable", "it has a line that is not a JSON object")
    if text.count(b"[") + text.count(b"{") <= MAX_DEPTH:
        return True
    depth = 0
    for bracket in re.findall(rb"[\[\]{}]", _TEXT.sub(b"", text)):
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            raise _refusal(name, "unreadable", f"it has values nested deeper than {MAX_DEPTH} levels")
    return True


def _check_rows(rows: int, name: str, max_rows: int) -> None:
    if rows > max_rows:
        raise _refusal(name, "too_many_rows", f"it has more than {max_rows} rows, the limit of this source")


def check_columns(names: list[str] | set[bytes], name: str, max_columns: int) -> None:
    """Refuse a file with too many columns, or with two of one name."""
    if len(names) > max_columns:
        raise _refusal(
            name, "too_many_columns", f"it has more than {max_columns} columns, the limit of this source"
        )
    twice = [str(column) for column, count in Counter(names).items() if count > 1]
    if twice:
        raise _refusal(name, "duplicate_columns", f"it has the column {twice[0]!r} more than once")


def _refusal(name: str, reason: str, detail: str) -> SourceError:
    return SourceError(
        f"{name} can't be used: {detail}; correct it and deliver it under a new name", reason=reason
    )


def _short(error: BaseException) -> str:
    """The library's message on one line, without what it adds about its own source code."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:297] + "..."
