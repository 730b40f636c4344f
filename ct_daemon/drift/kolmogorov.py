"""How likely a Kolmogorov-Smirnov distance is between two samples of one continuous distribution.

Exact where that is cheap: for samples of equal size, and for few pairs of rows. Else the law of one sample of
round(n m / (n + m)) rows against its distribution, as ``scipy.stats.ks_2samp(method="asymp")`` takes it, but without
scipy.stats and, for large samples, without its sum over all rows: a thousand times faster at a million rows.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import special

from ct_daemon.drift.places import Floats

EXACT_PAIRS = 100_000
"""Up to so many pairs (n times m) lattice paths are counted; beyond, one sample's law is within a few percent."""
_EXACT_FLOOR = 1e-9
"""A counted p-value is one minus a sum; below this its digits are rounding noise."""
_SMALL = 140
"""Up to so many rows the law of one sample is computed by a matrix power, beyond by a series."""
_GRID = 128
"""Points of the sum over rows: its terms are so smooth that this many give it to 1e-11."""
_UNDERFLOW = 370.0
"""n x² above which the probability is below 1e-320."""


def ks_p_value(distance: float, n: int, m: int) -> float:
    """Chance of a distance at least this large between samples of n and m rows of one continuous distribution.

    Parameters
    ----------
    distance : float
        0 to 1.
    n, m : int
        Rows, at least 1.

    Returns
    -------
    float
        0 to 1. Exact for n = m (Gnedenko and Korolyuk 1951) and for n m up to `EXACT_PAIRS` (lattice paths, Hodges
        1958), where that is above 1e-9; else `one_sample_p_values` at round(n m / (n + m)) rows. With ties it is an
        upper bound.
    """
    return float(ks_p_values(np.array([distance]), np.array([n]), np.array([m]))[0])


def ks_p_values(distances: Floats, n: npt.NDArray[np.int64], m: npt.NDArray[np.int64]) -> Floats:
    """`ks_p_value` of many distances; all three of shape (C,)."""
    n, m = n.astype(np.int64), m.astype(np.int64)
    found = np.full(distances.shape, -1.0)
    for i in np.flatnonzero((n == m) | (n * m.astype(np.float64) <= EXACT_PAIRS)):
        rows, columns = sorted((int(n[i]), int(m[i])))
        if rows == columns:
            found[i] = _equal_sizes(float(distances[i]), rows)
        else:
            exact = _lattice(round(float(distances[i]) * rows * columns) - 1, rows, columns)
            found[i] = exact if exact > _EXACT_FLOOR else -1.0
    rest = found < 0
    if rest.any():
        n_rest, m_rest = n[rest].astype(np.float64), m[rest].astype(np.float64)
        rows_rest = np.maximum(np.rint(n_rest * m_rest / (n_rest + m_rest)), 1.0)
        found[rest] = one_sample_p_values(distances[rest], rows_rest)
    return found


def ks_p_limit(distance: float, n: int, m: int) -> float:
    """Kolmogorov's limit of the p-value: Q(D sqrt(n m / (n + m)))."""
    return float(special.kolmogorov(distance * math.sqrt(n * m / (n + m))))


# --- two samples, exactly --------------------------------------------------------------------------------


