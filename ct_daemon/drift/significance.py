"""What chance alone gives at one look: critical values, expectations and p-values.

A *critical* value is one that samples of these sizes exceed with probability 0.001 or less when nothing has changed.
For many looks see `anytime`; for Kolmogorov-Smirnov's p-value `kolmogorov`.
"""

from __future__ import annotations

import numpy as np
from scipy import special

from ct_daemon.drift.places import Floats, Ints

LEVEL = 0.001
"""One comparison of a thousand; `triggers.concept_drift` holds reports of older releases to the same."""
_FEW = 10.0
"""With fewer rows expected in a cell of the table, the test of two shares is Fisher's."""


def spread_of_sizes(n: Ints, m: Ints) -> Floats:
    """1/n + 1/m."""
    return np.asarray(1.0 / n + 1.0 / m)


def used_cells(base: Ints, window: Ints) -> Ints:
    """Cells that are not empty on both sides; shape (...)."""
    return np.asarray(((base + window) > 0).sum(axis=-1))


def psi_expected(cells: Ints, n: Ints, m: Ints) -> Floats:
    """PSI on average without any change: (B - 1)(1/n + 1/m). Source: Yurdakul 2018."""
    return np.asarray((cells - 1) * spread_of_sizes(n, m))


def psi_critical(cells: Ints, n: Ints, m: Ints) -> Floats:
    """PSI that is exceeded with probability 0.001 without any change: the 0.999 quantile of chi-square with B - 1
    degrees of freedom times (1/n + 1/m). `cells` that hold rows on either side; at least two are taken. Source:
    Yurdakul 2018."""
    return np.asarray(chi_square_critical(np.maximum(cells - 1, 1)) * spread_of_sizes(n, m))


def psi_p_values(value: Floats, cells: Ints, n: Ints, m: Ints) -> Floats:
    """Chance of a PSI at least this large without any change, by the same law; 0 to 1. Rough with fewer than about
    five rows expected in a cell."""
    return chi_square_p_values(value / spread_of_sizes(n, m), cells - 1)


def chi_square_critical(freedom: Ints) -> Floats:
    """The 0.999 quantile of chi-square."""
    return np.asarray(special.chdtri(freedom, LEVEL))


def chi_square_p_values(statistic: Floats, freedom: Ints) -> Floats:
    """Upper tail of chi-square; 1 without a degree of freedom."""
    tail = special.chdtrc(np.maximum(freedom, 1), np.maximum(statistic, 0.0))
    return np.asarray(np.where(freedom > 0, tail, 1.0))


def ks_critical(n: Ints, m: Ints) -> Floats:
    """KS distance that is exceeded with probability 0.001 or less without any change: sqrt(ln(2/p) / 2) sqrt(1/n +
    1/m), at most 1: the two-sample form of the Dvoretzky-Kiefer-Wolfowitz-Massart bound (Wei and Dudley 2012)."""
    return np.asarray(np.minimum(np.sqrt(np.log(2 / LEVEL) / 2 * spread_of_sizes(n, m)), 1.0))


# --- two shares ------------------------------------------------------------------------------------------


def share_p_values(base_hits: Ints, n: Ints, window_hits: Ints, m: Ints) -> Floats:
    """Chance that two samples of one share differ at least so much, two-sided.

    Parameters
    ----------
    base_hits, n, window_hits, m : array of int, shape (C,)
        Hits and rows of both sides; rows at least 1.

    Returns
    -------
    array of float, shape (C,)
        0 to 1. By chi-square where every cell of the two-by-two table has ten expected rows or more, else exact
        (Fisher 1935: all tables that are no likelier than this one), which is conservative.
    """
    hits, rows = base_hits + window_hits, n + m
    smallest = np.minimum(n, m) * (np.minimum(hits, rows - hits) / rows)
    pooled = hits / rows
    variance = pooled * (1 - pooled) * spread_of_sizes(n, m)
    squared = (base_hits / n - window_hits / m) ** 2 / np.where(variance > 0, variance, 1.0)
    found = np.where(variance > 0, special.chdtrc(1, squared), 1.0)
    for i in np.flatnonzero((smallest < _FEW) & (variance > 0)):
        found[i] = fisher_p_value(int(base_hits[i]), int(n[i]), int(window_hits[i]), int(m[i]))
    return np.asarray(found)


def share_critical(base_hits: Ints, n: Ints, window_hits: Ints, m: Ints) -> Floats:
    """Difference of two shares that is exceeded with probability 0.001 without any change, by the normal law with
    the pooled share: 3.29 sqrt(p (1 - p)(1/n + 1/m)). A guide beside `share_p_values`, right for few hits too."""
    pooled = (base_hits + window_hits) / (n + m)
    return np.asarray(-special.ndtri(LEVEL / 2) * np.sqrt(pooled * (1 - pooled) * spread_of_sizes(n, m)))


def fisher_p_value(base_hits: int, n: int, window_hits: int, m: int) -> float:
    """Fisher's exact test of two shares, two-sided: the chance, all hits being dealt out anew, of a table that is no
    likelier than this one; 0 to 1."""
    hits = base_hits + window_hits
    x = np.arange(max(0, hits - n), min(hits, m) + 1, dtype=np.float64)
    cells = (x, hits - x, m - x, n - hits + x)
    logs = -special.gammaln(np.stack(cells) + 1).sum(axis=0)
    chances = np.exp(logs - logs.max())
    seen = logs[window_hits - int(x[0])]
    # What is equally likely differs by rounding.
    return float(min(chances[logs <= seen + 1e-7].sum() / chances.sum(), 1.0))
