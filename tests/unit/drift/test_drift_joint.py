"""AUC by ranks, its variances, and the interval: against definitions, exact counts and simulation."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from ct_daemon.drift.joint import part_of, separation, wilson


def test_auc_is_the_share_of_pairs_and_ties_count_one_half() -> None:
    base, window = [1.0, 2.0, 2.0, 5.0], [2.0, 3.0, 0.0]
    pairs = [1.0 if y > x else 0.5 if y == x else 0.0 for x in base for y in window]
    assert part_of(base, window).auc == pytest.approx(np.mean(pairs))


def test_delongs_variance_is_that_of_its_definition() -> None:
    random = np.random.default_rng(3)
    base, window = random.integers(0, 9, 40).astype(float), random.integers(2, 12, 25).astype(float)
    kernel = (window[:, None] > base[None, :]) + 0.5 * (window[:, None] == base[None, :])
    expected = kernel.mean(axis=1).var(ddof=1) / 25 + kernel.mean(axis=0).var(ddof=1) / 40
    assert part_of(base, window).variance == pytest.approx(expected)


def test_the_null_variance_is_that_over_all_ways_to_label_the_rows() -> None:
    values = np.array([1.0, 1.0, 2.0, 3.0, 3.0, 3.0, 4.0])
    found = []
    for chosen in combinations(range(7), 3):
        mask = np.isin(np.arange(7), chosen)
        found.append(part_of(values[~mask], values[mask]).auc)
    assert part_of(values[:4], values[4:]).null_variance == pytest.approx(np.var(found))


def test_scores_that_say_nothing_are_no_evidence() -> None:
    found = separation([part_of(np.zeros(50), np.zeros(60))])
    assert (found.auc, found.p_value) == (0.5, 1.0)
    assert found.low < 0.5 < found.high


def test_complete_separation_has_an_interval_that_does_not_claim_certainty() -> None:
    found = separation([part_of(np.zeros(30), np.ones(40))])
    assert found.auc == found.high == 1.0
    assert 0.85 < found.low < 0.9  # Wilson's lower end for 30 of 30
    assert found.p_value < 1e-9


def test_a_side_of_one_row_is_refused() -> None:
    with pytest.raises(ValueError, match="two rows"):
        part_of([1.0], [2.0, 3.0])
    with pytest.raises(ValueError, match="one part"):
        separation([])


def test_wilsons_interval_is_scipys() -> None:
    expected = stats.binomtest(37, 50).proportion_ci(0.95, method="wilson")
    assert wilson(0.74, 50) == pytest.approx((expected.low, expected.high), abs=1e-6)


@pytest.mark.parametrize(("n", "m", "shift"), [(400, 400, 0.0), (400, 60, 0.5), (80, 80, 2.5)])
def test_the_interval_holds_the_true_auc_about_as_often_as_it_says(n: int, m: int, shift: float) -> None:
    random = np.random.default_rng(11)
    truth = stats.norm.cdf(shift / np.sqrt(2))
    held = 0
    for _ in range(400):
        parts = [part_of(random.normal(size=n // 4), random.normal(shift, 1, m // 4)) for _ in range(4)]
        found = separation(parts)
        held += found.low <= truth <= found.high
    assert 0.92 <= held / 400 <= 0.985


def test_p_values_of_no_change_are_uniform() -> None:
    random = np.random.default_rng(12)
    found = [
        separation([part_of(random.normal(size=60), random.normal(size=25)) for _ in range(7)]).p_value
        for _ in range(500)
    ]
    assert stats.kstest(found, "uniform").pvalue > 0.01