def _equal_sizes(distance: float, n: int) -> float:
    """P(D >= k / n) = 2 sum over i >= 1 of (-1)^(i-1) C(2n, n - i k) / C(2n, n)."""
    k = round(distance * n)
    if k <= 0:
        return 1.0
    i = np.arange(1, min(n // k, 1 + int(math.sqrt(800.0 * n)) // k) + 1, dtype=np.float64)
    logs = 2 * special.gammaln(n + 1) - special.gammaln(n - i * k + 1) - special.gammaln(n + i * k + 1)
    signs = np.where(i % 2 == 1, 1.0, -1.0)
    return float(np.clip(2 * np.sum(signs * np.exp(logs)), 0.0, 1.0))


@lru_cache(maxsize=4096)
def _lattice(reach: int, rows: int, columns: int) -> float:
    """One minus the share of the lattice paths from (0, 0) to (rows, columns) that keep
    abs(i * columns - j * rows) <= reach. Row by row: paths to (i, j) = to (i, j - 1) + to (i - 1, j)."""
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


# --- one sample against its distribution -----------------------------------------------------------------


def one_sample_p_values(distances: Floats, rows: Floats) -> Floats:
    """Chance that the empirical distribution function of n rows is at least this far from the true one.

    Parameters
    ----------
    distances : array of float, shape (C,)
    rows : array of float, shape (C,)
        Whole numbers of at least 1.

    Returns
    -------
    array of float, shape (C,)
        0 to 1, to a relative 1e-9 up to 140 rows and where n x² is above 2.2, else to 3e-5 / (n / 140)^1.5; what
        is below 1e-320 may be 0. Source: Simard and L'Ecuyer 2011, J. Stat. Software 39(11): twice the one-sided law
        in the tail, where both sides at once are out of reach; else a matrix power up to 140 rows and the
        Pelz-Good series beyond.
    """
    x, n = np.clip(distances, 0.0, 1.0), rows
    squared = n * x * x
    found = np.zeros(x.shape)
    none = 2 * n * x <= 1
    found[none] = 1.0
    tail = (squared >= np.where(n > _SMALL, 2.2, 4.0)) | (x >= 0.5)
    far = tail & ~none & (squared < _UNDERFLOW)
    few = (n <= 2 * _GRID) | (x >= 0.5)
    for i in np.flatnonzero(far & few):
        found[i] = _one_sided_exact(float(x[i]), int(n[i]))
    found[far & ~few] = _one_sided_smooth(x[far & ~few], n[far & ~few])
    found[tail & ~none] *= 2
    body = ~tail & ~none
    for i in np.flatnonzero(body & (n <= _SMALL)):
        found[i] = 1.0 - _matrix_power(float(x[i]), int(n[i]))
    series = body & (n > _SMALL)
    found[series] = 1.0 - _pelz_good(x[series], n[series])
    return np.clip(found, 0.0, 1.0)


def _one_sided_exact(x: float, n: int) -> float:
    """P(D+ >= x) = sum over j <= n (1 - x) of C(n, j) x (x + j/n)^(j-1) (1 - x - j/n)^(n-j). Birnbaum and Tingey
    1951."""
    j = np.arange(0, math.floor(n * (1 - x)) + 1, dtype=np.float64)
    left = 1 - x - j / n
    j, left = j[left > 0], left[left > 0]
    logs = special.gammaln(n + 1) - special.gammaln(j + 1) - special.gammaln(n - j + 1)
    logs += math.log(x) + (j - 1) * np.log(x + j / n) + (n - j) * np.log(left)
    return float(np.sum(np.exp(logs)))


def _one_sided_smooth(x: Floats, n: Floats) -> Floats:
    """The same sum for many rows. As a function of u = j/n its terms vanish at both ends with all derivatives, so a
    coarse trapezoid rule is as good as the sum. C(n, j) u^j (1-u)^(n-j) is taken by Stirling's series, and the rest
    of each term by log1p, so that nothing cancels."""
    x, n = x[:, None], n[:, None]
    u = (1 - x) * np.arange(1, _GRID) / _GRID
    j, k = n * u, n * (1 - u)
    stirling = (1 / n - 1 / j - 1 / k) / 12 - (1 / n**3 - 1 / j**3 - 1 / k**3) / 360
    logs = stirling - 0.5 * np.log(2 * np.pi * n * u * (1 - u))
    logs += j * np.log1p(x / u) + k * np.log1p(-x / (1 - u)) + np.log(x / (x + u))
    step = n[:, 0] * (1 - x[:, 0]) / _GRID
    return np.asarray(step * np.exp(logs).sum(axis=1))


def _pelz_good(x: Floats, n: Floats) -> Floats:
    """P(D < x) by the series K0 + K1 / n^1/2 + K2 / n + K3 / n^3/2 (Pelz and Good 1976)."""
    root = np.sqrt(n)[:, None]
    z = x[:, None] * root
    z2 = z * z
    k = np.arange(8.0)
    h, w = (np.pi * (k + 0.5)) ** 2, (np.pi * k) ** 2
    half, whole = np.exp(-h / (2 * z2)), np.exp(-w / (2 * z2))
    k0 = half
    k1 = (h - z2) * half / (6 * z**3)
    k2 = (6 * z2**3 + 2 * z2**2 + h * (2 * z2**2 - 5 * z2) + h**2 * (1 - 2 * z2)) * half / (72 * z**6)
    k2 = k2 - w * whole / (36 * z2)
    k3 = h**3 * (5 - 30 * z2) + h**2 * (212 * z2**2 - 60 * z2) + h * (135 * z2**2 - 96 * z2**3)
    k3 = (k3 - 30 * z2**3 - 90 * z2**4) * half / (6480 * z**9)
    k3 = k3 + (3 * w * z2 - w**2) * whole / (216 * z**5)
    total = k0 + k1 / root + k2 / root**2 + k3 / root**3
    return np.asarray((total.sum(axis=1)) * math.sqrt(2 * np.pi) / z[:, 0])


@lru_cache(maxsize=1024)
def _matrix_power(x: float, n: int) -> float:
    """P(D < x) as an entry of a matrix to the n-th power. Durbin 1973; Marsaglia, Tsang and Wang 2003."""
    k = math.floor(n * x) + 1
    size, h = 2 * k - 1, k - n * x
    i = np.arange(size)
    matrix = (i[:, None] - i[None, :] + 1 >= 0).astype(np.float64)
    powers = h ** np.arange(1, size + 1)
    matrix[:, 0] -= powers
    matrix[-1, :] -= powers[::-1]
    matrix[-1, 0] += max(2 * h - 1, 0.0) ** size
    matrix /= special.gamma(np.maximum(i[:, None] - i[None, :] + 1, 0) + 1.0)
    # n! / n^n is spread over the factors, so that nothing overflows.
    share = math.exp((special.gammaln(n + 1) - n * math.log(n)) / n)
    return float(np.clip(np.linalg.matrix_power(matrix * share, n)[k - 1, k - 1], 0.0, 1.0))
