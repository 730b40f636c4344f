"""The table of drift figures in the README says what was measured, a missed goal and a missing peer included. That
the README holds this table is tested with the other pages that are made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks.side_by_side.picture import picture
from benchmarks.side_by_side.results import OtherMachineError, into, load, ratios, save
from benchmarks.side_by_side.table import caption, costs, lines, markdown

KEPT = Path(__file__).resolve().parents[3] / "benchmarks" / "drift.json"


def results(*figures: dict[str, Any], **other: Any) -> dict[str, Any]:
    """Results with these records."""
    return {
        "machine": {"cpu": "a CPU", "cores": 2, "system": "Linux x86_64", "pinned": True},
        "versions": {"ours/numpy": {"python": "3.11.7", "pyarrow": "26.0.1"}},
        "kernels": ["numpy"],
        "left_out": {},
        "figures": list(figures),
        **other,
    }


def rounds(name: str, **seconds: list[float]) -> dict[str, Any]:
    """A record whose entrants took so long; `ours` is the product with its first kernel."""
    names = {"ours": "ours/numpy"}
    runs = {names.get(who, who): [[wall, wall] for wall in walls] for who, walls in seconds.items()}
    return {"name": name, "title": name, "rounds": runs}


def cells(found: dict[str, Any], word: str) -> list[str]:
    """The first kernel's cells of the lines whose title has a word, where something was measured."""
    return [said[0] for title, said, _ in lines(found) if word in title and said[0] != "not measured"]


def test_a_ratio_is_the_median_of_pairs_and_not_of_sides() -> None:
    over, under = [[1.0, 0], [10.0, 0], [3.0, 0]], [[1.0, 0], [5.0, 0], [1.0, 0]]
    assert ratios(over, under) == (1.5, 2.0, 2.5)
    assert ratios(over[:1], under[:1]) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(("ours", "missed"), [(1.4, False), (1.5, False), (1.6, True)])
def test_a_goal_that_is_missed_says_so(ours: float, missed: bool) -> None:
    record = rounds("decode mix as pandas writes it", ours=[ours] * 3, pyarrow=[1.0] * 3)
    (cell,) = cells(results(record), "over decoding it alone")
    assert cell.startswith(f"{ours:.2f}× ")
    assert cell.endswith("missed") is missed


@pytest.mark.parametrize(("scipy", "missed"), [(101.0, False), (99.0, True)])
def test_being_quicker_counts_the_other_way_round(scipy: float, missed: bool) -> None:
    (cell,) = cells(results(rounds("arrays normals", ours=[1.0] * 3, scipy=[scipy] * 3)), "scipy")
    assert cell.startswith(f"{scipy:.0f}× ")
    assert cell.endswith("missed") is missed


def test_memory_is_the_highest_of_the_process() -> None:
    record = {
        "name": "memory",
        "kernel": "numpy",
        "rss_mb": [200.0, 210.0],
        "peak_mb": 501.0,
        "one_call": {"count": {"seconds": 2, "peak_mb": 1.0}, "build": {"seconds": 3, "peak_mb": 499.0}},
    }
    (tenths,) = cells(results(record), "peak memory")
    assert tenths == "501 MB; after each tenth 200–210 MB, missed"
    assert cells(results(record), "a baseline of all") == ["499 MB, 3 s"]


def test_a_cost_that_grows_faster_than_the_data_is_seen() -> None:
    points = [
        {"rows": rows, "columns": 16, "rounds": {"ours/numpy": [[wall, wall]]}}
        for rows, wall in ((1000, 0.001), (10_000, 0.01), (100_000, 0.2))
    ]
    record = {"name": "growth rows", "points": points}
    assert [round(cost, 2) for _, cost in costs(record, "numpy")] == [62.5, 62.5, 125.0]
    (cell,) = cells(results(record), "as rows grow")
    assert cell.startswith("2.00×")
    assert cell.endswith("missed")


def test_a_peer_that_could_not_be_had_is_named_with_the_reason() -> None:
    found = results(left_out={"nannyml": "ended with 1:\nno wheel for this machine"})
    assert "nannyml not measured (no wheel for this machine)" in caption(found)


def test_figures_measured_apart_take_the_place_of_the_old_ones(tmp_path: Path) -> None:
    path = tmp_path / "drift.json"
    old = results({"name": "a", "is": 1}, {"name": "b", "is": 1}, left_out={"nannyml": "no"})
    save(old, path)
    assert load(path) == old
    new = results({"name": "b", "is": 2}, {"name": "c", "is": 2})
    new["versions"]["nannyml"] = {"nannyml": "1"}
    merged = into(new, path)
    assert [(record["name"], record["is"]) for record in merged["figures"]] == [("a", 1), ("b", 2), ("c", 2)]
    assert merged["left_out"] == {}


@pytest.mark.parametrize(
    "other",
    [
        {"machine": {"cpu": "another CPU"}},
        {"kernels": ["numpy", "numba"]},
        {"versions": {"ours/numpy": {"python": "3.13.0"}}},
    ],
)
def test_figures_of_two_machines_are_not_mixed(tmp_path: Path, other: dict[str, Any]) -> None:
    path = tmp_path / "drift.json"
    save(results(), path)
    with pytest.raises(OtherMachineError, match="measure all figures anew"):
        into(results(**other), path)


def test_the_picture_is_of_the_figures_that_are_kept() -> None:
    drawn = picture(load(KEPT))
    ElementTree.fromstring(drawn)
    assert KEPT.with_suffix(".svg").read_text(encoding="utf-8") == drawn, "run: scripts/docs"


def test_every_goal_has_its_line() -> None:
    goals = [goal for _, _, goal in lines(results()) if goal]
    assert sorted(goals) == sorted(
        ["≤ 1.5×"] * 2
        + ["≤ 2.5×"] * 2
        + ["≥ 100×"] * 2
        + ["≥ 300×", "≥ 20×", "≥ 20×"]
        + ["≤ 1.2×"] * 2
        + ["≤ 500 MB"] * 3
    )
    assert "not measured" in markdown(results())
    assert json.loads(KEPT.read_text(encoding="utf-8"))["figures"], "nothing was measured"
