"""Files in, tables out: formats, limits, hostile bytes, durable writing."""

from __future__ import annotations

import errno
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ct_daemon.errors import SourceError
from ct_daemon.scan.read import BLOCK_BYTES, read_table, write_table

TABLE = pa.table({"n": [1, 2, None], "x": [0.5, None, 2.0], "s": ["a", "b", None], "b": [True, None, False]})


def put(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(path: Path, rows: int = 1000, columns: int = 50) -> pa.Table:
    return read_table(path, path.name, max_rows=rows, max_columns=columns)


def reason_of(path: Path, rows: int = 1000, columns: int = 50) -> str:
    with pytest.raises(SourceError) as caught:
        read(path, rows, columns)
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value.reason


def test_the_three_formats_hold_the_same_rows(tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "a.parquet")
    put(tmp_path, "a.CSV", "n,x,s,b\n1,0.5,a,true\n2,,b,\n,2.0,,false\n")
    lines = "\n".join(json.dumps(row) for row in TABLE.to_pylist())
    put(tmp_path, "a.jsonl", lines)
    put(tmp_path, "a.ndjson", lines + "\n\n")
    for name in ("a.parquet", "a.CSV", "a.jsonl", "a.ndjson"):
        assert read(tmp_path / name).equals(TABLE), name


def test_the_name_tells_the_format_not_the_path(tmp_path: Path) -> None:
    staged = put(tmp_path, "0001.staged", "x\n1\n")
    assert read_table(staged, "rows.csv", max_rows=5, max_columns=5).num_rows == 1


def test_types_are_inferred_over_the_whole_csv_file(tmp_path: Path) -> None:
    lines = ["x,s"] + ["1,aaaaaaaa"] * (BLOCK_BYTES // 8) + ["2.5,z"]
    table = read(put(tmp_path, "long.csv", "\n".join(lines)), rows=10**7)
    assert table.schema.field("x").type == pa.float64()
    assert table.num_rows == len(lines) - 1


def test_quoted_line_breaks_are_one_row(tmp_path: Path) -> None:
    table = read(put(tmp_path, "q.csv", 'a,b\n"one\ntwo",1\nthree,2\n'), rows=2)
    assert table.column("a").to_pylist() == ["one\ntwo", "three"]
    long = "a,b\n" + ('"' + "x\n" * 500 + '",1\n') * (BLOCK_BYTES // 1000 + 500)
    across_blocks = read(put(tmp_path, "blocks.csv", long), rows=10**6)
    assert across_blocks.num_rows == BLOCK_BYTES // 1000 + 500


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.parquet", b"", "empty_file"),
        ("a.csv", b"", "empty_file"),
        ("a.jsonl", b"", "empty_file"),
        ("a.txt", b"x\n1\n", "unsupported_format"),
        ("a", b"x\n1\n", "unsupported_format"),
        ("a.csv.gz", b"x", "unsupported_format"),
        ("a.parquet", b"PAR1", "unreadable"),
        ("a.parquet", b"PAR1" + b"\x00" * 100 + b"PAR1", "unreadable"),
        ("a.parquet", b"x,y\n1,2\n", "unreadable"),
        ("a.csv", b"a,b\n1,2,3\n", "unreadable"),
        ("a.csv", b"\n\n\n", "unreadable"),
        ("a.csv", b"a,b\n", "no_rows"),
        ("a.csv", b"a,b,a\n1,2,3\n", "duplicate_columns"),
        ("a.csv", b"a;b\n1;2\n", "not_comma_separated"),
        ("a.csv", b"a\tb\n1\t2\n", "not_comma_separated"),
        ("a.jsonl", b"not json", "unreadable"),
        ("a.jsonl", b"[1, 2]\n", "unreadable"),
        ("a.jsonl", b'{"a": 1}\n{"a": ', "unreadable"),
        ("a.jsonl", b'{"a": 1}\n{"a": "x"}\n', "unreadable"),
        ("a.jsonl", b'{"a": 1, "a": 2}\n', "unreadable"),
        ("a.jsonl", b"\n\n", "no_rows"),
        ("a.jsonl", b'{"a": "\xff\xfe"}\n', "unreadable"),
    ],
)
def test_each_way_to_be_unusable_has_its_reason(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    assert reason_of(put(tmp_path, name, content)) == reason


def test_csv_bytes_that_are_not_text_do_not_become_text(tmp_path: Path) -> None:
    assert reason_of(put(tmp_path, "a.csv", b"a\n\xff\xfe\nb\n")) == "not_utf8"
    assert reason_of(put(tmp_path, "c.csv", "n,plan\n1,gro\u00df\n".encode("latin-1"))) == "not_utf8"
    assert reason_of(put(tmp_path, "b.csv", b"\xff\xfe,b\n1,2\n")) == "unreadable"


def test_parquet_with_broken_text_or_names_is_refused(tmp_path: Path) -> None:
    broken = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(np.array([0, 2], dtype=np.int32)), pa.py_buffer(b"\xff\xfe")]
    )
    pq.write_table(pa.table({"s": broken}), tmp_path / "text.parquet")
    assert reason_of(tmp_path / "text.parquet") == "unreadable"
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    pq.write_table(twice, tmp_path / "twice.parquet")
    assert reason_of(tmp_path / "twice.parquet") == "duplicate_columns"
    pq.write_table(TABLE.slice(0, 0), tmp_path / "none.parquet")
    assert reason_of(tmp_path / "none.parquet") == "no_rows"
    pq.write_table(pa.table({}), tmp_path / "nothing.parquet")
    assert reason_of(tmp_path / "nothing.parquet") in {"no_rows", "unreadable"}


