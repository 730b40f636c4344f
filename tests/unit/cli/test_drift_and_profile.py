"""`ct-daemon drift` and `ct-daemon profile`: what they print in 80 columns, what they write, how they refuse."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.csv
import pytest
from click.testing import CliRunner, Result

import ct_daemon
from ct_daemon.cli.main import main
from ct_daemon.scan.columns import kinds_of
from ct_daemon.scan.profiles import new_baseline
from ct_daemon.scan.stored import load_profile, save_baseline
from ct_daemon.testing import drop, rows
from ct_daemon.workers.answering import names
from ct_daemon.workers.tables import MOST

PYTHON = (sys.executable, "-P", "-m")
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[3])}
ESCAPE = "\x1b[2J\u202eevil"


def become(program: str, words: list[str]) -> NoReturn:
    """In the place of exec: the program that would take over, in this process."""
    raise SystemExit(importlib.import_module(words[3]).main(words[4:]))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A baseline, a calm day, a moved day in the folder days."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "execv", become)
    drop(tmp_path, "base.parquet", flat(2000, seed=1))
    (tmp_path / "days").mkdir()
    drop(tmp_path / "days", "1.parquet", flat(300, seed=2))
    drop(tmp_path / "days", "2.parquet", flat(400, seed=3, shift=1.0))
    return tmp_path


def flat(count: int, *, seed: int, shift: float = 0.0) -> pa.Table:
    """Without what only grows."""
    return rows(count, seed=seed, shift=shift).drop_columns(["row_id", "at"])


def ct(*arguments: str, code: int = 0, columns: int = 80) -> Result:
    done = CliRunner().invoke(main, arguments, env={"COLUMNS": str(columns)}, catch_exceptions=False)
    assert done.exit_code == code, done.output
    if code == 0 and "--json" not in arguments:
        assert max(len(line) for line in done.stdout.splitlines()) <= columns, done.stdout
    return done


def error_of(*arguments: str, code: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ct(*arguments, "--json", code=code).stdout)["error"]
    said = ct(*arguments, code=code)
    assert said.stdout == ""
    assert said.stderr == f"ct-daemon: {found['detail']}\n"
    return found


# --- drift -----------------------------------------------------------------------------------------------


def test_what_moved_stands_first_with_its_direction_and_cells(folder: Path) -> None:
    said = ct("drift", "base.parquet", "days/2.parquet").stdout.splitlines()
    assert said[0] == "baseline 2,000 rows, window 400 rows; 5 columns: 1 moved, 4 calm"
    assert said[2].split() == ["column", "kind", "PSI", "noise", "KS", "missing", "verdict"]
    assert said[3].split()[0] == "a"
    assert said[3].endswith("  moved")
    assert said[4].startswith("    up; mean +")
    assert "points" in said[4]
    calm = [line for line in said if line.endswith("  calm")]
    assert [line.split()[0] for line in calm] != []
    for line in calm:
        cells = line.split()
        assert float(cells[2]) < float(cells[3]), "PSI below its noise"


def test_the_json_is_what_python_gives(folder: Path) -> None:
    found = json.loads(ct("drift", "base.parquet", "days", "--json").stdout)
    assert found == ct_daemon.compare("base.parquet", "days").to_dict()
    assert found["rows"] == {"baseline": 2000, "window": 700}
    assert found["columns"]["a"]["kind"] == "numeric"
    assert found["columns"]["a"]["statistics"]["ks"].keys() >= {"value", "p_value", "error"}
    assert found["columns"]["c"]["statistics"]["psi"].keys() >= {"value", "critical"}


def test_a_side_may_be_a_folder_a_pattern_or_a_saved_profile(folder: Path) -> None:
    expected = ct("drift", "base.parquet", "days").stdout
    ct("profile", "base.parquet", "--out", "base.json")
    ct("profile", "days", "--like", "base.json", "--out", "days.json")
    for base, window in (
        ("base.parquet", "days/*.parquet"),
        ("base.json", "days"),
        ("base.json", "days.json"),
        (str(folder / "base.json"), str(folder / "days")),
    ):
        assert ct("drift", base, window).stdout.splitlines()[0] == expected.splitlines()[0]
        found = json.loads(ct("drift", base, window, "--json").stdout)
        assert found["columns"]["a"]["statistics"]["ks"]["value"] > 0.2


def test_columns_and_rows_may_be_chosen(folder: Path) -> None:
    chosen = ("drift", "base.parquet", "days", "--columns", "c, a", "--json")
    assert list(json.loads(ct(*chosen).stdout)["columns"]) == ["c", "a"]
    few = json.loads(ct("drift", "base.parquet", "days", "--min-rows", "701", "--json").stdout)
    assert few["reason"] == "too_few_rows"
    said = ct("drift", "base.parquet", "days", "--min-rows", "701").stdout
    assert "can't tell: too few rows of the window have a value" in " ".join(said.split())
    assert "calm" not in said.split("\n\nmoved: ")[0], "can't tell is never no drift"
    assert (
        error_of("drift", "base.parquet", "days", "--columns", "a,zz", code=7)["reason"] == "column_missing"
    )
    assert error_of("drift", "base.parquet", "days", "--columns", ",", code=2)["reason"] == "no_columns"
    assert names('a,"b, c" , d') == ["a", "b, c", "d"]


def test_what_can_not_be_told_has_its_reason_and_stands_above_what_is_calm(folder: Path) -> None:
    window = flat(400, seed=4).drop_columns(["c"]).append_column("new", pa.array(range(400)))
    window = window.set_column(1, "b", pa.nulls(400, pa.float64()))
    drop(folder, "window.parquet", window)
    said = ct("drift", "base.parquet", "window.parquet").stdout.splitlines()
    order = [line.split()[0] for line in said[3:] if line[:1].strip()][:6]
    assert order[:3] == ["b", "c", "new"]
    notes = {
        said[i].split()[0]: said[i + 1].strip()
        for i in range(len(said) - 1)
        if said[i + 1].startswith("    ")
    }
    assert notes["b"].startswith("missing +")
    assert notes["b"].endswith("no row of the window has a value")
    assert notes["c"] == "the window has no such column"
    assert notes["new"] == "the baseline has no such column"


def test_names_from_data_are_made_harmless_and_many_columns_cut_short(folder: Path) -> None:
    many = pa.table({f"{ESCAPE}{i}": [float(i % 7), 1.0] * 50 for i in range(MOST + 20)})
    drop(folder, "many.parquet", many)
    for said in (
        ct("drift", "many.parquet", "many.parquet").stdout,
        ct("profile", "many.parquet").stdout,
    ):
        assert all(letter.isprintable() or letter == "\n" for letter in said)
        assert "and 20 more columns" in said
    found = json.loads(ct("drift", "many.parquet", "many.parquet", "--json").stdout)
    assert len(found["columns"]) == MOST + 20


def test_a_bound_on_the_error_is_shown(folder: Path) -> None:
    column = ct_daemon.profile("base.parquet").columns["a"]
    sketched = ct_daemon.Profile(rows=2000, columns={"a": replace(column, rank_error=20, sample=None)})
    ct_daemon.save_profile(sketched, folder / "sketch.json")
    found = ct("drift", "sketch.json", "days/2.parquet", "--columns", "a").stdout
    assert re.search(r"KS ±0\.0[1-9]\d;?\n", found), found
    assert "no rank is off by more than 20 rows" in ct("profile", "sketch.json").stdout


def test_a_classifier_looks_at_the_rows_and_columns_that_are_meant(folder: Path) -> None:
    asked = ("drift", "base.parquet", "days/*.parquet", "--joint")
    found = json.loads(ct(*asked, "--columns", "a,b", "--json").stdout)
    assert (found["joint"]["rows"], found["joint"]["columns"]) == ({"baseline": 2000, "window": 700}, 2)
    assert list(found["columns"]) == ["a", "b"]
    assert found["joint"]["verdict"] == "moved"
    said = ct(*asked, "--ignore", "a").stdout
    assert "all columns together: calm" in said
    ct("profile", "base.parquet", "--out", "base.json")
    assert error_of("drift", "base.json", "days", "--joint", code=7)["reason"] == "profile_without_rows"
    drop(folder / "days", "3.parquet", flat(50, seed=6).set_column(0, "a", pa.array(["x"] * 50)))
    assert error_of("drift", "base.parquet", "days", "--joint", code=7)["reason"] == "schema_differs"


# --- profile ---------------------------------------------------------------------------------------------


def test_a_profile_is_shown_and_saved_whole(folder: Path) -> None:
    said = ct("profile", "base.parquet", "--out", "base.json").stdout.splitlines()
    assert said[0] == "2,000 rows, 5 columns"
    assert said[2].split() == ["column", "kind", "rows", "missing", "low", "high", "mean", "sd"]
    assert said[-1] == "saved as base.json"
    assert load_profile(folder / "base.json") == ct_daemon.profile("base.parquet")
    assert sorted(path.name for path in folder.iterdir()) == ["base.json", "base.parquet", "days"]
    shown = json.loads(ct("profile", "base.parquet", "--out", "base.json", "--json").stdout)
    assert shown == {"out": "base.json"} | ct_daemon.profile("base.parquet").to_dict()


def test_times_are_shown_as_days(folder: Path) -> None:
    drop(folder, "times.parquet", rows(3000, seed=1))
    said = ct("profile", "times.parquet").stdout
    (line,) = [line for line in said.splitlines() if line.startswith("at ")]
    assert line.split()[4:] == ["2026-01-01", "2026-01-03", "2026-01-02", "14.4", "h"]


def test_days_merge_as_if_all_rows_had_been_counted_at_once(folder: Path) -> None:
    ct("profile", "base.parquet", "--out", "base.json")
    for day in ("1", "2"):
        ct("profile", f"days/{day}.parquet", "--like", "base.json", "--out", f"{day}.json")
    ct("profile", "1.json", "2.json", "--out", "both.json")
    ct("profile", "days/1.parquet", "days/2.parquet", "--like", "base.json", "--out", "once.json")
    merged, once = load_profile(folder / "both.json"), load_profile(folder / "once.json")
    assert merged.rows == once.rows == 700
    assert merged.schema == once.schema
    for name, column in merged.columns.items():
        assert (column.counts == once.columns[name].counts).all()
        assert column.missing == once.columns[name].missing


def test_a_day_without_a_column_is_missing_in_its_rows(folder: Path) -> None:
    drop(folder, "short.parquet", flat(250, seed=5).drop_columns(["c"]))
    ct("profile", "base.parquet", "--out", "base.json")
    for name in ("short", "days/1"):
        ct("profile", f"{name}.parquet", "--like", "base.json", "--out", f"{Path(name).name}.json")
    found = json.loads(ct("profile", "short.json", "1.json", "--json").stdout)
    assert found["columns"]["c"]["missing"] == 250
    assert found["columns"]["c"]["rows"] == 300
    assert "not counted: the window has no such column" in ct("profile", "short.json").stdout


def test_the_baseline_of_a_version_is_a_baseline_here_too(folder: Path) -> None:
    trained_on = flat(2000, seed=1)
    blocks = new_baseline(trained_on, kinds_of(trained_on), blocks=8)
    assert len(blocks.blocks) == 8
    save_baseline(blocks, folder / "baseline.json")
    said = ct("drift", "baseline.json", "days/2.parquet").stdout
    assert said == ct("drift", "base.parquet", "days/2.parquet").stdout


def test_what_can_not_be_saved_or_merged_is_refused_and_nothing_is_written(folder: Path) -> None:
    ct("profile", "base.parquet", "--out", "base.json")
    ct("profile", "days", "--out", "other.json")
    (folder / "broken.json").write_text('{"format": "ct-daemon/baseline"')
    old = (folder / "base.json").read_text().replace('"version":2', '"version":99')
    (folder / "old.json").write_text(old)
    before = {path: path.read_bytes() for path in folder.glob("*.json")}
    for arguments, code, reason, words in (
        (("profile", "base.parquet", "--out", "x.txt"), 8, "profile_name", "x.txt"),
        (("profile", "base.parquet", "--out", "no/x.json"), 8, "profile_unwritable", "no/x.json"),
        (("profile", "days", "--like", "base.json", "--out", "./base.json"), 8, "profile_name", "base.json"),
        (("profile", "days", "--like", "no.json", "--out", "x.json"), 8, "baseline_missing", "no.json"),
        (("profile", "days", "--like", "old.json", "--out", "x.json"), 8, "baseline_version", "old.json"),
        (
            ("profile", "days", "--like", "broken.json", "--out", "x.json"),
            8,
            "baseline_malformed",
            "broken.json",
        ),
        (("profile", "base.json", "other.json", "--out", "x.json"), 8, "schema_differs", "other.json"),
        (("profile", "base.json", "days", "--out", "x.json"), 2, "mixed_data", "base.json"),
        (("profile", "base.json", "--columns", "a", "--out", "x.json"), 2, "counted_already", "base.json"),
        (("profile", "no.parquet", "--out", "x.json"), 7, "file_missing", "no.parquet"),
        (("profile", "days", "--columns", "zz", "--out", "x.json"), 7, "column_missing", "zz"),
        (("drift", "base.json", "other.json"), 8, "schema_differs", "other.json"),
        (("drift", "old.json", "days"), 8, "baseline_version", "old.json"),
        (("drift", "broken.json", "days"), 8, "baseline_malformed", "broken.json"),
        (("drift", "base.json", "broken.json"), 8, "baseline_malformed", "broken.json"),
        (("drift", "base.json", "days/*.csv"), 7, "no_files", "days/*.csv"),
    ):
        found = error_of(*arguments, code=code)
        assert found["reason"] == reason, arguments
        assert words in found["detail"]
        assert "; " in found["detail"] or ": " in found["detail"], "it names the next step"
    assert {path: path.read_bytes() for path in folder.glob("*.json")} == before
    assert sorted(path.name for path in folder.iterdir() if path.name.startswith(".")) == []


def test_the_command_itself_in_a_folder_with_hostile_names(tmp_path: Path) -> None:
    """A program of its own takes over, where modules of the names of its own lie."""
    pyarrow.csv.write_csv(flat(300, seed=1), tmp_path / "-base.csv")
    for name in ("numpy", "json", "csv", "ct_daemon"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('not me')\n")
    words = [*PYTHON, "ct_daemon", "drift", "--columns", "a", "--", "-base.csv", "-base.csv"]
    done = subprocess.run(
        words, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("baseline 300 rows, window 300 rows; 1 column: 1 calm\n")


def test_a_reader_that_goes_early_is_no_fault(folder: Path) -> None:
    words = [*PYTHON, "ct_daemon.workers.profiling", "base.parquet"]
    with subprocess.Popen(
        words, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        assert child.stderr.read() == ""
        assert child.wait(60) == 0
