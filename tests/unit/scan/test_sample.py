"""The first rows of a file, and what is said of its columns."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from ct_daemon.errors import SourceError
from ct_daemon.scan.sample import EXAMPLES, look_at, read_sample
from ct_daemon.workers.first_look import main

TIMES = [datetime(2026, 1, day, tzinfo=UTC) for day in (3, 1, 2)]


def write(folder: Path, **columns: object) -> Path:
    path = folder / "f.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def seen(folder: Path, column: object) -> dict:
    (found,) = look_at(write(folder, x=column))["columns"]
    return found


@pytest.mark.parametrize(
    ("values", "kind", "examples"),
    [
        (pa.array([3, 1, None, 3]), "numeric", ["1", "3"]),
        (pa.array([0.5, float("nan"), 2.5]), "numeric", ["0.5", "2.5"]),
        (pa.array([Decimal("1.50"), Decimal("2.25")]), "numeric", ["1.50", "2.25"]),
        (pa.array(["b", "a", None]), "categorical", ["a", "b"]),
        (pa.array(["b", "a", "a"]).dictionary_encode(), "categorical", ["a", "b"]),
        (pa.array(["b", "a"], pa.large_string()), "categorical", ["a", "b"]),
        (pa.array([True, False, None]), "boolean", ["False", "True"]),
        (pa.array(TIMES), "datetime", [str(at) for at in sorted(TIMES)]),
        (pa.array([date(2026, 1, 2)]), "datetime", ["2026-01-02"]),
        (pa.array([None, None]), "empty", []),
        (pa.array([[1], [2]]), "unsupported", []),
        (pa.array([b"x"]), "unsupported", []),
    ],
    ids=lambda value: str(getattr(value, "type", "")),
)
def test_every_kind_of_column_is_told(
    tmp_path: Path, values: pa.Array, kind: str, examples: list[str]
) -> None:
    found = seen(tmp_path, values)
    assert (found["kind"], found["examples"], found["distinct"]) == (kind, examples, len(examples))
    nan = sum(value != value for value in values.to_pylist())
    assert found["missing"] == values.null_count + nan or kind == "unsupported"


def test_numbers_tell_their_bounds_and_whether_they_are_whole(tmp_path: Path) -> None:
    found = seen(tmp_path, [1.0, 5.0, float("inf"), None])
    assert (found["integers"], found["least"], found["most"]) == (True, 1.0, 5.0)
    assert seen(tmp_path, [0.5])["integers"] is False
    assert "least" not in seen(tmp_path, pa.array([float("nan")]))


@pytest.mark.parametrize(
    ("texts", "moments"),
    [
        (["2026-01-02", "2026-01-03"], True),
        (["2026-01-02T03:04:05Z", None], True),
        (["2026-01-02", "soon"], False),
        (["20260102"], False),
        (["12"], False),
    ],
)
def test_text_of_times_is_known(tmp_path: Path, texts: list[str], moments: bool) -> None:
    assert seen(tmp_path, pa.array(texts, pa.string()))["moments"] is moments


def test_only_so_many_examples_of_so_many_letters_are_handed_on(tmp_path: Path) -> None:
    found = seen(tmp_path, [f"{n:03}" + "x" * 1000 for n in range(100)])
    assert len(found["examples"]) == EXAMPLES
    assert max(map(len, found["examples"])) == 60
    assert found["distinct"] == 100


def test_a_large_text_file_is_cut_between_rows(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text("a,b\n" + "".join(f'{n},"line one\nof {n}"\n' for n in range(1000)))
    table, whole = read_sample(path, most_bytes=5003)
    assert not whole
    assert 100 < table.num_rows < 400
    assert table.column("b")[-1].as_py() == f"line one\nof {table.num_rows - 1}"
    assert read_sample(path)[1] is True
    assert read_sample(path)[0].num_rows == 1000


def test_large_files_of_the_other_formats_are_cut_too(tmp_path: Path) -> None:
    lines = tmp_path / "f.jsonl"
    lines.write_text("".join(json.dumps({"a": n, "b": 'say "x'}) + "\n" for n in range(1000)))
    table, whole = read_sample(lines, most_bytes=5000)
    assert not whole
    assert 100 < table.num_rows < 400
    path = write(tmp_path, a=list(range(200_000)), b=[0] * 200_000)
    table, whole = read_sample(path, most_cells=140_000)
    assert (table.num_rows, whole) == (70_000, False)
    assert read_sample(path, most_cells=400_000)[0].num_rows == 200_000


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("f.csv", b"", "empty_file"),
        ("f.csv", b"a,b\n", "no_rows"),
        ("f.csv", b"a;b\n1;2\n", "not_comma_separated"),
        ("f.parquet", b"PAR1 no", "unreadable"),
        ("f.jsonl", b"[1]\n", "unreadable"),
        ("f.xlsx", b"x", "unsupported_format"),
    ],
)
def test_a_file_that_can_not_be_used_is_refused_as_the_daemon_would(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes, reason: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(SourceError) as caught:
        look_at(path)
    assert caught.value.reason == reason
    assert main([str(path)]) == 7
    assert json.loads(capsys.readouterr().out)["error"]["reason"] == reason


def test_one_endless_line_is_left_to_the_reader(tmp_path: Path) -> None:
    path = tmp_path / "f.jsonl"
    path.write_text("x" * 9000)
    with pytest.raises(SourceError):
        read_sample(path, most_bytes=1000)