@pytest.mark.parametrize("name", ["a.parquet", "a.csv", "a.jsonl"])
def test_limits_are_exact(tmp_path: Path, name: str) -> None:
    table = pa.table({f"c{i}": np.arange(100) for i in range(7)})
    path = tmp_path / name
    if name == "a.parquet":
        pq.write_table(table, path)
    elif name == "a.csv":
        pa.csv.write_csv(table, path)
    else:
        put(tmp_path, name, "\n".join(json.dumps(row) for row in table.to_pylist()))
    assert read(path, rows=100, columns=7).num_rows == 100
    assert reason_of(path, rows=99) == "too_many_rows"
    assert reason_of(path, columns=6) == "too_many_columns"


def test_json_with_new_keys_in_every_line_is_refused_before_it_grows(tmp_path: Path) -> None:
    """Colons in keys and values must not fool the count of keys."""
    lines = "".join(f'{{":k{i}": "v\\":", "\\"{i}": ": 1"}}\n' for i in range(30_000))
    assert reason_of(put(tmp_path, "wide.jsonl", lines), rows=10**6, columns=10_000) == "too_many_columns"
    same = '{"a": "x: \\"y\\": 1", "b": {"c": ":"}}\n' * 50
    assert read(put(tmp_path, "same.jsonl", same), columns=3).num_rows == 50
    marked = b'\xef\xbb\xbf{"a": 1}\r\n\r\n{"a": 2}'
    assert read(put(tmp_path, "marked.jsonl", marked), rows=2).column("a").to_pylist() == [1, 2]
    several = '{"a": 1}{"a": 2}{"a": 3}\n'
    assert reason_of(put(tmp_path, "several.jsonl", several), rows=2) in {"too_many_rows", "unreadable"}


def test_deeply_nested_json_is_refused_before_it_ends_the_process(tmp_path: Path) -> None:
    for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
        for depth in (65, 200_000):
            line = b'{"a": 1, "b": ' + opening * depth + b"1" + closing * depth + b"}\n"
            assert reason_of(put(tmp_path, "deep.jsonl", line)) == "unreadable"
    many = b'{"a":\n' * 100_000 + b"1" + b"}\n" * 100_000
    assert reason_of(put(tmp_path, "many.jsonl", many), rows=10**6) == "unreadable"
    balanced = b'{"a": {}\n' * 100_000 + b"}\n" * 100_000
    assert reason_of(put(tmp_path, "balanced.jsonl", balanced), rows=10**6) == "unreadable"
    flat = b'{"a": [' + b",".join([b'{"x": "[[[["}'] * 200) + b'], "b": ' + b"[" * 60 + b"]" * 60 + b"}\n"
    assert read(put(tmp_path, "flat.jsonl", flat)).num_rows == 1


