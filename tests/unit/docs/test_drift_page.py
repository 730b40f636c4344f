"""Everything that the page on comparing data shows works as it stands, and it names all there is."""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import sys
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner

from ct_daemon.cli.main import main
from ct_daemon.drift import categorical, numeric
from ct_daemon.drift.binning import MAX_CATEGORIES
from ct_daemon.drift.document import COLUMN_BYTES
from ct_daemon.drift.tally import SAMPLE_ROWS
from ct_daemon.scan.verdicts import REASONS
from ct_daemon.testing import drop
from tests.unit.docs.conftest import DOCS, REPOSITORY

PAGE = (DOCS / "how-to" / "drift.md").read_text(encoding="utf-8")


def people(count: int, seed: int, older: float = 0.0, silent: float = 0.05) -> pa.Table:
    random = np.random.default_rng(seed)
    income = random.lognormal(10, 1, count)
    return pa.table(
        {
            "age": random.normal(40 + older, 10, count),
            "income": pa.array(income, mask=random.random(count) < silent),
            "visits": random.poisson(3, count),
            "city": random.choice(["Rome", "Oslo", "Lima"], count),
        }
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that the page speaks of. The programs behind commands run in this process."""
    january, monday = people(6000, 1), people(600, 2, older=10, silent=0.15)
    drop(tmp_path, "january.parquet", january)
    drop(tmp_path, "old.parquet", january)
    drop(tmp_path, "monday.parquet", monday)
    drop(tmp_path, "new.parquet", monday)
    drop(tmp_path, "tuesday.parquet", people(700, 3))
    (tmp_path / "days").mkdir()
    drop(tmp_path / "days", "1.parquet", people(500, 4))
    drop(tmp_path / "days", "2.parquet", people(500, 5))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(os, "execv", become)
    return tmp_path


def become(program: str, words: list[str]) -> NoReturn:
    assert program == words[0] == sys.executable
    assert words[1:3] == ["-P", "-m"]
    raise SystemExit(importlib.import_module(words[3]).main(words[4:]))


def blocks(language: str, page: str = PAGE) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)


def run(line: str) -> str:
    words, _, target = line.removeprefix("ct-daemon ").partition(" > ")
    done = CliRunner().invoke(main, shlex.split(words), catch_exceptions=False)
    assert done.exit_code == 0, f"{line}\n{done.output}"
    if target:
        Path(target).write_text(done.stdout)
    return done.output


def test_the_commands_work_as_they_stand(folder: Path) -> None:
    said = {line: run(line) for block in blocks("sh") for line in block.splitlines()}
    assert len(said) == 11
    found = json.loads((folder / "found.json").read_text())
    assert found["rows"] == {"baseline": 6000, "window": 1000}
    assert (
        said["ct-daemon drift january.json monday.json"]
        == said["ct-daemon drift january.parquet monday.parquet"]
    )
    assert "window 1,300 rows" in said["ct-daemon drift january.json week.json"]


def verdicts(table: str) -> list[tuple[str, str, str]]:
    rows = [line.split() for line in table.splitlines()[3:] if line and not line.startswith(" ")]
    return [(row[0], row[1], row[-1]) for row in rows]


def test_the_table_is_what_the_command_shows(folder: Path) -> None:
    (shown,) = re.findall(r"^```\n(baseline .*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)
    told = run("ct-daemon drift january.parquet monday.parquet").split("\n\nmoved: ")[0]
    assert shown.splitlines()[0] == told.splitlines()[0]
    assert verdicts(shown) == verdicts(told)
    assert [row[0] for row in verdicts(shown)] == ["age", "income", "visits", "city"]
    assert re.findall(r"up; mean|missing \+", shown) == re.findall(r"up; mean|missing \+", told)


@pytest.mark.parametrize("page", ["docs/how-to/drift.md", "README.md"])
def test_the_programs_work_as_they_stand(page: str, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    for block in blocks("python", text):
        if "import ct_daemon\n" in block or names:
            exec(compile(block, page, "exec"), names)
    assert names["found"].moved == ("age",)
    assert "('age',)" in capfd.readouterr().out


def slugs(heading: str) -> set[str]:
    section = PAGE[PAGE.index(f"## {heading}\n") :].split("\n## ", 1)[0]
    return set(re.findall(r"^\| `([a-z_]+)` \|", section, flags=re.MULTILINE))


def test_the_page_names_every_statistic_and_every_reason() -> None:
    besides = {"error", "critical", "expected", "p_value", "effect"}
    assert (
        slugs("What the statistics mean")
        == {*numeric.STATISTICS, *categorical.STATISTICS, "missing"} | besides
    )
    assert slugs('"Can\'t tell"') == set(REASONS)


def test_the_page_tells_what_a_profile_holds() -> None:
    assert f"up to {SAMPLE_ROWS:,} rows" in PAGE
    assert f"up to {MAX_CATEGORIES} categories" in PAGE.replace("\n", " ")
    assert f"{COLUMN_BYTES // 1024} KiB a column" in PAGE
