"""Distances between two samples, from counts over common cells or from the values.

Counts are arrays whose last axis is the cells; leading axes are columns that are worked at together, and the result
has their shape. A side with no rows is an error of the caller. None of the numbers is a verdict: with enough rows
every p-value gets small, with few rows every distance gets large.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import special

from ct_daemon.drift.places import Bools, Floats, Ints


class Bounded(NamedTuple):
    """Values, and bounds on their distance from the exact ones; both of one shape."""

    value: Floats
    error: Floats


def shares(counts: Ints) -> Floats:
    """Counts as shares of their sum; same shape."""
    return np.asarray(counts / counts.sum(axis=-1, keepdims=True), dtype=np.float64)


def psi(base: Ints, window: Ints, pseudo: float = 0.5) -> Floats:
    """Population stability index: sum of (q - p) ln(q / p) over the cells.

    Parameters
    ----------
    base, window : array of int, shape (..., B)
    pseudo : float
        Added to each cell of both sides, p = (count + pseudo) / (rows + pseudo B), so that empty cells stay finite.

    Returns
    -------
    array of float, shape (...)
        0 or more, finite for `pseudo` > 0. The customary marks 0.1 and 0.2 (or 0.25) are conventions of credit
        scoring (Siddiqi 2006); what chance alone gives: `significance.psi_expected`. Source: Yurdakul 2018.
    """
    cells = base.shape[-1]
    p = (base + pseudo) / (base.sum(axis=-1, keepdims=True) + pseudo * cells)
    q = (window + pseudo) / (window.sum(axis=-1, keepdims=True) + pseudo * cells)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = (q - p) * (np.log(q) - np.log(p))
    return np.asarray(np.where(p == q, 0.0, terms).sum(axis=-1))


def js_distance(base: Ints, window: Ints) -> Floats:
    """Jensen-Shannon distance: the root of the divergence with base-2 logarithms, half of KL(p || mean) plus half of
    KL(q || mean).

    Returns
    -------
    array of float, shape (...)
        0 to 1; symmetric. Source: Lin 1991.
    """
    p, q = shares(base), shares(window)
    mean = (p + q) / 2
    divergence = (special.rel_entr(p, mean) + special.rel_entr(q, mean)).sum(axis=-1) / (2 * np.log(2))
    return np.asarray(np.sqrt(np.clip(divergence, 0.0, 1.0)))


def total_variation(base: Ints, window: Ints) -> Floats:
    """Share of the rows that would have to change cell: half the summed difference of shares; 0 to 1, symmetric."""
    return np.asarray(np.clip(np.abs(shares(base) - shares(window)).sum(axis=-1) / 2, 0.0, 1.0))


def chi_square(base: Ints, window: Ints) -> tuple[Floats, Ints]:
    """Two-sample chi-square statistic and its degrees of freedom.

    Returns
    -------
    (array of float, array of int), both of shape (...)
        sum of (base sqrt(m/n) - window sqrt(n/m))² / (base + window), 0 or more; and the number of cells that are not
        empty on both sides, less one. With fewer than about five rows expected in a cell the law is rough. Source:
        Press et al., Numerical Recipes, 14.3.
    """
    n, m = base.sum(axis=-1, keepdims=True), window.sum(axis=-1, keepdims=True)
    both = base + window
    ratio = np.sqrt(m / n)
    terms = (base * ratio - window / ratio) ** 2 / np.maximum(both, 1)
    return np.asarray(terms.sum(axis=-1)), np.asarray((both > 0).sum(axis=-1) - 1)


def cramers_v(statistic: Floats, freedom: Ints, rows: Ints) -> Floats:
    """Effect size of a two-sample chi-square: sqrt(statistic / rows), `rows` of both sides together; 0 to 1, and 0
    where a single cell is used. Source: Cramér 1946, for a table of two rows."""
    return np.asarray(np.where(freedom > 0, np.sqrt(np.clip(statistic / rows, 0.0, 1.0)), 0.0))


# --- Kolmogorov-Smirnov ----------------------------------------------------------------------------------


class Gaps(NamedTuple):
    """The difference F - G of two distribution functions on cells; each of shape (..., K). Where in an interval the
    rows lie is free: there F is between F0 and F1, and G between G0 and G1."""

    before: Floats
    """F0 - G0."""
    after: Floats
    """F1 - G1."""
    widest: Floats
    """The larger of F1 - G0 and G1 - F0: what abs(F - G) can reach in an interval."""
    rises: Floats
    """(F1 - F0) + (G1 - G0)."""


def ks_from_counts(base: Ints, window: Ints, points: Bools, slack: Floats | float = 0.0) -> Bounded:
    """Kolmogorov-Smirnov distance as far as fine counts tell; 0 to 1.

    Parameters
    ----------
    base, window : array of int, shape (..., K)
        Counts over the fine cells of `NumericCells`.
    points : array of bool, shape (..., K)
        Which cells hold one value only, see `NumericCells.points`.
    slack : array of float, shape (...)
        How far the difference of the counted distribution functions may be from that of the rows: the sum over both
        sides of `rank_error` / rows. 0 where the counts are exact.

    Returns
    -------
    Bounded
        `value` is the largest difference of the two distribution functions at the ends of the cells: with exact
        counts a lower bound of the exact distance. Within an interval in which F rises from F0 to F1 and G from G0 to
        G1, F - G is at most F1 - G0 and G - F at most G1 - F0; `error` is the largest of these less `value`, plus
        `slack`: no exact distance is further away. It is 0 when each interval holds rows of one side at most, as with
        discrete data.
    """
    return ks_of_gaps(gaps(np.cumsum(base, axis=-1), np.cumsum(window, axis=-1)), points, slack)


def ks_of_gaps(found: Gaps, points: Bools, slack: Floats | float = 0.0) -> Bounded:
    """`ks_from_counts` from the gaps."""
    value = np.maximum(found.after.max(axis=-1), -found.after.min(axis=-1)) + 0.0
    within = np.where(points, 0.0, found.widest).max(axis=-1)
    # A rounding error at most: the sums are exact, each share is rounded once.
    error = np.where(within > value, within - value + 1e-15, 0.0) + slack
    return Bounded(np.asarray(value), np.asarray(error))


def gaps(base: Ints, window: Ints, trim: float = 0.0) -> Gaps:
    """From cumulative counts of shape (..., K). A side without rows has the distribution function 0; `trim` clips
    both to [trim, 1 - trim]."""
    F, G = _from_zero(base), _from_zero(window)
    if trim:
        F, G = np.clip(F, trim, 1 - trim), np.clip(G, trim, 1 - trim)
    gap = F - G
    up, down = F[..., 1:] - F[..., :-1], G[..., 1:] - G[..., :-1]
    rises = up + down
    up += gap[..., :-1]
    down -= gap[..., :-1]
    return Gaps(gap[..., :-1], gap[..., 1:], np.maximum(up, down, out=up), rises)


def _from_zero(total: Ints) -> Floats:
    """Cumulative shares with 0 before the first cell; (..., K + 1)."""
    shares = np.zeros((*total.shape[:-1], total.shape[-1] + 1))
    np.divide(total, np.maximum(total[..., -1:], 1), out=shares[..., 1:])
    return shares


def ks_from_values(base: Floats, window: Floats) -> float:
    """Exact two-sample Kolmogorov-Smirnov distance of two ascending arrays without NaN; 0 to 1.

    F - G is largest at a value of `base`, G - F at a value of `window`; on ties the last equal one counts.
    """
    n, m = base.size, window.size
    above = np.arange(1, n + 1) / n - np.searchsorted(window, base, side="right") / m
    below = np.arange(1, m + 1) / m - np.searchsorted(base, window, side="right") / n
    return max(float(above.max()), float(below.max()), 0.0)
