"""The bounds that are reported hold: no exact distance is further from the reported one than its error.

`CT_DAEMON_PAIRS` sets on how many random pairs of samples (default 300); `scripts/torture` runs the long form.
"""

from __future__ import annotations

import os

import numpy as np
import pytest
from scipy import stats

from ct_daemon.drift.compare import compare
from ct_daemon.drift.distances import ks_from_counts
from ct_daemon.drift.profile import ColumnProfile, Profile
from ct_daemon.drift.wasserstein import Extremes, Side, grid_spread, wasserstein_from_counts
from tests.unit.drift.test_drift_compare import numeric_pair

PAIRS = int(os.environ.get("CT_DAEMON_PAIRS", "300"))
KINDS = ("normal", "cauchy", "ties", "few", "mostly_zero", "tiny", "constant", "between", "edges")


def sample(g: np.random.Generator, kind: str, n: int, other: np.ndarray | None) -> np.ndarray:
    """`between` and `edges` are adversaries: values that hide between those of the other side, or lie on them."""
    if kind in ("between", "edges") and other is not None and other.size > 1:
        marks = np.quantile(other, np.linspace(0, 1, int(g.integers(2, 300))))
        return g.choice(marks if kind == "edges" else np.nextafter(marks, g.choice([-np.inf, np.inf])), n)
    made = {
        "normal": lambda: g.normal(size=n),
        "cauchy": lambda: g.standard_cauchy(n),
        "ties": lambda: np.round(g.normal(size=n), 1),
        "few": lambda: g.integers(0, 5, n).astype(float),
        "mostly_zero": lambda: np.where(g.random(n) < 0.7, 0.0, g.lognormal(0, 2, n)),
        "tiny": lambda: g.normal(size=n) * 1e-300,
        "constant": lambda: np.full(n, 3.0),
    }
    return made.get(kind, made["normal"])()


def side(column: ColumnProfile) -> Side:
    low, high = (np.float64(np.nan if end is None else end) for end in (column.low, column.high))
    return Side(total=np.cumsum(column.counts), ends=Extremes(low, high))


@pytest.mark.timeout(3600)
def test_no_exact_distance_is_outside_the_reported_bounds() -> None:
    g = np.random.default_rng(20261124)
    exact_ones = 0
    for number in range(PAIRS):
        base = sample(g, str(g.choice(KINDS)), int(g.integers(1, 4000)), None)
        kind = str(g.choice(KINDS))
        window = sample(g, kind, int(g.integers(1, 900)), base)
        if kind not in ("between", "edges"):
            window = window + g.choice([0.0, 0.0, 0.1, 5.0])
        if g.random() < 0.3:
            window[0] = g.choice([1e6, -1e6, 1e12])
        one, other = numeric_pair(base, window)
        cells = one.cells
        found = ks_from_counts(one.counts, other.counts, cells.points)
        exact = stats.ks_2samp(base, window, method="asymp").statistic
        assert abs(exact - found.value) <= found.error + 1e-12, (number, kind)
        exact_ones += found.error == 0
        found = wasserstein_from_counts(cells.edges, cells.points, side(one), side(other))
        exact = stats.wasserstein_distance(base, window)
        step = np.spacing(max(np.abs(base).max(), np.abs(window).max()))  # as wide as a point cell is
        assert abs(exact - found.value) <= found.error + 1e-11 * max(exact, found.value) + step, (
            number,
            kind,
        )
    assert 0 < exact_ones < PAIRS


def test_counts_that_are_off_by_a_few_ranks_widen_the_bounds_by_as_much() -> None:
    """As from a sketch: rows are counted in a neighbouring cell, as many as `rank_error` says."""
    g = np.random.default_rng(5)
    base, window = g.normal(size=3000), g.normal(size=800) + 0.1
    one, other = numeric_pair(base, window)
    counts = one.counts.copy()
    for cell in range(1, counts.size - 3, 2):
        moved = min(7, int(counts[cell]))
        counts[cell] -= moved
        counts[cell + 1] += moved
    ends = (one.low, one.high)
    slack = 7 / 3000
    found = ks_from_counts(counts, other.counts, one.cells.points, slack)
    exact = stats.ks_2samp(base, window, method="asymp").statistic
    assert abs(exact - found.value) <= found.error
    assert found.error >= slack
    rough = Side(total=np.cumsum(counts), ends=Extremes(*(np.float64(end) for end in ends)))
    found = wasserstein_from_counts(one.cells.edges, one.cells.points, rough, side(other), slack)
    assert abs(stats.wasserstein_distance(base, window) - found.value) <= found.error
    plain = wasserstein_from_counts(one.cells.edges, one.cells.points, rough, side(other))
    assert found.error > plain.error


def test_discrete_data_are_measured_exactly() -> None:
    g = np.random.default_rng(6)
    base, window = g.integers(0, 20, 500) / 4, g.choice([0.0, 1.25, 4.75], 90)
    one, other = numeric_pair(base, window)
    found = wasserstein_from_counts(one.cells.edges, one.cells.points, side(one), side(other))
    assert found.error == 0.0
    assert found.value == pytest.approx(stats.wasserstein_distance(base, window), rel=1e-12)


def test_one_far_value_is_known_exactly() -> None:
    """It is an extreme, so it is known where it lies."""
    g = np.random.default_rng(7)
    base = g.normal(size=20_000)
    window = np.append(g.normal(size=99), 1e9)
    one, other = numeric_pair(base, window)
    found = wasserstein_from_counts(one.cells.edges, one.cells.points, side(one), side(other))
    assert found.value == pytest.approx(1e7, rel=1e-6)
    assert found.error < 1


def test_the_spread_is_the_standard_deviation_of_normal_data_whatever_the_tails() -> None:
    g = np.random.default_rng(8)
    base = g.normal(3, 2, size=50_000)
    base[:50] = 1e12
    one, _ = numeric_pair(base, base[:9])
    assert grid_spread(one.cells.edges, one.cells.points, side(one)) == pytest.approx(2, rel=0.03)


@pytest.mark.parametrize("values", [[3.0] * 9, [-1e308, 1e308], [0.0, np.inf], [np.inf, -np.inf], [1.0]])
def test_extremes_never_give_a_number_that_is_wrong(values: list[float]) -> None:
    base, window = np.array(values * 20), np.array([*values, 2.5, -np.inf] * 10)
    one, other = numeric_pair(base, window)
    found = compare(
        Profile(rows=base.size, columns={"x": one}),
        Profile(rows=window.size, columns={"x": other}),
        min_rows=1,
    ).columns[0]
    for statistic in found.statistics.values():
        numbers = (statistic.value, statistic.error, statistic.p_value, statistic.critical, statistic.effect)
        assert all(number is None or np.isfinite(number) for number in numbers)
        assert (statistic.value is None) == (statistic.reason is not None)
