"""p-values of Kolmogorov-Smirnov against scipy.stats, which ct_daemon itself does without."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ct_daemon.drift import kolmogorov


@pytest.mark.parametrize("n", [1, 2, 3, 7, 20, 50, 100, 139, 140, 141, 200, 256, 257, 300, 1000, 5000, 20000])
def test_the_law_of_one_sample_is_that_of_scipy_down_to_tiny_p(n: int) -> None:
    z = np.concatenate([np.linspace(0.1, 2.5, 49), np.geomspace(2.5, 18, 12)])
    x = z[z < np.sqrt(n)] / np.sqrt(n)
    expected = np.array([stats.kstwo.sf(one, n) for one in x])
    found = kolmogorov.one_sample_p_values(x, np.full(x.shape, float(n)))
    seen = expected > 1e-300
    np.testing.assert_allclose(found[seen], expected[seen], rtol=5e-6)
    tail = seen & (z[z < np.sqrt(n)] ** 2 > 4)
    np.testing.assert_allclose(found[tail], expected[tail], rtol=1e-8)


def test_the_series_is_as_good_as_the_matrix() -> None:
    for n, z in ((200, 0.7), (400, 1.0), (400, 1.4)):
        x = z / np.sqrt(n)
        found = kolmogorov.one_sample_p_values(np.array([x]), np.array([float(n)]))[0]
        assert found == pytest.approx(1 - kolmogorov._matrix_power(x, n), rel=2e-5)


@pytest.mark.parametrize(
    ("n", "m"), [(1, 1), (2, 2), (9, 9), (60, 60), (300, 300), (3, 5), (20, 130), (200, 450)]
)
@pytest.mark.parametrize("shift", [0.0, 0.2, 0.6])
def test_small_and_equal_samples_are_exact(n: int, m: int, shift: float) -> None:
    g = np.random.default_rng(n * m)
    expected = stats.ks_2samp(g.normal(size=n), g.normal(size=m) + shift, method="exact")
    assert kolmogorov.ks_p_value(expected.statistic, n, m) == pytest.approx(expected.pvalue, rel=1e-6)


def test_equal_samples_are_exact_at_any_size() -> None:
    """Counted path by path, and by the closed form."""
    for k in (3, 40, 60, 90):
        assert kolmogorov._equal_sizes(k / 600, 600) == pytest.approx(
            kolmogorov._lattice(k * 600 - 1, 600, 600), rel=1e-9, abs=1e-11
        )
    assert kolmogorov.ks_p_value(0.004, 10**6, 10**6) == pytest.approx(
        stats.kstwobign.sf(0.004 * np.sqrt(5e5)), rel=0.01
    )


def test_unequal_samples_take_the_asymptotic_p_value_of_scipy() -> None:
    g = np.random.default_rng(5)
    for n, m, shift in ((4000, 1500, 0.03), (4000, 1500, 0.3), (90_000, 700, 0.1), (500, 60_000, 1.0)):
        x, y = g.normal(size=n), g.normal(size=m) + shift
        expected = stats.ks_2samp(x, y, method="asymp")
        assert kolmogorov.ks_p_value(expected.statistic, n, m) == pytest.approx(expected.pvalue, rel=1e-6)


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 3000), st.integers(1, 3000), st.lists(st.floats(0, 1), min_size=2, max_size=6).map(sorted)
)
def test_a_larger_distance_is_never_likelier(n: int, m: int, distances: list[float]) -> None:
    steps = [round(d * n * m) / (n * m) for d in distances]
    size = len(steps)
    found = kolmogorov.ks_p_values(np.array(steps), np.full(size, n), np.full(size, m))
    assert ((found >= 0) & (found <= 1)).all()
    assert (np.diff(found) <= 1e-6).all()
    assert kolmogorov.ks_p_value(0.0, n, m) == 1.0


def test_many_at_once_are_each_as_alone() -> None:
    d, n, m = (
        np.array([0.1, 0.02, 0.3, 1.0]),
        np.array([50, 10**6, 300, 40]),
        np.array([60, 3000, 300, 10**5]),
    )
    alone = [kolmogorov.ks_p_value(*one) for one in zip(d.tolist(), n.tolist(), m.tolist(), strict=True)]
    assert kolmogorov.ks_p_values(d, n, m).tolist() == alone


def test_comparing_imports_no_scipy_stats() -> None:
    program = "import sys, ct_daemon.drift.compare as _; sys.exit('scipy.stats' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_ranking_imports_no_numpy() -> None:
    program = "import sys, ct_daemon.drift.ranking as _; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
