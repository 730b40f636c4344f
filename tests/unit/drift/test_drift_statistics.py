"""Distances, bounds, bets and accounts against published and independently computed numbers."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ct_daemon.drift import anytime, distances, evidence, kolmogorov, significance
from ct_daemon.drift.binning import NumericCells, ordered
from ct_daemon.drift.edges import quantile_cuts
from ct_daemon.drift.places import Affine
from ct_daemon.evaluation.expected import expected_accuracy


def seq(a: int, b: int, modulus: int, n: int) -> np.ndarray:
    return ((a * np.arange(n) + b) % modulus) / modulus


def chi_square(base: np.ndarray, window: np.ndarray) -> tuple[float, float]:
    value, freedom = distances.chi_square(base, window)
    return float(value), float(significance.chi_square_p_values(value, freedom))


def ks_case(x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    x, y = ordered(x), ordered(y)
    distance = distances.ks_from_values(x, y)
    beyond = kolmogorov.EXACT_PAIRS
    s_asymptotic = float(stats.kstwo.sf(distance, round(x.size * y.size / (x.size + y.size))))
    assert x.size * y.size <= beyond
    return {
        "D": distance,
        "p_asymp_scipy": s_asymptotic,
        "p_exact": kolmogorov.ks_p_value(distance, x.size, y.size),
        "p_kolmogorov_limit": kolmogorov.ks_p_limit(distance, x.size, y.size),
    }


def counts_case(base: list[int], window: list[int]) -> dict[str, float]:
    a, b = np.array(base), np.array(window)
    chi, p = chi_square(a, b)
    # Coarse cells as single points: KS from them is exact.
    ks = distances.ks_from_counts(a, b, np.ones(a.size, dtype=bool))
    assert ks.error == 0
    return {
        "psi_raw": distances.psi(a, b, pseudo=0.0),
        "psi_pseudo_half": distances.psi(a, b),
        "ks": ks.value,
        "js_distance_base2": distances.js_distance(a, b),
        "tv": distances.total_variation(a, b),
        "chi2_two_sample": chi,
        "chi2_p": p,
    }


def dkw_case(rows: list[int], alpha: float) -> dict[str, Any]:
    return {
        "dkw": [anytime.dkw_radius(n, alpha) for n in rows],
        "time_uniform_closed_form": [anytime.dkw_radius_always(n, alpha) for n in rows],
        "time_uniform_t1000_tmin100_A0.85": anytime.dkw_radius_from(1000, alpha, 100, 0.85),
    }


def bernoulli_case(k: int, n: int) -> dict[str, Any]:
    return {
        "log_lr_p1_0.2_vs_m_0.1": anytime.bernoulli_log_e(k, n, 0.1, 0.2),
        "log_jeffreys_mixture_m_0.1": anytime.jeffreys_log_e(k, n, 0.1),
        "cs95_jeffreys": list(anytime.jeffreys_interval(k, n, 0.05)),
    }


def account_case(log_e: list[float], deposit: float) -> dict[str, Any]:
    accounts, rang = [0.0], []
    for log_bet in log_e:
        accounts.append(float(evidence.advance(accounts[-1], log_bet, deposit)))
        rang.append(evidence.alarm(accounts[-1]))
    return {"R": accounts[1:], "alarm_step_1based": rang.index(True) + 1}


def bins_case(ref: list[float], bins: int, a: list[float], b: list[float]) -> dict[str, Any]:
    cuts = np.unique(quantile_cuts(ordered(ref), bins))
    cells = NumericCells(
        edges=cuts, cuts=cuts, centre=0.0, place_map=Affine(centre=0.0, scale=1.0, shift=5.0)
    )
    one, two, base = (cells.coarse(cells.count(ordered(x))) for x in (a, b, ref))
    counts = {"ref_counts": base, "a": one, "b": two, "a_plus_b": one + two}
    return {"edges": cuts.tolist()} | {name: value.tolist() for name, value in counts.items()}


PINNED: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    (
        "ks_two_sample",
        ks_case(seq(37, 0, 101, 200), seq(53, 11, 97, 150) ** 1.3),
        {
            "D": 0.10833333333333334,
            "p_asymp_scipy": 0.24667592742344488,
            "p_exact": 0.25093966354779357,
            "p_kolmogorov_limit": 0.26682770428625247,
        },
    ),
    (
        "distances_from_counts",
        counts_case([120, 180, 250, 200, 150, 100], [90, 150, 260, 230, 170, 140]),
        {
            "psi_raw": 0.03243629354425993,
            "psi_pseudo_half": 0.03221527940433418,
            "ks": 0.06923076923076926,
            "js_distance_base2": 0.07635954800745498,
            "tv": 0.06923076923076922,
            "chi2_two_sample": 16.44076258044282,
            "chi2_p": 0.00569211319540436,
        },
    ),
    (
        "psi_zero_cell",
        {
            "psi_pseudo_half": distances.psi(
                np.array([500, 300, 150, 50, 0]), np.array([480, 300, 160, 40, 20])
            )
        },
        {"psi_pseudo_half": 0.07774271416108162},
    ),
    (
        "dkw",
        dkw_case([100, 1000, 10000, 100000], 0.05),
        {
            "dkw": [0.13581015157406195, 0.04294694083467376, 0.013581015157406196, 0.004294694083467375],
            "time_uniform_closed_form": [
                0.26917582233731213,
                0.08656912837667055,
                0.027710745077605986,
                0.008846345222203546,
            ],
            "time_uniform_t1000_tmin100_A0.85": 0.08204769,
        },
    ),
    (
        "bernoulli_e",
        bernoulli_case(30, 200),
        {
            "log_lr_p1_0.2_vs_m_0.1": 0.7712993552131842,
            "log_jeffreys_mixture_m_0.1": -0.42997770822889336,
            "cs95_jeffreys": [0.07761511851569448, 0.24924573018713758],
        },
    ),
    (
        "sr_account",
        account_case([-0.5, 0.2, 1.0, 2.0, 2.5, 1.5], 0.01),
        {
            "R": [
                0.006065306597126334,
                0.01962220978841888,
                0.08052151458666071,
                0.6688685494410052,
                8.270312003676572,
                37.10978380586637,
            ],
            "alarm_step_1based": 5,
        },
    ),
    (
        "cbpe",
        {"accuracy": expected_accuracy([0.9, 0.8, 0.3, 0.05, 0.6, 0.45, 0.99])},
        {"accuracy": 0.7842857142857145},
    ),
    (
        "bins_with_ties",
        bins_case([0, 0, 0, 0, 1, 1, 2, 3, 5, 8], 4, [-1, 0, 0.5, 1, 3, 9], [2, 2.6, 2.75, 100]),
        {
            "edges": [0.0, 1.0, 2.75],
            "ref_counts": [4, 2, 1, 3],
            "a": [2, 2, 0, 2],
            "b": [0, 0, 3, 1],
            "a_plus_b": [2, 2, 3, 3],
        },
    ),
]
TOLERANCE = {"sr_account": 1e-9, "cbpe": 1e-9, "bins_with_ties": 0.0}


def check(found: dict[str, Any], expected: dict[str, Any], tolerance: float) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=0, abs=tolerance), name


@pytest.mark.parametrize(("name", "found", "expected"), PINNED, ids=[name for name, _, _ in PINNED])
def test_reference_numbers(name: str, found: dict[str, Any], expected: dict[str, Any]) -> None:
    check(found, expected, TOLERANCE.get(name, 1e-6))


def _sequence(text: str) -> np.ndarray:
    match = re.fullmatch(r"seq\((\d+),(\d+),(\d+),(\d+)\)(?:\*\*([\d.]+))?", text)
    assert match is not None, text
    return seq(*(int(part) for part in match.groups()[:4])) ** float(match[5] or 1)


def test_every_shared_case(shared: Path) -> None:
    """The cases file itself, all of it: a case that is not understood here fails."""
    cases = json.loads((shared / "cases" / "stat_cases.json").read_text())["cases"]
    solvers = {
        "ks_two_sample": lambda x, y: ks_case(_sequence(x), _sequence(y)),
        "distances_from_counts": counts_case,
        "psi_zero_cell": lambda base, window: {
            "psi_pseudo_half": distances.psi(np.array(base), np.array(window))
        },
        "dkw": lambda n, alpha: dkw_case(n, alpha),
        "bernoulli_e": bernoulli_case,
        "sr_account": account_case,
        "cbpe": lambda p: {"accuracy": expected_accuracy(p)},
        "bins_with_ties": bins_case,
    }
    assert {case["id"] for case in cases} == solvers.keys()
    for case in cases:
        check(solvers[case["id"]](**case["input"]), case["expect"], case["tol"])


@given(
    st.lists(st.integers(0, 10_000), min_size=1, max_size=30).flatmap(
        lambda base: st.tuples(
            st.just(base), st.lists(st.integers(0, 10_000), min_size=len(base), max_size=len(base))
        )
    )
)
def test_psi_is_finite_and_not_negative_whatever_the_counts(sides: tuple[list[int], list[int]]) -> None:
    value = distances.psi(np.array(sides[0]), np.array(sides[1]))
    assert math.isfinite(value)
    assert value >= -1e-12


def test_distances_stay_within_their_ranges_at_the_extremes() -> None:
    apart, same = (np.array([5, 0]), np.array([0, 9])), (np.array([5, 3]), np.array([50, 30]))
    for distance in (distances.js_distance, distances.total_variation):
        assert distance(*apart) == pytest.approx(1.0)
        assert distance(*same) == pytest.approx(0.0, abs=1e-7)
    assert chi_square(*same) == pytest.approx((0.0, 1.0))
    assert chi_square(np.array([7]), np.array([9])) == pytest.approx((0.0, 1.0))
    assert distances.psi(*same, pseudo=0.0) == pytest.approx(0.0)
    assert distances.psi(*apart, pseudo=0.0) == math.inf


def test_chi_square_agrees_with_a_contingency_table() -> None:
    base, window = np.array([12, 0, 33, 8, 0]), np.array([20, 4, 71, 2, 0])
    table = stats.chi2_contingency(np.array([base, window])[:, :4], correction=False)
    assert chi_square(base, window) == pytest.approx((table.statistic, table.pvalue))


@pytest.mark.parametrize(("n", "m"), [(1, 1), (3, 5), (7, 7), (20, 130), (200, 150), (60, 600)])
def test_exact_p_value_agrees_with_scipy(n: int, m: int) -> None:
    generator = np.random.default_rng(n * m)
    for shift in (0.0, 0.2, 0.6):
        x, y = generator.normal(size=n), generator.normal(size=m) + shift
        expected = stats.ks_2samp(x, y, method="exact")
        found = kolmogorov.ks_p_value(distances.ks_from_values(ordered(x), ordered(y)), n, m)
        assert found == pytest.approx(expected.pvalue, rel=1e-6, abs=1e-9)


def test_large_samples_take_the_asymptotic_p_value_of_scipy() -> None:
    generator = np.random.default_rng(5)
    x, y = generator.normal(size=4000), generator.normal(size=1500) + 0.03
    expected = stats.ks_2samp(x, y, method="asymp")
    distance = distances.ks_from_values(ordered(x), ordered(y))
    assert distance == expected.statistic
    assert kolmogorov.ks_p_value(distance, 4000, 1500) == pytest.approx(expected.pvalue, rel=1e-9)


def test_the_p_value_of_no_distance_is_one_and_of_full_distance_tiny() -> None:
    assert kolmogorov.ks_p_value(0.0, 50, 60) == 1.0
    assert 0.0 <= kolmogorov.ks_p_value(1.0, 300, 300) < 1e-100
    assert kolmogorov.ks_p_value(0.0, 5000, 6000) == 1.0


def test_p_values_of_samples_without_change_are_uniform() -> None:
    generator = np.random.default_rng(11)
    found = np.array(
        [
            kolmogorov.ks_p_value(
                distances.ks_from_values(*(ordered(generator.random(n)) for n in (80, 120))), 80, 120
            )
            for _ in range(1000)
        ]
    )
    for level in (0.05, 0.2, 0.5):
        assert abs(np.mean(found <= level) - level) < 0.05


def test_the_always_valid_radius_is_wider_and_refuses_what_the_theorem_does_not_cover() -> None:
    assert (
        anytime.dkw_radius(500, 0.05)
        < anytime.dkw_radius_from(500, 0.05, 100)
        < anytime.dkw_radius_always(500, 0.05)
    )
    with pytest.raises(ValueError, match="start"):
        anytime.dkw_radius_from(99, 0.05, 100)
    with pytest.raises(ValueError, match="factor"):
        anytime.dkw_radius_from(200, 0.05, 100, factor=0.7)


def test_the_interval_of_a_share_covers_the_ends() -> None:
    assert anytime.jeffreys_interval(0, 50, 0.05)[0] == 0.0
    assert anytime.jeffreys_interval(50, 50, 0.05)[1] == 1.0
    low, high = anytime.jeffreys_interval(25, 50, 0.05)
    assert low < 0.5 < high
    assert low == pytest.approx(1 - high)


def test_bets_have_mean_one_when_nothing_changed() -> None:
    """The e-value property: summed over all outcomes with their chances under the null."""
    chances = stats.binom.pmf(np.arange(41), 40, 0.1)
    for log_e in (
        lambda k: anytime.bernoulli_log_e(k, 40, 0.1, 0.3),
        lambda k: anytime.jeffreys_log_e(k, 40, 0.1),
    ):
        assert sum(c * math.exp(log_e(k)) for k, c in enumerate(chances)) == pytest.approx(1.0)


def test_false_alarms_stay_within_the_deposits() -> None:
    """The guarantee itself, by simulation: alarms on average no more than what was paid in."""
    generator = np.random.default_rng(3)
    deposit, windows, runs = 1 / 200, 400, 200
    alarms, account = 0, np.zeros(runs)
    for _ in range(windows):
        hits = generator.binomial(50, 0.1, size=runs)
        log_bets = np.array([anytime.bernoulli_log_e(k, 50, 0.1, 0.15) for k in hits])
        account = evidence.advance(account, log_bets, deposit)
        alarms += int((account >= 1).sum())
        account[account >= 1] = 0.0
    assert 0 < alarms <= runs * windows * deposit


def test_accounts_are_capped_and_an_alarm_needs_a_sum_of_one() -> None:
    assert evidence.advance(1e200, 1e6, 0.1) == evidence.MAX_ACCOUNT
    assert np.isfinite(evidence.advance([1e250, 0.0], [500.0, -1e9], 1.0)).all()
    assert evidence.alarm([0.5, 0.5])
    assert not evidence.alarm([0.5, 0.49])
    assert not evidence.alarm([])


def test_expected_accuracy_refuses_what_is_no_probability() -> None:
    for scores in ([], [0.5, 1.2], [-0.1], [math.nan]):
        with pytest.raises(ValueError, match="probabilities"):
            expected_accuracy(scores)
