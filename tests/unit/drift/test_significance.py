"""Distances against naive formulas and scipy, and what chance gives against simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import jensenshannon

from ct_daemon.drift import significance
from ct_daemon.drift.distances import chi_square, cramers_v, js_distance, psi, total_variation

SIDES = st.integers(2, 25).flatmap(
    lambda cells: st.tuples(
        *(
            st.lists(st.integers(0, 5000), min_size=cells, max_size=cells).filter(any).map(np.array)
            for _ in range(2)
        )
    )
)


@settings(max_examples=150, deadline=None)
@given(SIDES)
def test_distances_agree_with_naive_formulas_and_keep_their_ranges(
    sides: tuple[np.ndarray, np.ndarray],
) -> None:
    a, b = sides
    p, q = a / a.sum(), b / b.sum()
    assert js_distance(a, b) == pytest.approx(jensenshannon(p, q, base=2), abs=2e-8)
    assert total_variation(a, b) == pytest.approx(sum(abs(x - y) for x, y in zip(p, q, strict=True)) / 2)
    u, v = (a + 0.5) / (a.sum() + a.size / 2), (b + 0.5) / (b.sum() + b.size / 2)
    assert psi(a, b) == pytest.approx(
        sum((y - x) * math.log(y / x) for x, y in zip(u, v, strict=True)), abs=1e-12
    )
    for distance in (js_distance, total_variation, psi):
        assert distance(a, b) == pytest.approx(float(distance(b, a)), abs=1e-12)
        assert distance(a, a) == pytest.approx(0.0, abs=1e-12)
        assert distance(a, b) >= 0
    assert max(js_distance(a, b), total_variation(a, b)) <= 1
    used = (a + b) > 0
    if used.sum() > 1:
        table = stats.chi2_contingency(np.array([a, b])[:, used], correction=False)
        value, freedom = chi_square(a, b)
        assert (value, freedom) == (pytest.approx(table.statistic, abs=1e-9), table.dof)
        assert significance.chi_square_p_values(value, freedom) == pytest.approx(table.pvalue, abs=1e-12)
        assert cramers_v(value, freedom, a.sum() + b.sum()) == pytest.approx(
            stats.contingency.association(np.array([a, b])[:, used]), abs=1e-9
        )


def test_many_columns_at_once_are_each_as_alone() -> None:
    g = np.random.default_rng(0)
    a, b = g.integers(0, 50, (7, 10)), g.integers(0, 9, (7, 10))
    for distance in (psi, js_distance, total_variation):
        assert distance(a, b).tolist() == [float(distance(x, y)) for x, y in zip(a, b, strict=True)]


@pytest.mark.parametrize(
    ("shares", "n", "m"),
    [
        ([0.1] * 10, 1000, 50),
        ([0.1] * 10, 10_000, 500),
        ([1 / k**1.5 for k in range(1, 22)], 100_000, 1000),
        ([0.5, 0.5], 2000, 400),
        ([0.999, 0.0005, 0.0005], 10_000, 200),
    ],
)
def test_samples_without_change_exceed_the_critical_psi_once_in_a_thousand(
    shares: list[float], n: int, m: int
) -> None:
    g = np.random.default_rng(1)
    trials = 40_000
    p = np.array(shares) / np.sum(shares)
    base, window = g.multinomial(n, p, trials), g.multinomial(m, p, trials)
    cells, rows = significance.used_cells(base, window), (np.full(trials, n), np.full(trials, m))
    values = psi(base, window)
    beyond = values > significance.psi_critical(cells, *rows)
    assert beyond.mean() < 0.002
    assert ((significance.psi_p_values(values, cells, *rows) <= 0.001) == beyond).all()
    if min(shares) * m >= 5:
        assert beyond.mean() > 0.0004
        assert values.mean() == pytest.approx(significance.psi_expected(cells, *rows).mean(), rel=0.1)


def test_the_critical_ks_is_exceeded_at_most_once_in_a_thousand() -> None:
    for n, m in ((50, 50), (1000, 50), (5000, 5000), (10**6, 700)):
        critical = float(significance.ks_critical(np.array(n), np.array(m)))
        assert 0.0005 < stats.kstwo.sf(critical, round(n * m / (n + m))) <= 0.001


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 400), st.integers(1, 120), st.data())
def test_the_test_of_two_shares_is_fishers_for_few_and_chi_square_for_many(
    n: int, m: int, data: st.DataObject
) -> None:
    a, b = data.draw(st.integers(0, n)), data.draw(st.integers(0, m))
    found = float(significance.share_p_values(*(np.array([x]) for x in (a, n, b, m)))[0])
    table = np.array([[a, n - a], [b, m - b]])
    assert 0 <= found <= 1
    if 0 < a + b < n + m and stats.contingency.expected_freq(table).min() >= 10:
        assert found == pytest.approx(stats.chi2_contingency(table, correction=False).pvalue, abs=1e-12)
    else:
        assert found == pytest.approx(stats.fisher_exact(table).pvalue, rel=1e-6, abs=1e-12)


def test_the_test_of_two_shares_keeps_its_level() -> None:
    g = np.random.default_rng(2)
    for share, n, m in ((0.002, 5000, 100), (0.05, 5000, 100), (0.3, 1000, 500), (0.98, 10_000, 300)):
        a, b = g.binomial(n, share, 20_000), g.binomial(m, share, 20_000)
        found = significance.share_p_values(a, np.full(a.size, n), b, np.full(b.size, m))
        assert (found <= 0.01).mean() <= 0.014
        assert (found <= 0.001).mean() <= 0.0025


def test_the_guide_beside_the_test_of_two_shares_is_near_it() -> None:
    sides = (np.array([3000]), np.array([10_000]), np.array([365]), np.array([1000]))
    critical = float(significance.share_critical(*sides)[0])
    at = (np.array([3000]), np.array([10_000]), np.array([round(1000 * (0.3 + critical))]), np.array([1000]))
    assert significance.share_p_values(*at)[0] == pytest.approx(0.001, rel=0.2)
