"""Distances between two samples, from counts over common cells or from the values, and the bounds around them.

Counts are arrays of the same length, one entry a cell; a side with no rows is an error of the caller. None of the
numbers is a verdict: with enough rows every p-value gets small, with few rows every distance gets large.
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import numpy as np
from scipy import optimize, special, stats

from ct_daemon.drift.binning import Floats, Ints

EXACT_PAIRS = 2_000_000
"""Up to so many pairs (n times m) the p-value of KS is exact."""
_EXACT_FLOOR = 1e-9
"""The exact p-value is one minus a sum; below this its digits are rounding noise."""


class Bounded(NamedTuple):
    """A value and a bound on its distance from the exact one."""

    value: float
    error: float


# --- distances from counts -------------------------------------------------------------------------------


def psi(base: Ints, window: Ints, pseudo: float = 0.5) -> float:
    """Population stability index: sum of (q - p) ln(q / p) over the cells; 0 or more, finite for `pseudo` > 0.

    `pseudo` is added to each cell of both sides, p = (count + pseudo) / (rows + pseudo * cells), so that empty cells
    stay finite. The customary marks 0.1 and 0.2 (or 0.25) are conventions of credit scoring; without any change PSI
    is about (cells - 1)(1/n + 1/m). Source: Yurdakul 2018.
    """
    p = (base + pseudo) / (base.sum() + pseudo * base.size)
    q = (window + pseudo) / (window.sum() + pseudo * window.size)
    used = (p > 0) | (q > 0)
    with np.errstate(divide="ignore"):
        return float(np.sum((q[used] - p[used]) * (np.log(q[used]) - np.log(p[used]))))


def ks_from_counts(base: Ints, window: Ints) -> Bounded:
    """Kolmogorov-Smirnov distance as far as fine counts tell; 0 to 1.

    Parameters
    ----------
    base, window : array of int
        Counts over the fine cells of `NumericCells`: single points at even places, open intervals at odd ones.

    Returns
    -------
    Bounded
        `value` is the largest difference of the two distribution functions at the ends of the cells, a lower bound
        of the exact distance. Within an open interval in which F rises from F0 to F1 and G from G0 to G1, F - G is
        at most F1 - G0 and G - F at most G1 - F0; `error` is the largest of these less `value`. It is 0 when each
        open interval holds rows of one side at most, as with discrete data.
    """
    F = np.cumsum(base) / base.sum()
    G = np.cumsum(window) / window.sum()
    value = float(np.max(np.abs(F - G)))
    upper = max(value, float(np.max(F[1::2] - G[0:-1:2])), float(np.max(G[1::2] - F[0:-1:2])))
    # A rounding error at most: the sums are exact, each share is rounded once.
    return Bounded(value, upper - value + 1e-15 if upper > value else 0.0)


def js_distance(base: Ints, window: Ints) -> float:
    """Jensen-Shannon distance with base-2 logarithms: the root of the divergence; 0 to 1. Source: Lin 1991."""
    p, q = base / base.sum(), window / window.sum()
    mean = (p + q) / 2
    divergence = (special.rel_entr(p, mean).sum() + special.rel_entr(q, mean).sum()) / 2 / math.log(2)
    return math.sqrt(min(max(float(divergence), 0.0), 1.0))


def total_variation(base: Ints, window: Ints) -> float:
    """Share of the rows that would have to change cell: half the summed difference of shares; 0 to 1."""
    return float(np.abs(base / base.sum() - window / window.sum()).sum() / 2)


def chi_square(base: Ints, window: Ints) -> tuple[float, float]:
    """Two-sample chi-square statistic and its p-value (k - 1 degrees of freedom for k cells that are not empty on
    both sides). With fewer than about five rows expected in a cell the p-value is rough."""
    n, m = int(base.sum()), int(window.sum())
    both = base + window
    used = both > 0
    ratio = math.sqrt(m / n)
    value = float(np.sum((base[used] * ratio - window[used] / ratio) ** 2 / both[used]))
    freedom = int(used.sum()) - 1
    return value, float(special.chdtrc(freedom, value)) if freedom else 1.0


# --- Kolmogorov-Smirnov from values ----------------------------------------------------------------------


def ks_from_values(base: Floats, window: Floats) -> float:
    """Exact two-sample Kolmogorov-Smirnov distance of two ascending arrays without NaN; 0 to 1.

    F - G is largest at a value of `base`, G - F at a value of `window`; on ties the last equal one counts.
    """
    n, m = base.size, window.size
    above = np.arange(1, n + 1) / n - np.searchsorted(window, base, side="right") / m
    below = np.arange(1, m + 1) / m - np.searchsorted(base, window, side="right") / n
    return max(float(above.max()), float(below.max()), 0.0)


def ks_p_value(distance: float, n: int, m: int) -> float:
    """Chance of a distance at least this large between two samples of one continuous distribution.

    Exact for n m up to `EXACT_PAIRS`, by counting lattice paths (Hodges 1958); beyond, and where it is below 1e-9,
    the one-sample law at round(n m / (n + m)) rows, as in scipy's `ks_2samp(method="asymp")`. With ties it is an
    upper bound.
    """
    if n * m <= EXACT_PAIRS:
        exact = _ks_p_exact(distance, *sorted((n, m)))
        if exact > _EXACT_FLOOR:
            return exact
    return float(np.clip(stats.kstwo.sf(distance, round(n * m / (n + m))), 0.0, 1.0))


def ks_p_limit(distance: float, n: int, m: int) -> float:
    """Kolmogorov's limit of the p-value: Q(D sqrt(n m / (n + m)))."""
    return float(special.kolmogorov(distance * math.sqrt(n * m / (n + m))))


