"""Windows against baselines: what is found, what is not, and that "can't tell" is never "no drift"."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from ct_daemon.drift.binning import NumericCells, category_cells, ordered
from ct_daemon.drift.compare import compare
from ct_daemon.drift.edges import numeric_cells
from ct_daemon.drift.profile import (
    ColumnProfile,
    Profile,
    category_column,
    numeric_column,
    uncounted_column,
)
from ct_daemon.drift.tally import Tally
from ct_daemon.types import ColumnKind, DriftReport, DriftScore


def numeric_pair(
    base: np.ndarray, window: np.ndarray, kind: ColumnKind = ColumnKind.NUMERIC
) -> tuple[ColumnProfile, ColumnProfile]:
    cells = numeric_cells(ordered(base))
    return counted(base, cells, kind), counted(window, cells, kind)


def counted(values: np.ndarray, cells: NumericCells, kind: ColumnKind) -> ColumnProfile:
    tally = Tally(cells.grid, centre=cells.centre)
    tally.add(np.asarray(values, dtype=float))
    return numeric_column(tally, cells, kind)


def category_pair(
    base: dict[str, int], window: dict[str, int], missing: int = 0
) -> tuple[ColumnProfile, ColumnProfile]:
    cells = category_cells(base)
    sides = []
    for counts, gone in ((base, 0), (window, missing)):
        values = np.array(list(counts.values()), dtype=np.int64)
        sides.append(category_column(list(counts), values, gone, cells, ColumnKind.CATEGORICAL))
    return sides[0], sides[1]


def report_of(pair: tuple[ColumnProfile, ColumnProfile], **more: int) -> DriftReport:
    base, window = (Profile(rows=column.rows, columns={"x": column}) for column in pair)
    return compare(base, window, **more)


def score_of(pair: tuple[ColumnProfile, ColumnProfile], **more: int) -> DriftScore:
    (score,) = report_of(pair, **more).columns
    return score


def reasons(score: DriftScore) -> set[str | None]:
    return {statistic.reason for name, statistic in score.statistics.items() if name != "missing"}


def test_no_change_is_small_and_a_shift_is_large() -> None:
    g = np.random.default_rng(0)
    base = g.normal(size=10_000)
    same = score_of(numeric_pair(base, g.normal(size=1000)))
    moved = score_of(numeric_pair(base, g.normal(size=1000) + 1))
    assert same.statistics["psi"].value < 0.05
    assert same.statistics["ks"].p_value > 0.01
    assert moved.statistics["psi"].value == pytest.approx(0.93, abs=0.12)
    assert moved.statistics["ks"].value == pytest.approx(0.383, abs=0.03)
    assert moved.statistics["ks"].p_value < 1e-50
    assert moved.statistics["js"].value > 5 * same.statistics["js"].value
    assert moved.statistics["psi"].value == pytest.approx(
        score_of(numeric_pair(base * 1e6, (g.normal(size=1000) + 1) * 1e6)).statistics["psi"].value, abs=0.15
    )


@pytest.mark.parametrize("outlier", [1000.0, -1e6, 1e308, np.inf, -np.inf])
def test_one_outlier_hides_nothing(outlier: float) -> None:
    g = np.random.default_rng(1)
    base, window = g.normal(size=10_000), g.normal(size=10_000) + 1
    clean = score_of(numeric_pair(base, window))
    window[7] = outlier
    dirty = score_of(numeric_pair(base, window))
    for name in ("psi", "ks", "js"):
        assert dirty.statistics[name].value == pytest.approx(clean.statistics[name].value, abs=0.002)


def test_ks_is_exact_with_values_on_both_sides_and_bounded_without() -> None:
    g = np.random.default_rng(2)
    base, window = g.normal(size=600), g.normal(size=640) + 0.1
    exact = stats.ks_2samp(base, window)
    g.shuffle(window)
    one, two = numeric_pair(base, window)
    full = score_of((one, two)).statistics["ks"]
    assert full.error == 0.0
    assert full.value == pytest.approx(exact.statistic, abs=1e-15)
    assert full.p_value == pytest.approx(exact.pvalue, rel=0.02)
    for pair in ((replace(one, sample=None), two), (one, replace(two, sample=None))):
        bounded = score_of(pair).statistics["ks"]
        assert 0 < bounded.error < 0.005
        assert abs(bounded.value - exact.statistic) <= bounded.error


def test_a_window_counted_on_other_cells_is_refused() -> None:
    one, other = (numeric_pair(np.arange(100) + i, np.arange(100)) for i in (0, 1))
    with pytest.raises(ValueError, match="same baseline"):
        report_of((one[0], other[1]))


def test_a_constant_baseline_sees_any_other_value() -> None:
    constant = np.full(500, 3.0)
    same = score_of(numeric_pair(constant, np.full(100, 3.0)))
    assert same.statistics["psi"].value == pytest.approx(0, abs=0.02)
    assert same.statistics["ks"].value == 0.0
    for other in (2.0, 4.0):
        moved = score_of(numeric_pair(constant, np.full(100, other)))
        assert moved.statistics["psi"].value > 5
        assert (moved.statistics["ks"].value, moved.statistics["ks"].error) == (1.0, 0.0)
        assert moved.statistics["outside"].value == 1.0
        assert dict(moved.moved) == {"x = 3": -1.0, "x ≠ 3": 1.0}


def test_values_beyond_the_baseline_are_counted_as_outside() -> None:
    base = np.arange(1000.0)
    window = np.concatenate([np.arange(90.0), [-1, -np.inf, 1e9, np.inf, 999.5], [np.nan] * 5])
    assert score_of(numeric_pair(base, window)).statistics["outside"].value == pytest.approx(5 / 95)
    with_infinity = score_of(numeric_pair(np.append(base, np.inf), window))
    assert with_infinity.statistics["outside"].value == pytest.approx(4 / 95)
    only_infinite = score_of(numeric_pair(np.full(100, np.inf), np.append(np.full(99, np.inf), 0.0)))
    assert only_infinite.statistics["outside"].value == pytest.approx(0.01)
    assert only_infinite.statistics["ks"].value == pytest.approx(0.01)


def test_new_and_vanished_categories_are_seen() -> None:
    base = {"a": 500, "b": 300, "c": 200}
    score = score_of(category_pair(base, {"a": 40, "c": 20, "new": 30, "newer": 10}))
    assert score.statistics["unseen"].value == pytest.approx(0.4)
    assert score.statistics["unseen"].error == 0.0
    assert score.statistics["total_variation"].value == pytest.approx(0.4)
    assert score.statistics["psi"].value > 0.2
    assert score.statistics["chi_square"].p_value < 1e-10
    assert score.moved[0] == ("other categories", pytest.approx(0.4))
    assert score.moved[1] == ("category 'b'", pytest.approx(-0.3))
    assert "ks" not in score.statistics


def test_unseen_is_bounded_when_the_baseline_has_more_categories_than_are_kept() -> None:
    base = {f"c{i:03d}": 10 for i in range(400)}
    same = score_of(category_pair(base, dict.fromkeys(base, 1)))
    assert same.statistics["unseen"].value == pytest.approx(0.0)
    assert same.statistics["unseen"].error == pytest.approx(0.5)
    new = score_of(category_pair(base, {"fresh": 100, "c000": 100}))
    assert new.statistics["unseen"].value == pytest.approx(0.0)
    assert score_of(category_pair(base, {"fresh": 100})).statistics["unseen"].value == pytest.approx(0.5)


def test_many_categories_do_not_make_noise_look_like_drift() -> None:
    g = np.random.default_rng(5)
    names = [f"c{i:03d}" for i in range(200)]
    base, window = (np.bincount(g.integers(0, 200, n), minlength=200) for n in (20_000, 500))
    score = score_of(
        category_pair(
            dict(zip(names, base.tolist(), strict=True)), dict(zip(names, window.tolist(), strict=True))
        )
    )
    assert score.statistics["psi"].value < 0.1
    assert score.statistics["chi_square"].p_value > 0.001


def test_missing_is_its_own_statistic_and_can_move() -> None:
    g = np.random.default_rng(6)
    base, window = g.normal(size=1000), g.normal(size=400)
    window[:100] = np.nan
    score = score_of(numeric_pair(base, window))
    assert score.statistics["missing"].value == 0.25
    assert score.statistics["missing"].p_value < 1e-10
    assert score.statistics["psi"].value < 0.2
    assert score.moved[0] == ("missing", 0.25)
    assert (score.baseline_rows, score.window_rows) == (1000, 300)


def test_moved_cells_are_few_readable_and_sorted() -> None:
    g = np.random.default_rng(7)
    base = g.integers(0, 100, 5000).astype(float)
    score = score_of(numeric_pair(base, np.full(100, 95.0)))
    assert len(score.moved) == 5
    assert score.moved[0][0].startswith("x > ")
    assert score.moved[0][1] > 0.8
    assert np.all(np.diff([abs(change) for _, change in score.moved]) <= 0)
    moments = numeric_pair(base * 86400, base[:100] * 0, ColumnKind.DATETIME)
    assert score_of(moments).moved[0][0].startswith("x ≤ 1970-01-")


def test_too_few_rows_are_no_verdict() -> None:
    g = np.random.default_rng(8)
    report = report_of(numeric_pair(g.normal(size=500), g.normal(size=49)))
    assert report.reason == "too_few_rows"
    assert all((s.value, s.reason) == (None, "too_few_rows") for s in report.columns[0].statistics.values())
    assert report_of(numeric_pair(g.normal(size=500), g.normal(size=50))).reason is None
    mostly_missing = np.append(g.normal(size=49), [np.nan] * 51)
    score = score_of(numeric_pair(g.normal(size=500), mostly_missing))
    assert reasons(score) == {"too_few_rows"}
    assert score.statistics["missing"].value == 0.51
    small_base = score_of(numeric_pair(g.normal(size=49), g.normal(size=100)))
    assert reasons(small_base) == {"baseline_too_few_rows"}


@pytest.mark.parametrize("min_rows", [0, 50])
def test_an_empty_window_says_so(min_rows: int) -> None:
    report = report_of(numeric_pair(np.arange(100), np.array([])), min_rows=min_rows)
    assert report.reason == "no_rows"
    assert all(s.value is None for s in report.columns[0].statistics.values())


def test_an_all_missing_column_says_so_and_keeps_its_missing_share() -> None:
    score = score_of(numeric_pair(np.arange(100), np.full(60, np.nan)))
    assert reasons(score) == {"all_missing"}
    assert score.statistics["missing"].value == 1.0
    assert score.moved[0] == ("missing", 1.0)
    base_missing = score_of(numeric_pair(np.full(100, np.nan), np.arange(60)))
    assert reasons(base_missing) == {"baseline_empty"}
    words = score_of(category_pair({"a": 100}, {}, missing=60))
    assert reasons(words) == {"all_missing"}


def test_an_empty_baseline_says_so() -> None:
    report = report_of(numeric_pair(np.array([]), np.arange(60)))
    assert report.reason == "baseline_empty"
    assert reasons(report.columns[0]) == {"baseline_empty"}


def test_columns_that_cannot_be_counted_give_their_reason_and_hide_no_other() -> None:
    g = np.random.default_rng(9)
    base, window = numeric_pair(g.normal(size=200), g.normal(size=100))
    words, _ = category_pair({"a": 200}, {})
    gone = uncounted_column(ColumnKind.UNSUPPORTED, "unsupported")
    report = compare(
        Profile(
            rows=200,
            columns={"ok": base, "lost": base, "other": base, "list": gone, "unwatched": base, "w": words},
        ),
        Profile(
            rows=100,
            columns={
                "ok": window,
                "lost": uncounted_column(ColumnKind.NUMERIC, "column_missing"),
                "other": uncounted_column(ColumnKind.CATEGORICAL, "kind_changed"),
                "list": gone,
                "extra": uncounted_column(ColumnKind.NUMERIC, "not_in_baseline"),
                "w": window,
            },
        ),
    )
    found = {score.column: score for score in report.columns}
    assert report.reason is None
    assert found["ok"].statistics["psi"].value is not None
    expected = {
        "lost": "column_missing",
        "other": "kind_changed",
        "list": "unsupported",
        "extra": "not_in_baseline",
        "w": "kind_changed",
    }
    for name, reason in expected.items():
        assert {(s.value, s.reason) for s in found[name].statistics.values()} == {(None, reason)}, name
    assert "unwatched" not in found
    assert found["other"].kind is ColumnKind.NUMERIC


def test_a_report_in_which_nothing_could_be_evaluated_says_so() -> None:
    gone = uncounted_column(ColumnKind.UNSUPPORTED, "unsupported")
    base, _ = numeric_pair(np.arange(100), np.arange(60))
    profile = Profile(rows=100, columns={"x": base})
    assert compare(profile, Profile(rows=100, columns={"x": gone})).reason == "nothing_evaluated"
    assert compare(profile, Profile(rows=100, columns={})).reason == "no_columns"
