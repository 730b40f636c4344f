"""How well scores tell two samples apart: the area under the ROC curve (AUC), by ranks, with its interval.

The scores come in parts. Each part was scored by a model that was fitted on the parts before it (and on nothing
else), so that without any change each part's AUC has exactly the null law of Mann and Whitney, whatever the model has
learnt; the parts are then independent, and their mean needs no correction. K-fold cross-fitting has not this
property: a row tests one model and trains the others, and the AUC of no change spreads up to 1.4 times as wide as its
formula says (at 5 % it gave 9 % of false alarms in simulation).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from ct_daemon.drift.places import Floats

Z_95 = 1.959964
"""The standard normal's 97.5 % quantile."""
_ROUNDING = 1e-15
"""A variance below this is none."""


class Separation(NamedTuple):
    """How well two samples can be told apart.

    `auc` is the chance that a row of the window has a higher score than a row of the baseline; `low` and `high` bound
    a 95 % interval. `p_value` is the chance of an AUC at least this large where nothing has changed.
    """

    auc: float
    low: float
    high: float
    p_value: float


class Part(NamedTuple):
    """AUC of one part: its variance as it is (DeLong), its variance if nothing has changed, and its rows."""

    auc: float
    variance: float
    null_variance: float
    base_rows: int
    window_rows: int


def part_of(base: npt.ArrayLike, window: npt.ArrayLike) -> Part:
    """AUC of one part from the scores of both sides; equal scores count one half.

    The variance is that of DeLong, DeLong and Clarke-Pearson 1988, computed by ranks as Sun and Xu 2014 do; the null
    variance is that of Mann and Whitney 1947 with the correction for ties.

    Parameters
    ----------
    base, window : array of float, two or more rows each

    Raises
    ------
    ValueError
        If a side has fewer than two rows.
    """
    x, y = np.asarray(window, dtype=np.float64), np.asarray(base, dtype=np.float64)
    m, n = x.size, y.size
    if min(m, n) < 2:
        raise ValueError("an AUC needs two rows of each side or more")
    both = np.concatenate([x, y])
    ranks = stats.rankdata(both)
    # The share of the other side below each row: the components of DeLong's variance.
    below_x = (ranks[:m] - stats.rankdata(x)) / n
    above_y = 1 - (ranks[m:] - stats.rankdata(y)) / m
    variance = float(np.var(below_x, ddof=1)) / m + float(np.var(above_y, ddof=1)) / n
    return Part(float(below_x.mean()), variance, _null_variance(both, m, n), n, m)


def _null_variance(both: Floats, m: int, n: int) -> float:
    rows = m + n
    ties = np.unique(both, return_counts=True)[1].astype(np.float64)
    tied = float(np.sum(ties**3 - ties)) / (rows * (rows - 1))
    return max(rows + 1 - tied, 0.0) / (12 * m * n)


def separation(parts: Sequence[Part]) -> Separation:
    """The parts together: their AUC weighted by the rows of each, with a 95 % interval and a one-sided p-value.

    The interval is Wilson's for a share, at as many rows as give the share the variance of the parts; that holds near
    1 as well, where the variance itself says nothing (for complete separation: the rows of the smaller side).

    Raises
    ------
    ValueError
        Without parts.
    """
    if not parts:
        raise ValueError("a separation needs at least one part")
    rows = np.array(
        [part.base_rows * part.window_rows / (part.base_rows + part.window_rows) for part in parts]
    )
    weights = rows / rows.sum()
    auc = float(np.dot(weights, [part.auc for part in parts]))
    variance = float(np.dot(weights**2, [part.variance for part in parts]))
    null = float(np.dot(weights**2, [part.null_variance for part in parts]))
    p_value = float(special.ndtr(-(auc - 0.5) / math.sqrt(null))) if null > _ROUNDING else 1.0
    few = min(sum(part.base_rows for part in parts), sum(part.window_rows for part in parts))
    low, high = wilson(auc, auc * (1 - auc) / variance if variance > _ROUNDING else float(few))
    return Separation(auc, low, high, p_value)


def wilson(share: float, rows: float, z: float = Z_95) -> tuple[float, float]:
    """Wilson's interval of a share that was seen in so many rows (more than 0, not always a whole number).

    Source: Wilson 1927.
    """
    middle = (share + z * z / (2 * rows)) / (1 + z * z / rows)
    half = z / (1 + z * z / rows) * math.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows))
    return max(middle - half, 0.0), min(middle + half, 1.0)