def _samples() -> dict[str, bytes]:
    sink = io.BytesIO()
    wide = pa.table({"n": range(50), "s": [str(i % 7) for i in range(50)], "l": [[i] for i in range(50)]})
    pq.write_table(wide, sink)
    text = io.BytesIO()
    pa.csv.write_csv(wide.drop_columns("l"), text)
    lines = "\n".join(json.dumps(row) for row in wide.to_pylist()).encode()
    return {"a.parquet": sink.getvalue(), "a.csv": text.getvalue(), "a.jsonl": lines}


SAMPLES = _samples()
REASONS = {
    "table",
    "empty_file",
    "unreadable",
    "no_rows",
    "duplicate_columns",
    "too_many_rows",
    "too_many_columns",
    "not_utf8",
    "not_comma_separated",
}


def outcome(path: Path) -> str:
    """`table` or the reason; any other error ends the test."""
    try:
        table = read(path)
    except SourceError as error:
        return error.reason
    return "table" if 0 < table.num_rows <= 1000 else "neither"


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(sorted(SAMPLES)), st.data())
def test_damaged_bytes_give_a_table_or_a_source_error(tmp_path: Path, name: str, data: st.DataObject) -> None:
    content = bytearray(SAMPLES[name])
    for place, value in data.draw(
        st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), max_size=8)
    ):
        content[place] = value
    end = data.draw(st.one_of(st.none(), st.integers(0, len(content))))
    path = put(tmp_path, name, bytes(content[:end]))
    assert outcome(path) in REASONS


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["a.csv", "a.jsonl", "a.parquet"]), st.binary(max_size=200))
def test_random_bytes_give_a_table_or_a_source_error(tmp_path: Path, name: str, content: bytes) -> None:
    assert outcome(put(tmp_path, name, content)) in REASONS


READERS = {
    "a.parquet": "pyarrow.parquet.ParquetFile",
    "a.csv": "pyarrow.csv.read_csv",
    "a.jsonl": "pyarrow.json.read_json",
}


@pytest.mark.parametrize("name", READERS)
def test_what_the_disk_or_the_memory_does_is_not_the_files_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = put(tmp_path, name, SAMPLES[name])

    def failing(error: Exception) -> None:
        def fail(*arguments: object, **options: object) -> None:
            raise error

        monkeypatch.setattr(READERS[name], fail)

    for number in (errno.EIO, errno.ESTALE, errno.EMFILE, errno.EACCES):
        failing(OSError(number, "Error reading bytes from file"))
        with pytest.raises(OSError, match="reading bytes") as caught:
            read(path)
        assert caught.value.errno == number
    for memory in (MemoryError(), pa.ArrowMemoryError("malloc of size 64 failed")):
        failing(memory)
        with pytest.raises(MemoryError):
            read(path)
    # Arrow's own have no number; the system's EINVAL is what a place that can't be in the file leads to.
    for own in (OSError("Corrupt snappy compressed data."), OSError(errno.EINVAL, "lseek failed")):
        failing(own)
        assert reason_of(path) == "unreadable"


@pytest.mark.parametrize("name", READERS)
def test_a_file_that_is_not_there_is_told_by_the_system(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileNotFoundError):
        read(tmp_path / name)


@pytest.mark.linux
@pytest.mark.parametrize("reader", [pa.csv.open_csv, pa.csv.read_csv, pa.json.read_json])
def test_arrow_passes_on_the_number_of_a_read_that_failed(reader: Callable[[str], object]) -> None:
    """What the division rests on. The first page of this file can be opened and not be read."""
    with pytest.raises(OSError, match="Input/output") as caught:
        reader("/proc/self/mem")
    assert caught.value.errno == errno.EIO


def test_written_tables_come_back_and_nothing_else_stays(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    put(tmp_path, ".rows.parquet.part", b"left over from a crash")
    write_table(TABLE, path)
    write_table(TABLE, path)
    assert read(path).equals(TABLE)
    assert list(tmp_path.iterdir()) == [path]
    assert pq.ParquetFile(path).metadata.row_group(0).column(0).compression == "ZSTD"


def test_a_table_that_parquet_cannot_hold_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    write_table(TABLE, path)
    strange = pa.table({"u": pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])])})
    with pytest.raises(SourceError) as caught:
        write_table(strange, path)
    assert caught.value.reason == "not_storable"
    assert read(path).equals(TABLE)
    assert list(tmp_path.iterdir()) == [path]
