"""Which columns moved most, which way, and which of their cells."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest

from ct_daemon.codec import decode, encode
from ct_daemon.drift.compare import compare
from ct_daemon.drift.profile import ColumnProfile, Moments, Profile
from ct_daemon.drift.ranking import ranked
from ct_daemon.types import ColumnKind, DriftReport, DriftScore, Statistic
from tests.unit.drift.test_drift_compare import category_pair, numeric_pair, score_of


def report_of(pairs: dict[str, tuple[ColumnProfile, ColumnProfile]]) -> DriftReport:
    base, window = ({name: pair[side] for name, pair in pairs.items()} for side in (0, 1))
    rows = [next(iter(side.values())).rows for side in (base, window)]
    return compare(Profile(rows=rows[0], columns=base), Profile(rows=rows[1], columns=window))


def test_the_column_with_the_strongest_evidence_comes_first() -> None:
    g = np.random.default_rng(1)
    base = g.normal(size=(4, 5000))
    window = g.normal(size=(4, 500)) + np.array([[0.0], [0.4], [2.0], [0.0]])
    window[3, :300] = np.nan
    names = ("calm", "some", "much", "gone")
    found = ranked(report_of({n: numeric_pair(b, w) for n, b, w in zip(names, base, window, strict=True)}))
    assert [one.column for one in found] == ["gone", "much", "some", "calm"]
    by_name = {one.column: one for one in found}
    assert by_name["calm"].evidence < 1 < by_name["some"].evidence
    assert by_name["much"].direction == "up"
    assert by_name["much"].cells[0][0].startswith("x > ")
    assert (by_name["gone"].by, by_name["gone"].direction) == ("missing", "missing")
    assert by_name["gone"].effect == pytest.approx(0.6)
    assert by_name["calm"].direction is None


def test_what_cant_be_told_has_no_rank_and_a_missing_column_still_has_one() -> None:
    report = report_of(
        {
            "lost": numeric_pair(np.arange(100.0), np.full(60, np.nan)),
            "words": category_pair({"a": 60, "b": 40}, {"new": 60}),
        }
    )
    assert {one.column: one.by for one in ranked(report)} == {"lost": "missing", "words": "psi"}
    unknown = DriftScore(
        column="x",
        kind=report.columns[0].kind,
        baseline_rows=0,
        window_rows=0,
        statistics={"psi": Statistic(value=None, reason="too_few_rows"), "ks": Statistic(value=float("nan"))},
    )
    assert ranked(replace(report, columns=(unknown,))) == ()


def test_reports_of_an_older_release_load_and_are_ranked_by_nothing_they_lack() -> None:
    old = (
        '{"baseline_rows":100,"window_rows":60,"columns":[{"column":"x","kind":"numeric","baseline_rows":100,'
        '"window_rows":60,"statistics":{"psi":{"value":0.3,"p_value":null,"error":null,"reason":null},'
        '"missing":{"value":0.5,"p_value":1e-9,"error":null,"reason":null}},"moved":[["x > 3",0.2]]}],"reason":null}'
    )
    report = decode(DriftReport, old)
    score = report.columns[0]
    assert (score.direction, score.shift, score.statistics["psi"].critical) == (None, None, None)
    (only,) = ranked(report)
    assert (only.evidence, only.effect, only.cells) == (0.0, 0.0, (("x > 3", 0.2),))
    assert decode(DriftReport, encode(report)) == report


@pytest.mark.parametrize(
    ("change", "direction"),
    [
        (lambda x: x + 1, "up"),
        (lambda x: x - 1, "down"),
        (lambda x: x * 3, "wider"),
        (lambda x: x / 3, "narrower"),
        (lambda x: x, None),
        (lambda x: np.where(x > 1.5, np.inf, x + 1), "up"),
    ],
)
def test_the_direction_is_where_the_values_went(change, direction: str | None) -> None:
    g = np.random.default_rng(2)
    assert score_of(numeric_pair(g.normal(size=4000), change(g.normal(size=600)))).direction == direction


def test_shift_and_ratio_are_in_units_of_the_baseline() -> None:
    g = np.random.default_rng(3)
    base, window = g.normal(10, 2, size=20_000), g.normal(16, 5, size=5000)
    one, other = (
        replace(
            column,
            moments=Moments(
                centre=10.0, count=x.size, total=float((x - 10).sum()), squares=float(((x - 10) ** 2).sum())
            ),
        )
        for column, x in zip(numeric_pair(base, window), (base, window), strict=True)
    )
    found = score_of((one, other))
    assert found.shift == pytest.approx(3, abs=0.1)
    assert found.spread_ratio == pytest.approx(2.5, abs=0.1)
    bare = score_of((one, replace(other, moments=None)))
    assert (bare.shift, bare.spread_ratio) == (None, None)
    overflow = Moments(centre=10.0, count=5000, total=1e150, squares=float("inf"))
    assert score_of((one, replace(other, moments=overflow))).spread_ratio is None


def test_where_the_quartiles_are_equal_the_spread_is_the_standard_deviation_and_else_there_is_none() -> None:
    base = np.array([0.0] * 90 + [10.0] * 10)
    one, other = numeric_pair(base, np.array([0.0] * 50 + [10.0] * 50))
    one = replace(one, moments=None)
    assert score_of((one, other)).statistics["wasserstein"].reason == "no_spread"
    one = replace(one, moments=Moments(centre=0.0, count=100, total=100.0, squares=1000.0))
    assert score_of((one, other)).statistics["wasserstein"].value == pytest.approx(4 / 3)
    nothing = score_of(numeric_pair(base, np.full(60, np.inf))).statistics["wasserstein"]
    assert nothing.reason == "no_finite_values"


def test_one_row_and_equal_sides_are_measured() -> None:
    score = score_of(numeric_pair(np.array([1.0]), np.array([1.0])), min_rows=1)
    assert score.statistics["ks"].value == score.statistics["psi"].value == 0.0
    assert score.statistics["ks"].p_value == 1.0
    assert score.kind is ColumnKind.NUMERIC


def numbers(statistic: Statistic) -> dict[str, float]:
    return {name: one for name, one in asdict(statistic).items() if isinstance(one, float)}


def test_columns_that_are_worked_at_together_are_each_as_alone() -> None:
    """Whatever their numbers of cells, infinities and ends are."""
    g = np.random.default_rng(4)
    pairs = {}
    for number in range(90):
        n, m = int(g.integers(60, 4000)), int(g.integers(60, 400))
        normal = g.normal(size=n)
        base = (normal, np.round(normal, 1), np.round(normal) * 2, normal**2)[number % 4]
        window = np.append(g.normal(size=m), ([], [np.inf], [np.nan, 1e9], [-np.inf, -50.0])[number % 5 % 4])
        pairs[f"c{number}"] = numeric_pair(base, window)
    together = {score.column: score for score in report_of(pairs).columns}
    for name, pair in pairs.items():
        alone = score_of(pair)
        assert replace(together[name], column="x", statistics={}, moved=()) == replace(
            alone, statistics={}, moved=()
        )
        for statistic, found in alone.statistics.items():
            if statistic != "missing":
                # Sums may be added up in another order.
                assert numbers(together[name].statistics[statistic]) == pytest.approx(
                    numbers(found), rel=1e-9
                )