def _ks_p_exact(distance: float, rows: int, columns: int) -> float:
    """One minus the share of the lattice paths from (0, 0) to (rows, columns) that keep
    abs(i / rows - j / columns) < distance. Row by row: paths to (i, j) = to (i, j - 1) + to (i - 1, j)."""
    reach = round(distance * rows * columns) - 1
    if reach < 0:
        return 1.0
    paths = np.zeros(columns + 1)
    paths[0] = 1.0
    log_scale = 0.0
    first = 0
    for i in range(rows + 1):
        low = max(-((reach - i * columns) // rows), 0)
        high = min((i * columns + reach) // rows, columns)
        if low > high:
            return 1.0
        paths[first:low] = 0.0
        first = low
        band = np.cumsum(paths[low : high + 1])
        top = band[-1]
        if top <= 0:
            return 1.0
        paths[low : high + 1] = band / top
        log_scale += math.log(top)
    total = special.gammaln(rows + columns + 1) - special.gammaln(rows + 1) - special.gammaln(columns + 1)
    return float(np.clip(1.0 - math.exp(log_scale - total), 0.0, 1.0))


# --- how far chance alone reaches ------------------------------------------------------------------------


def dkw_radius(n: float, alpha: float) -> float:
    """With probability 1 - alpha the empirical distribution function of n rows stays within this distance of the
    true one: sqrt(ln(2 / alpha) / (2 n)). Source: Massart 1990."""
    return math.sqrt(math.log(2 / alpha) / (2 * n))


def dkw_radius_always(n: float, alpha: float) -> float:
    """The same for all n at once: 0.85 sqrt((ln ln(e n) + 0.8 ln(1612 / alpha)) / n).

    Source: Howard and Ramdas 2022, Bernoulli 28(3), Theorem 2, closed form.
    """
    return 0.85 * math.sqrt((math.log(1 + math.log(n)) + 0.8 * math.log(1612 / alpha)) / n)


def dkw_radius_from(n: float, alpha: float, start: float, factor: float = 0.85) -> float:
    """The same for all n from `start` on, with the constant solved for: A sqrt((ln ln(e n / start) + C) / n).

    `factor` is A, above sqrt(1/2). C is the smallest constant whose bound in Theorem 2 is alpha.

    Raises
    ------
    ValueError
        If n is below `start` or `factor` is too small.
    """
    if n < start or factor <= math.sqrt(0.5):
        raise ValueError("dkw_radius_from needs n >= start and factor > sqrt(1/2)")
    return factor * math.sqrt((math.log(1 + math.log(n / start)) + _lil_constant(alpha, factor)) / n)


@cache
def _lil_constant(alpha: float, factor: float) -> float:
    """The C at which the bound, 4 exp(-g C) (1 + 1 / ((g - 1) ln eta)) at its best eta > 1, is alpha; with
    g = 2 (A - sqrt(2 (eta - 1) / C))^2 / eta above 1."""

    def log_bound(constant: float) -> float:
        def at(spread: float) -> float:
            eta = 1 + spread
            left = max(factor - math.sqrt(2 * spread / constant), 0.0)
            g = 2 / eta * left * left
            return (
                math.log(4) - g * constant + math.log1p(1 / ((g - 1) * math.log(eta))) if g > 1 else math.inf
            )

        grid = np.geomspace(1e-9, 2 * factor**2 - 1, 400)
        best = int(np.argmin([at(float(spread)) for spread in grid]))
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, grid.size - 1)]
        found = optimize.minimize_scalar(at, bounds=(low, high), method="bounded", options={"xatol": 1e-10})
        return min(float(found.fun), at(float(grid[best])), 50.0)

    return float(optimize.brentq(lambda c: log_bound(c) - math.log(alpha), 1e-3, 1e4))


# --- bets on shares --------------------------------------------------------------------------------------


def bernoulli_log_e(k: float, n: float, null: float, alternative: float) -> float:
    """Logarithm of the likelihood ratio of k hits in n rows: share `alternative` against `null`, both in (0, 1).

    Its exponential has mean 1 under `null` and less under smaller shares when `alternative` is larger.
    """
    return k * math.log(alternative / null) + (n - k) * math.log((1 - alternative) / (1 - null))


def jeffreys_log_e(k: float, n: float, null: float) -> float:
    """Logarithm of the likelihood ratio mixed over all alternatives with the Beta(1/2, 1/2) prior."""
    mixed = special.betaln(k + 0.5, n - k + 0.5) - special.betaln(0.5, 0.5)
    return float(mixed - k * math.log(null) - (n - k) * math.log(1 - null))


def jeffreys_interval(k: float, n: float, alpha: float) -> tuple[float, float]:
    """Shares that the mixture has not refuted at level alpha: valid at all n at once."""
    bar = math.log(1 / alpha)
    tiny = 1e-12
    centre = min(max(k / n, tiny), 1 - tiny)

    def beyond(share: float) -> float:
        return jeffreys_log_e(k, n, share) - bar

    low = optimize.brentq(beyond, tiny, centre) if k > 0 and beyond(tiny) > 0 else 0.0
    high = optimize.brentq(beyond, centre, 1 - tiny) if k < n and beyond(1 - tiny) > 0 else 1.0
    return float(low), float(high)
