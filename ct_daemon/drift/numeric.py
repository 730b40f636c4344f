"""Numeric and datetime columns of a window against those of the baseline, many at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ct_daemon.drift import significance
from ct_daemon.drift.binning import NumericCells
from ct_daemon.drift.distances import (
    Bounded,
    gaps,
    js_distance,
    ks_from_values,
    ks_of_gaps,
    psi,
    total_variation,
)
from ct_daemon.drift.kolmogorov import ks_p_values
from ct_daemon.drift.pairs import Found, Pair, known, moved_cells
from ct_daemon.drift.places import Bools, Floats, Ints
from ct_daemon.drift.profile import ColumnProfile, Moments
from ct_daemon.drift.wasserstein import Extremes, Side, grid_spread, wasserstein_from_counts
from ct_daemon.types import Statistic

_T = TypeVar("_T", bound=np.generic)

STATISTICS = ("psi", "ks", "js", "total_variation", "wasserstein", "outside")
NEARLY = 128
"""Columns whose numbers of cells differ by less are worked at together."""
TRIM = 0.001
"""This share of the rows at both ends does not count in the Wasserstein distance: one far row must not move it."""
CLEAR = 2.0
"""One side of the gap between two distribution functions is so many times the other: they went one way."""


def shape(cells: NumericCells) -> tuple[int, int]:
    """Columns of one shape can be worked at together: with as many cuts, and about as many cells. Where the coarse
    cells are no runs of fine ones, with as many cells."""
    return (len(cells), 0) if cells.coarse_ends is None else (-(-len(cells) // NEARLY), len(cells.cuts))


def compare_numeric(pairs: Sequence[Pair]) -> list[Found]:
    """The statistics of columns of one `shape`, in their order."""
    cells = [cells for pair in pairs if isinstance(cells := pair.base.cells, NumericCells)]
    size = max(len(one) for one in cells)
    points = _as_long([one.points for one in cells], size, filler=True)
    base = _as_long([pair.base_counts for pair in pairs], size, filler=0)
    window = _as_long([pair.window_counts for pair in pairs], size, filler=0)
    n, m = np.array([pair.n for pair in pairs]), np.array([pair.m for pair in pairs])
    sides = (_side(base, [pair.base for pair in pairs]), _side(window, [pair.window for pair in pairs]))
    found = gaps(sides[0].total, sides[1].total)
    slack = np.array([pair.base.rank_error / pair.n + pair.window.rank_error / pair.m for pair in pairs])
    coarse, coarse_window = _coarse(cells, (base, window), sides)
    marks = np.array([one.edges[np.minimum(np.arange(size - 3), one.edges.size - 1)] for one in cells])
    spread = _spread(pairs, marks, points, sides[0])
    columns = [
        psi_statistics(psi(coarse, coarse_window), significance.used_cells(coarse, coarse_window), n, m),
        _ks(_exact_where_possible(pairs, ks_of_gaps(found, points, slack)), n, m),
        [Statistic(value=value) for value in js_distance(coarse, coarse_window).tolist()],
        [Statistic(value=value) for value in total_variation(coarse, coarse_window).tolist()],
        _wasserstein(marks, points, sides, spread, slack),
        [Statistic(value=value) for value in (_outside(base, window) / m).tolist()],
    ]
    moved = moved_cells(
        [one.labels(pair.base.kind) for one, pair in zip(cells, pairs, strict=True)],
        coarse,
        coarse_window,
        np.array([pair.base.missing for pair in pairs]),
        np.array([pair.window.missing for pair in pairs]),
    )
    directions = _directions(found.after, significance.ks_critical(n, m))
    return [
        Found(
            statistics=dict(zip(STATISTICS, statistics, strict=True)),
            moved=moved[i],
            direction=directions[i],
            shift=_shift(pairs[i], float(spread[i])),
            spread_ratio=_spread_ratio(pairs[i]),
        )
        for i, statistics in enumerate(zip(*columns, strict=True))
    ]


# --- the sides -------------------------------------------------------------------------------------------


def _as_long(rows: Sequence[npt.NDArray[_T]], size: int, *, filler: int) -> npt.NDArray[_T]:
    """Cells of columns with different numbers of them, below each other: empty points at the last edge fill up.
    Shape (C, size)."""
    out = np.full((len(rows), size), filler, dtype=rows[0].dtype)
    for i, row in enumerate(rows):
        out[i, : row.size - 2] = row[:-2]
        out[i, -2:] = row[-2:]
    return out


def _side(counts: Ints, profiles: Sequence[ColumnProfile]) -> Side:
    low, high = (
        np.array([math.nan if value is None else value for value in values])
        for values in ([one.low for one in profiles], [one.high for one in profiles])
    )
    return Side(total=np.cumsum(counts, axis=1), ends=Extremes(low, high))


def _coarse(
    cells: Sequence[NumericCells], counts: tuple[Ints, Ints], sides: tuple[Side, Side]
) -> tuple[Ints, Ints]:
    """Counts of the coarse cells of both sides: differences of the cumulative ones, which is quicker for many columns
    than `NumericCells.coarse`, where they are runs of fine cells."""
    ends = [one.coarse_ends for one in cells]
    if any(one is None for one in ends):
        one, two = (np.array([c.coarse(row) for c, row in zip(cells, side, strict=True)]) for side in counts)
        return one, two
    places = np.array(ends)
    one, two = (
        np.diff(np.take_along_axis(side.total, places, axis=1), axis=1, prepend=0, append=side.total[:, -1:])
        for side in sides
    )
    return one, two


# --- statistics ------------------------------------------------------------------------------------------


def psi_statistics(values: Floats, cells: Ints, n: Ints, m: Ints) -> list[Statistic]:
    """PSI with what chance alone gives; all of shape (C,)."""
    numbers = zip(
        values.tolist(),
        significance.psi_p_values(values, cells, n, m).tolist(),
        significance.psi_critical(cells, n, m).tolist(),
        significance.psi_expected(cells, n, m).tolist(),
        strict=True,
    )
    return [Statistic(value=v, p_value=p, critical=c, expected=e) for v, p, c, e in numbers]


def _ks(found: Bounded, n: Ints, m: Ints) -> list[Statistic]:
    """The p-value is that of the value: with exact counts the value is a lower bound of the exact distance, so that
    the p-value errs on the safe side."""
    p_values = ks_p_values(found.value, n, m)
    critical = significance.ks_critical(n, m)
    numbers = zip(*(a.tolist() for a in (found.value, found.error, p_values, critical)), strict=True)
    return [Statistic(value=v, error=e, p_value=p, critical=c) for v, e, p, c in numbers]


def _exact_where_possible(pairs: Sequence[Pair], found: Bounded) -> Bounded:
    """From values where both sides have them and the counts leave something open."""
    for i, pair in enumerate(pairs):
        base, window = pair.base.sample, pair.window.sample
        if base is not None and window is not None and found.error[i] > 0:
            found.value[i], found.error[i] = ks_from_values(base, window), 0.0
    return found


def _outside(base: Ints, window: Ints) -> Ints:
    """Rows beyond the baseline. The first and the last edge are its extremes, so they lie in the outermost cells; an
    infinity that the baseline has as well is not beyond."""
    last = base.shape[1] - 1
    ends = sorted({0, 1, last - 1, last})
    return np.asarray(np.where(base[:, ends] == 0, window[:, ends], 0).sum(axis=1))


def _wasserstein(
    marks: Floats,
    points: Bools,
    sides: tuple[Side, Side],
    spread: Floats,
    slack: Floats,
) -> list[Statistic]:
    """In spreads of the baseline."""
    if marks.shape[1] == 0:
        return [Statistic(value=None, reason="no_spread") for _ in marks]
    distance = wasserstein_from_counts(marks, points, *sides, slack, TRIM)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        values, errors = distance.value / spread, distance.error / spread
    some = sides[1].finite[:, -1] > 0
    numbers = zip(*(a.tolist() for a in (values, errors, spread, some)), strict=True)
    return [_or_why(*four) for four in numbers]


def _or_why(value: float, error: float, spread: float, some: bool) -> Statistic:
    if not some:
        return Statistic(value=None, reason="no_finite_values")
    if not spread > 0:
        return Statistic(value=None, reason="no_spread")
    if not (math.isfinite(value) and math.isfinite(error)):
        return Statistic(value=None, reason="not_finite")
    return Statistic(value=value, error=error)


# --- where the values went -------------------------------------------------------------------------------


def _spread(pairs: Sequence[Pair], marks: Floats, points: Bools, base: Side) -> Floats:
    """Of the baseline: by its quartiles, where these are equal by its standard deviation; NaN where nothing gives
    one."""
    found = np.full(len(pairs), np.nan) if marks.shape[1] == 0 else grid_spread(marks, points, base)
    for i in np.flatnonzero(~(np.isfinite(found) & (found > 0))).tolist():
        found[i] = _sd(pairs[i].base.moments)
    return found


def _sd(moments: Moments | None) -> float:
    """NaN where it is not known, not finite or 0."""
    sd = math.nan if moments is None else moments.sd
    return sd if math.isfinite(sd) and sd > 0 else math.nan


def _shift(pair: Pair, spread: float) -> float | None:
    """Change of the mean in spreads of the baseline."""
    if pair.base.moments is None or pair.window.moments is None or not spread > 0:
        return None
    return known((pair.window.moments.mean - pair.base.moments.mean) / spread)


def _spread_ratio(pair: Pair) -> float | None:
    before, after = _sd(pair.base.moments), pair.window.moments
    return None if after is None else known(after.sd / before)


def _directions(gap: Floats, critical: Floats) -> list[str | None]:
    """Where the values went, by the gap between the two distribution functions (F - G, baseline less window) and as
    far as it is more than chance: above throughout is up, below is down; below first and above later is wider."""
    most, least = gap.max(axis=1), -gap.min(axis=1)
    wider = gap.argmin(axis=1) < gap.argmax(axis=1)
    moved = np.maximum(most, least) > critical
    choices = [~moved, most >= CLEAR * least, least >= CLEAR * most, wider]
    which = np.select(choices, [0, 1, 2, 3], default=4)
    return [(None, "up", "down", "wider", "narrower")[i] for i in which.tolist()]
