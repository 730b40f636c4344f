"""Wasserstein distance from fine counts, and the spread of the baseline that it is measured in.

Leading axes are columns with as many cells that are worked at together. Only finite values count; shares are of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ct_daemon.drift.distances import Bounded, Gaps, gaps
from ct_daemon.drift.places import Bools, Floats, Ints

NORMAL_IQR = 1.3489795003921634
"""Distance of the quartiles of a normal distribution, in standard deviations."""


class Extremes(NamedTuple):
    """Smallest and largest finite value of one side, of shape (...); NaN without any."""

    low: Floats
    high: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """One side on K fine cells: cumulative counts of shape (..., K), and the extremes."""

    total: Ints
    ends: Extremes

    @property
    def finite(self) -> Ints:
        """Cumulative counts of the finite values, (..., K - 2)."""
        return np.asarray(self.total[..., 1:-1] - self.total[..., :1])


def wasserstein_from_counts(
    marks: Floats,
    points: Bools,
    base: Side,
    window: Side,
    slack: Floats | float = 0.0,
    trim: float = 0.0,
) -> Bounded:
    """First Wasserstein (earth mover's) distance, the integral of abs(F - G), as far as fine counts tell.

    Parameters
    ----------
    marks : array of float, shape (..., K - 3)
    points : array of bool, shape (..., K)
        `edges` and `points` of the cells, for at least one finite value in the baseline.
    base, window : Side
        Their extremes bound the outermost finite cells.
    slack : array of float, shape (...)
        How far F - G may be from that of the rows, see `distances.ks_from_counts`.
    trim : float
        This share of the rows is left out at both ends of both sides, so that single far values don't count: the
        integral is that of abs(clip(F) - clip(G)), with shares clipped to [trim, 1 - trim], or of the distance of
        the quantiles between these two.

    Returns
    -------
    Bounded
        In units of the values, 0 or more. `value` spreads the rows of an interval evenly over it. `error`: where in
        an interval its rows lie is free, so that abs(F - G) is anything between the gap of [F0, F1] and [G0, G1] and
        the larger of F1 - G0 and G1 - F0; no exact distance is further from `value`, but for one step of the floats
        (points have no width). It is 0 with discrete data. NaN
        where a side has no finite value, infinite or NaN where the numbers overflow.
    """
    left = np.fmin(marks[..., 0], np.fmin(base.ends.low, window.ends.low))
    right = np.fmax(marks[..., -1], np.fmax(base.ends.high, window.ends.high))
    found = gaps(base.finite, window.finite, trim)
    with np.errstate(over="ignore", invalid="ignore"):
        widths = np.diff(_bounded(marks, left, right), axis=-1)
        widths[points[..., 1:-1]] = 0.0
        inner = _integrals(widths[..., 1:-1], Gaps(*(part[..., 1:-1] for part in found)))
        first = _integrals(widths[..., :1], _outer(base, window, left, trim, lowest=True))
        last = _integrals(widths[..., -1:], _outer(base, window, right, trim, lowest=False))
        value, least, most = (sum(parts) for parts in zip(inner, first, last, strict=True))
        error = np.maximum(most - value, value - least)
        # The shares are rounded once each, and so are the sums.
        error = error + np.where(error > 0, 1e-14 * most, 0.0)
        error = error + np.where(np.asarray(slack) > 0, slack * (right - left), 0.0)
    some = (base.finite[..., -1] > 0) & (window.finite[..., -1] > 0)
    return Bounded(np.where(some, value, np.nan), error)


def _bounded(marks: Floats, left: Floats, right: Floats) -> Floats:
    """Both ends of every finite cell, (..., K - 1)."""
    return np.concatenate([left[..., None], marks, right[..., None]], axis=-1)


def _outer(base: Side, window: Side, end: Floats, trim: float, *, lowest: bool) -> Gaps:
    """The gaps over an outermost finite cell, (..., 1). The row that is the extreme itself lies at the very end, and
    the rest between it and the mark."""
    shares = (_outer_shares(side, end, lowest=lowest) for side in (base, window))
    (f0, f1), (g0, g1) = (tuple(np.clip(share, trim, 1 - trim) for share in pair) for pair in shares)
    parts = (f0 - g0, f1 - g1, np.maximum(f1 - g0, g1 - f0), f1 - f0 + g1 - g0)
    return Gaps(*(part[..., None] for part in parts))


def _outer_shares(side: Side, end: Floats, *, lowest: bool) -> tuple[Floats, Floats]:
    """Between which two shares the distribution function rises there."""
    total = side.finite
    rows = np.maximum(total[..., -1], 1)
    if lowest:
        upto = total[..., 0]
        return np.where((upto > 0) & (side.ends.low == end), 1 / rows, 0.0), upto / rows
    before = total[..., -2]
    at_end = (total[..., -1] > before) & (side.ends.high == end)
    return before / rows, np.where(at_end, (rows - 1) / rows, total[..., -1] / rows)


def _integrals(widths: Floats, found: Gaps) -> tuple[Floats, Floats, Floats]:
    """Of abs(F - G) over the cells: rows spread evenly, the least and the most that is possible."""
    before, after = np.abs(found.before), np.abs(found.after)
    value = (_dot(widths, before) + _dot(widths, after)) / 2
    # Where F and G cross, the line from before to after changes its sign: its mean is less than that of its ends.
    cross = np.nonzero(found.before * found.after < 0)
    x, y = before[cross], after[cross]
    saved = np.zeros_like(before)
    saved[cross] = x * y / (x + y)
    value = value - _dot(widths, saved)
    least = found.widest - found.rises
    return value, _dot(widths, np.maximum(least, 0.0, out=least)), _dot(widths, found.widest)


def _dot(widths: Floats, heights: Floats) -> Floats:
    return np.asarray(np.einsum("...k,...k->...", widths, heights))


def grid_spread(marks: Floats, points: Bools, base: Side) -> Floats:
    """Distance of the baseline's quartiles / 1.349: the standard deviation, if it is normal, whatever its tails do.

    Parameters
    ----------
    marks, points, base
        As in `wasserstein_from_counts`; a quartile within an interval is interpolated.

    Returns
    -------
    array of float, shape (...)
        0 or more; 0 where half of the values are equal, NaN without finite values.
    """
    bounds = _bounded(marks, np.fmin(marks[..., 0], base.ends.low), np.fmax(marks[..., -1], base.ends.high))
    total = base.finite
    with np.errstate(over="ignore", invalid="ignore"):
        low, high = (_quantile(bounds, points[..., 1:-1], total, share) for share in (0.25, 0.75))
        spread = (high - low) / NORMAL_IQR
    return np.asarray(np.where(total[..., -1] > 0, spread, np.nan))


def _quantile(bounds: Floats, points: Bools, total: Ints, share: float) -> Floats:
    """The value up to which `share` of the counted rows lie."""
    target = share * total[..., -1:]
    cell = (total >= target).argmax(axis=-1)[..., None]
    upto = np.take_along_axis(total, cell, axis=-1)
    before = np.where(cell > 0, np.take_along_axis(total, np.maximum(cell - 1, 0), axis=-1), 0)
    start, end = np.take_along_axis(bounds, cell, axis=-1), np.take_along_axis(bounds, cell + 1, axis=-1)
    into = (target - before) / np.maximum(upto - before, 1)
    between = start + into * (end - start)
    return np.asarray(np.where(np.take_along_axis(points, cell, axis=-1), end, between)[..., 0])
