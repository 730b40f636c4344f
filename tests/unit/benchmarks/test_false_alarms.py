"""The simulation of false alarms in a short form, and its page."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("false_alarms", ROOT / "benchmarks" / "false_alarms.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_page_has_the_rules_and_sizes_of_the_program(program: ModuleType) -> None:
    text = program.PAGE.read_text()
    for rule in program.RULES:
        assert text.count(f"| {rule} |") == 2, rule
    for name in (*program.SHAPES, *program.CHANGES):
        for rows in program.WINDOW_ROWS:
            assert f"| {name}, {rows:,} rows |" in text


def test_small_windows_without_change_are_silent_by_default_and_loud_by_a_fixed_mark(
    program: ModuleType,
) -> None:
    normal = program.SHAPES["normal"]
    found = program.shares(normal, normal, 50, 200, 7)
    assert found["PSI > 0.1"] > 0.6
    assert found["KS p < 0.05"] < 0.12
    assert found["**concept_drift**"] <= 0.01
    moved = program.shares(normal, program.CHANGES["mean + 0.5 sd"], 1000, 50, 7)
    assert moved["**concept_drift**"] > 0.8
