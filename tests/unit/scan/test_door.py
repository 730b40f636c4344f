"""`ct_daemon.profile` and `compare` as programs use them: whatever the rows come in, the counts are the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq
import pytest

import ct_daemon
from ct_daemon.drift.sketch import BUFFER
from ct_daemon.errors import ArtifactError, SourceError
from ct_daemon.scan.paths import SUFFIXES, files_of
from ct_daemon.scan.read import read_table

NASTY = "<script>alert('x')</script>"


def table(count: int = 400, seed: int = 1, shift: float = 0.0) -> pa.Table:
    random = np.random.default_rng(seed)
    return pa.table(
        {
            "x": pa.array(random.normal(shift, 1, count), mask=random.random(count) < 0.1),
            "n": random.integers(0, 9, count),
            "c": random.choice(["red", "green", "blue"], count),
            "b": random.random(count) < 0.3,
            "at": pa.array(np.arange(count) * 60, pa.timestamp("s")),
        }
    )


class Frame:
    """A frame of a library that nobody here knows: it speaks the Arrow C stream interface and has a length."""

    def __init__(self, rows: pa.Table) -> None:
        self._rows = rows

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._rows.__arrow_c_stream__(requested_schema)

    def __len__(self) -> int:
        return int(self._rows.num_rows)


def views(rows: pa.Table) -> pa.Table:
    """As polars hands texts over."""
    return rows.set_column(2, "c", rows.column("c").cast(pa.string_view()))


def text_file(folder: Path, rows: pa.Table, name: str) -> Path:
    path = folder / name
    if name.endswith(".csv"):
        pyarrow.csv.write_csv(rows, path)
    else:
        rows.to_pandas().to_json(path, orient="records", lines=True, date_format="iso")
    return path


def parquet(folder: Path, rows: pa.Table, name: str = "rows.parquet") -> Path:
    pq.write_table(rows, folder / name, row_group_size=150)
    return folder / name


def halves(folder: Path, rows: pa.Table) -> Path:
    inner = folder / "halves"
    inner.mkdir()
    half = rows.num_rows // 2
    parquet(inner, rows.slice(half), "2.parquet")
    text_file(inner, rows.slice(0, half), "1.csv")
    (inner / "README").write_text("not rows")
    (inner / ".hidden.csv").write_text("x\n1\n")
    (inner / "saved.json").write_text("{}")
    return inner


WAYS: dict[str, Callable[[Path, pa.Table], Any]] = {
    "parquet": parquet,
    "path as text": lambda folder, rows: str(parquet(folder, rows)),
    "csv": lambda folder, rows: text_file(folder, rows, "rows.csv"),
    "folder": halves,
    "pattern": lambda folder, rows: f"{halves(folder, rows)}/*",
    "list": lambda folder, rows: sorted(halves(folder, rows).glob("[12].*")),
    "table": lambda folder, rows: rows,
    "batch": lambda folder, rows: rows.combine_chunks().to_batches()[0],
    "pandas": lambda folder, rows: rows.to_pandas(),
    "frame": lambda folder, rows: Frame(rows),
    "views": lambda folder, rows: Frame(views(rows)),
    "reader": lambda folder, rows: rows.to_reader(max_chunksize=70),
    "arrays": lambda folder, rows: {name: rows.column(name).to_numpy() for name in rows.column_names},
}


def counts(found: ct_daemon.Profile) -> list[tuple[str, object]]:
    """All but the moments: sums of floats in another order may differ in their last digits."""
    return [(name, replace(column, moments=None)) for name, column in found.columns.items()]


def rounded(document: Any) -> Any:
    if isinstance(document, dict):
        return {key: rounded(value) for key, value in document.items()}
    if isinstance(document, list):
        return [rounded(value) for value in document]
    return pytest.approx(document, rel=1e-9) if isinstance(document, float) else document


@pytest.mark.parametrize("way", WAYS)
def test_rows_are_the_same_however_they_come(way: str, tmp_path: Path) -> None:
    base, rows = table(), table(seed=2, shift=1)
    expected = ct_daemon.compare(base, rows).to_dict()
    (tmp_path / "base").mkdir()
    (tmp_path / "window").mkdir()
    like = ct_daemon.profile(WAYS[way](tmp_path / "base", base))
    assert counts(like) == counts(ct_daemon.profile(base))
    window = WAYS[way](tmp_path / "window", rows)
    assert rounded(ct_daemon.compare(like, window).to_dict()) == rounded(expected)
    assert "reason" not in expected
    assert expected["columns"]["x"]["verdict"] == "moved"


def test_json_lines_and_every_other_ending_are_read(tmp_path: Path) -> None:
    rows = table().select(["x", "n", "c", "b"])
    expected = ct_daemon.profile(rows)
    for name in ("a.jsonl", "b.ndjson"):
        found = ct_daemon.profile(text_file(tmp_path, rows, name))
        assert found.columns["n"] == expected.columns["n"]
        assert found.columns["c"] == expected.columns["c"]
    parquet(tmp_path, rows, "c.PARQUET")
    text_file(tmp_path, rows, "d.csv")
    found = files_of(tmp_path)
    assert {path.suffix.lower() for path in found} == set(SUFFIXES)
    for path in found:
        assert read_table(path, path.name, max_rows=1000, max_columns=10).num_rows == 400


def test_a_frame_of_polars_is_taken() -> None:
    polars = pytest.importorskip("polars", reason="polars is not installed")
    rows = table()
    assert ct_daemon.profile(polars.from_arrow(rows)) == ct_daemon.profile(rows)


def test_nothing_that_is_given_is_changed() -> None:
    values = np.random.default_rng(1).normal(size=5000)
    values[:3] = np.nan, np.inf, -0.0
    values.setflags(write=False)  # writing to it would raise
    frame = pd.DataFrame({"x": values.copy(), "c": ["a", None] * 2500}, index=range(5, 5005))
    before = frame.copy(deep=True)
    base = ct_daemon.profile({"x": values})
    kept = base.to_dict()
    ct_daemon.compare(base, {"x": values})
    ct_daemon.compare(frame, frame)
    pd.testing.assert_frame_equal(frame, before)
    assert base.to_dict() == kept


def test_a_file_that_was_written_anew_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("x\n1\n2\n")
    assert ct_daemon.profile(path).rows == 2
    path.write_text("x\n1\n2\n3\n")
    assert ct_daemon.profile(path).rows == 3
    stamp = path.stat()
    path.write_text("x\n1\n2\n9\n")
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert ct_daemon.profile(path).columns["x"].high == 9, "nothing is kept from one call to the next"


def test_a_file_that_is_written_to_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.csv"
    path.write_text("x\n1\n2\n")

    def grow(*arguments: Any, **options: Any) -> pa.Table:
        found = read_table(*arguments, **options)
        with path.open("a") as file:
            file.write("3\n")
        return found

    monkeypatch.setattr("ct_daemon.scan.parts.read_table", grow)
    with pytest.raises(SourceError) as caught:
        ct_daemon.profile(path)
    assert caught.value.reason == "file_changed"


def test_text_files_are_parsed_once_while_there_is_room_by_however_many_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("1.csv", "2.csv"):
        text_file(tmp_path, pa.table({f"c{i}": np.arange(50) for i in range(12)}), name)
    read: list[str] = []

    def count(path: Path, name: str, **limits: Any) -> pa.Table:
        read.append(name)
        return read_table(path, name, **limits)

    monkeypatch.setattr("ct_daemon.scan.parts.read_table", count)
    monkeypatch.setattr("ct_daemon.scan.passes.workers", lambda: 4)
    found = ct_daemon.profile(tmp_path)
    assert read == ["1.csv", "2.csv"]
    monkeypatch.setattr("ct_daemon.scan.parts.ROOM", 1)
    read.clear()
    assert ct_daemon.profile(tmp_path) == found
    passes = 4  # shapes, sample, tally, counts
    assert 2 < len(read) <= 2 * passes


def test_a_long_stream_is_sketched_and_its_error_is_known_and_kept(tmp_path: Path) -> None:
    values = np.random.default_rng(3).normal(size=6 * BUFFER)
    rows = pa.table({"x": values, "y": values})
    sketched = ct_daemon.profile(rows.to_reader(max_chunksize=5000), columns=["x"])
    assert list(sketched.columns) == ["x"]
    column = sketched.columns["x"]
    assert 0 < column.rank_error < values.size // 100
    cells: Any = column.cells
    true = np.searchsorted(np.sort(values), cells.edges, side="right")
    assert np.abs(np.cumsum(column.counts)[1:-2] - true).max() <= column.rank_error
    ct_daemon.save_profile(sketched, tmp_path / "s.json")
    assert ct_daemon.load_profile(tmp_path / "s.json") == sketched
    window = pa.table({"x": values[:1000] + 0.3})
    found = ct_daemon.compare(tmp_path / "s.json", window.to_reader()).columns["x"].statistics["ks"]
    exact = ct_daemon.compare(rows, window).columns["x"].statistics["ks"]
    assert found.value is not None
    assert exact.value is not None
    assert found.error is not None
    assert found.error >= column.rank_error / values.size
    assert abs(found.value - exact.value) <= found.error + (exact.error or 0.0)


# --- choosing columns ------------------------------------------------------------------------------------


def test_only_the_columns_that_are_named_are_counted() -> None:
    assert list(ct_daemon.profile(table(), columns=["n", "x", "n"]).columns) == ["n", "x"]
    assert list(ct_daemon.profile(table(), columns="x").columns) == ["x"]
    window = table(seed=2).append_column("new", pa.nulls(400)).drop_columns(["n"])
    found = ct_daemon.compare(table(), window, columns=["new", "x", "n"])
    assert {name: one.statistics["psi"].reason for name, one in found.columns.items()} == {
        "new": "not_in_baseline",
        "x": None,
        "n": "column_missing",
    }
    assert list(ct_daemon.compare(ct_daemon.profile(table()), table(), columns=["c"]).columns) == ["c"]


@pytest.mark.parametrize(
    "ask",
    [
        lambda: ct_daemon.profile(table(), columns=["x", "nope"]),
        lambda: ct_daemon.profile(table().to_reader(), columns=["nope"]),
        lambda: ct_daemon.compare(table(), table(), columns=["nope"]),
        lambda: ct_daemon.compare(ct_daemon.profile(table()), table(), columns=["nope"]),
    ],
)
def test_a_column_that_is_nowhere_is_told_with_those_that_there_are(ask: Callable[[], object]) -> None:
    with pytest.raises(SourceError, match=r"no column 'nope'; there are 'x', 'n', 'c', 'b', 'at'") as caught:
        ask()
    assert caught.value.reason == "column_missing"


def test_few_rows_are_told_and_may_be_wanted() -> None:
    few = table(20)
    assert ct_daemon.compare(few, few).to_dict()["reason"] == "too_few_rows"
    assert ct_daemon.compare(few, few).columns["x"].statistics["ks"].value is None
    assert ct_daemon.compare(few, few, min_rows=5).columns["x"].statistics["ks"].value == 0.0


# --- what can't be taken ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ([], "no_files"),
        ("nope.csv", "file_missing"),
        ("nope-*.csv", "no_files"),
        (5, "not_tabular"),
        (None, "not_tabular"),
        (b"x", "not_tabular"),
        (np.ones((3, 2)), "not_tabular"),
        (pd.Series([1.0, 2.0]), "not_tabular"),
        (pd.DataFrame({"x": [1, "a"]}), "not_tabular"),
        (pd.DataFrame([[1, 2]], columns=["x", "x"]), "not_tabular"),
        (pa.table([[1], [2]], names=["x", "x"]), "not_tabular"),
        (Frame(pa.chunked_array([[1, 2]])), "not_tabular"),
        ({"x": [1], "y": [1, 2]}, "not_tabular"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_is_no_table_is_refused_with_the_reason(data: Any, reason: str) -> None:
    with pytest.raises(SourceError) as caught:
        ct_daemon.profile(data)
    assert caught.value.reason == reason


def test_names_that_stand_for_no_rows_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.json").write_text("{}")
    (tmp_path / "x.txt").write_text("x")
    os.mkfifo(tmp_path / "pipe.csv")
    for name, reason, words in (
        ("empty", "no_files", "has no file of rows"),
        ("*.txt", "no_files", "among 1 file"),
        ("x.txt", "unsupported_format", r"\.parquet, \.csv"),
        ("x.json", "unsupported_format", "load_profile"),
        ("pipe.csv", "not_a_regular_file", "no regular file"),
    ):
        with pytest.raises(SourceError, match=words) as caught:
            ct_daemon.profile(tmp_path / name)
        assert caught.value.reason == reason
    (tmp_path / "odd[1].csv").write_text("x\n1\n")
    assert ct_daemon.profile(tmp_path / "odd[1].csv").rows == 1, "a name that is there is no pattern"


def test_missing_among_objects_is_missing() -> None:
    values = np.array(["a", np.nan, None, "b"], dtype=object)
    assert ct_daemon.profile({"c": values}).columns["c"].missing == 2


# --- saved profiles --------------------------------------------------------------------------------------


def test_a_window_on_other_cells_is_refused_by_name(tmp_path: Path) -> None:
    base, other = ct_daemon.profile(table()), ct_daemon.profile(table(seed=9))
    ct_daemon.save_profile(base, tmp_path / "base.json")
    ct_daemon.save_profile(other, tmp_path / "other.json")
    with pytest.raises(
        ArtifactError, match=r"the window .*other\.json .* the baseline .*base\.json; "
    ) as caught:
        ct_daemon.compare(tmp_path / "base.json", tmp_path / "other.json")
    assert caught.value.reason == "schema_differs"
    with pytest.raises(ArtifactError, match=r"^the window was not counted"):
        ct_daemon.compare(base, other)


@pytest.mark.parametrize(
    ("spoil", "reason", "words"),
    [
        (lambda text: text[:-2], "baseline_malformed", "is not JSON"),
        (lambda text: "[]", "baseline_malformed", "not a usable baseline"),
        (lambda text: text.replace('"version":2', '"version":1'), "baseline_version", "format version 1"),
        (lambda text: text.replace('"missing":', '"missing":1'), "baseline_malformed", "do not add up"),
    ],
)
def test_a_profile_that_can_not_be_used_is_named_with_the_next_step(
    spoil: Callable[[str], str], reason: str, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "base.json"
    ct_daemon.save_profile(ct_daemon.profile(table()), path)
    text = path.read_text()
    assert spoil(text) != text
    path.write_text(spoil(text))
    with pytest.raises(
        ArtifactError, match=rf"the profile .*base\.json .*{words}.*; make it again: ct-daemon "
    ) as caught:
        ct_daemon.compare(path, table())
    assert caught.value.reason == reason


def test_saving_leaves_the_whole_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = ct_daemon.profile(table())
    path = tmp_path / "base.json"
    ct_daemon.save_profile(base, path)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ct_daemon.scan.stored.save_baseline", full)
    with pytest.raises(ArtifactError, match=r"base\.json: No space left") as caught:
        ct_daemon.save_profile(base, path)
    assert caught.value.reason == "profile_unwritable"
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    for name, reason in (("base.txt", "profile_name"), ("no/base.json", "profile_unwritable")):
        with pytest.raises(ArtifactError) as caught:
            ct_daemon.save_profile(base, tmp_path / name)
        assert caught.value.reason == reason


# --- what is shown ---------------------------------------------------------------------------------------


def test_documents_are_plain_and_in_short() -> None:
    base = ct_daemon.profile(table())
    found = ct_daemon.compare(base, table(seed=2, shift=1))
    document = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert document == found.to_dict()
    assert document["ranking"][0]["column"] == "x"
    assert {one["column"] for one in document["ranking"]} == set(document["columns"])
    ks = document["columns"]["x"]["statistics"]["ks"]
    assert ks.keys() >= {"value", "p_value", "error", "critical"}
    short = json.loads(json.dumps(base.to_dict(), allow_nan=False))
    values = table().column("x").drop_null().to_numpy()
    assert short["rows"] == 400
    assert short["columns"]["x"]["missing"] == 400 - values.size
    assert short["columns"]["x"]["mean"] == pytest.approx(values.mean())
    assert short["columns"]["x"]["sd"] == pytest.approx(values.std())
    assert (short["columns"]["x"]["low"], short["columns"]["x"]["high"]) == (values.min(), values.max())
    assert repr(found) == "<Comparison: baseline 400 rows, window 400 rows; 5 columns: 1 moved, 4 calm>"
    assert repr(base) == "<Profile: 400 rows, 5 columns>"


def test_notebooks_show_tables_in_which_data_stay_data() -> None:
    rows = (
        table()
        .append_column(NASTY, pa.array([NASTY] * 400))
        .append_column("long", pa.array(["y" * 5000] * 400))
    )
    other = pa.array(["<b>other</b>"] * 400)
    window = rows.set_column(rows.num_columns - 2, NASTY, other)
    base, found = ct_daemon.profile(rows), ct_daemon.compare(rows, window)
    for html in (base._repr_html_(), found._repr_html_()):
        assert "<script" not in html
        assert "<b>" not in html
        assert "&lt;script&gt;" in html
        assert html.count("<tr>") == html.count("</tr>") == rows.num_columns + 1
        assert len(html) < 20_000
    assert found.moved == (NASTY,)
    assert found._repr_html_().index("&lt;script") < found._repr_html_().index("<td>x</td>"), (
        "moved stands first"
    )
    assert "<td>2</td>" not in base._repr_html_()
    assert "1970-01-01" in base._repr_html_(), "times are shown as days"


def test_a_thousand_columns_are_cut_short() -> None:
    rows = pa.table({f"c{i}": [1.0, 2.0] for i in range(150)})
    assert "and 50 more columns" in ct_daemon.profile(rows)._repr_html_()


# --- the door itself -------------------------------------------------------------------------------------


def test_importing_the_package_loads_nothing_else_of_it() -> None:
    code = (
        "import sys, ct_daemon; heavy = {'numpy', 'pyarrow', 'pandas', 'pydantic', 'sqlalchemy'} & set(sys.modules); "
        "print(sorted(heavy), [m for m in sys.modules if m.startswith('ct_daemon')]); "
        "ct_daemon.profile; print('numpy' in sys.modules, 'ct_daemon.config' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines() == ["[] ['ct_daemon']", "True False"]


def test_the_stub_has_the_public_names() -> None:
    stub = Path(ct_daemon.__file__).with_name("__init__.pyi").read_text()
    for name in ct_daemon._PUBLIC:
        assert f"import {name} as {name}\n" in stub
        assert f"from {ct_daemon._PUBLIC[name]} import" in stub
        assert name in dir(ct_daemon)
        if (
            "drift" in ct_daemon._PUBLIC[name] or "scan" in ct_daemon._PUBLIC[name]
        ):  # the others load scikit-learn
            assert getattr(ct_daemon, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        ct_daemon.nope  # type: ignore[attr-defined]  # noqa: B018
