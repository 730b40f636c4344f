"""Where the edges of a numeric column are put: at about the quantiles k/1000 of the baseline.

Nothing demands that an edge lies exactly at a quantile; it only has to be frozen, and the counts have to be exact. So
edges are put where counting is quick, at the ends of the places of an affine map (see `grid`), but

- the cuts k/10 and k/20 are the linearly interpolated quantiles themselves, where all values are known;
- a value that makes up more than 2/1000 of the rows, or any value when there are few, gets a point cell;
- where the map is too coarse (long tails, far clusters), the quantiles of the sample are edges.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from ct_daemon.drift.binning import COARSE_PARTS, MAX_EDGES, NumericCells
from ct_daemon.drift.grid import Grid, Tally
from ct_daemon.drift.places import PLACES, Affine, Floats, Ints, PlaceMap, map_for

SAMPLE = 1 << 15
"""Up to so many values all are looked at, and cuts are exact; of more, a sample tells how to count."""
PARTS = 1000
CUT_PARTS = 2 * COARSE_PARTS
MAX_POINTS = 500
"""With so many distinct values or fewer, each has a point cell."""

EMPTY = NumericCells(
    edges=np.empty(0),
    cuts=np.empty(0),
    centre=0.0,
    place_map=Affine(centre=0.0, scale=1.0, shift=PLACES / 2),
)
"""Cells of a column without finite values."""


def quantile_cuts(values: Floats, parts: int) -> Floats:
    """Cut points k / parts of sorted finite values, by linear interpolation; ascending, shape (parts - 1,).

    Parameters
    ----------
    values : array of float, ascending, finite, at least one
    parts : int
        Number of parts.
    """
    shares = np.arange(1, parts) / parts
    with np.errstate(over="ignore", invalid="ignore"):
        cuts = np.quantile(values, shares)
    # Between values near both ends of the float range the interpolation overflows: take the lower value there.
    below = values[np.floor(shares * (values.size - 1)).astype(np.int64)]
    return np.where(np.isfinite(cuts), cuts, below) + 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """How to count a baseline column before its edges are known: a map, and the edges that must be."""

    place_map: PlaceMap
    forced: Floats
    sample: Floats
    """Ascending, finite."""
    whole: bool
    """The sample has all values, so that cuts can be exact."""

    def tally(self) -> Tally:
        """Count all values of the column with this."""
        return Tally(grid=Grid(self.forced, self.place_map), centre=self.centre, by_place=True)

    def for_counting(self) -> Draft:
        """The same without the most of the sample, which counting doesn't need: it is small enough to travel."""
        middle = self.sample.size // 2
        return replace(self, sample=self.sample[middle : middle + 1].copy())

    @property
    def centre(self) -> float:
        """The sample's median; 0 without any."""
        return float(self.sample[self.sample.size // 2]) if self.sample.size else 0.0


def draft_for(sample: Floats, *, whole: bool) -> Draft:
    """Look at a sample (ascending, finite)."""
    if not sample.size:
        return Draft(place_map=EMPTY.place_map, forced=sample, sample=sample, whole=whole)
    targets = _order_statistics(sample, PARTS)
    distinct = sample[np.append(True, sample[1:] != sample[:-1])]
    place_map = map_for(sample, np.unique(targets))
    if distinct.size <= MAX_POINTS:
        return Draft(place_map=place_map, forced=_around(distinct), sample=sample, whole=whole)
    often = np.unique(targets[1:][targets[1:] == targets[:-1]])
    places = place_map.places(targets, np.empty(targets.size))
    crowded = np.bincount(places, minlength=PLACES)[places] > 2
    forced = np.union1d(targets[crowded], _around(often))
    return Draft(place_map=place_map, forced=forced, sample=sample, whole=whole)


def cells_of(draft: Draft, tally: Tally) -> NumericCells:
    """Final cells from the counts of all values.

    Parameters
    ----------
    tally : Tally
        That of the draft.
    """
    if not tally.finite:
        return EMPTY
    place, ends, counts = tally.steps
    upto = np.cumsum(counts)
    cuts = (
        quantile_cuts(draft.sample, CUT_PARTS)
        if draft.whole
        else _ends_at(draft, upto, place, ends, np.arange(1, CUT_PARTS) / CUT_PARTS, tally.high)
    )
    ten = np.unique(cuts[1::2])
    make = partial(NumericCells, centre=draft.centre, place_map=draft.place_map)
    if tally.low == tally.high:
        return make(edges=_around(np.array([tally.low])), cuts=np.array([tally.low]))
    bounds = _bounds(draft.place_map, tally.low, tally.high)
    fixed = np.union1d(np.union1d(cuts, bounds), _around_points(draft.forced))
    for parts in (PARTS, PARTS // 2, PARTS // 4):
        shares = np.arange(1, parts) / parts
        edges = np.union1d(fixed, _ends_at(draft, upto, place, ends, shares, tally.high))
        if edges.size <= MAX_EDGES:
            break
    edges = edges if edges.size <= MAX_EDGES else fixed[:MAX_EDGES]
    return make(edges=edges, cuts=ten)


def counts_of(draft: Draft, tally: Tally, cells: NumericCells) -> Ints:
    """Finite values a cell, from the tally of the draft; for cells whose cuts are not those of the sample.

    Returns
    -------
    array of int, shape (E + 1,)
    """
    place, ends, counts = tally.steps
    upto = np.cumsum(counts)
    step_of_forced = np.full(draft.forced.size, -1)
    step_of_forced[ends[ends >= 0]] = np.flatnonzero(ends >= 0)
    nth = np.minimum(np.searchsorted(draft.forced, cells.edges), max(draft.forced.size - 1, 0))
    at = np.searchsorted(place, cells.grid.places(cells.edges), side="right") - 1
    if draft.forced.size:
        forced = (draft.forced[nth] == cells.edges) & (step_of_forced[nth] >= 0)
        at = np.where(forced, step_of_forced[nth], at)
    reached = np.where(cells.edges < tally.low, 0, upto[at])
    reached[cells.edges >= tally.high] = tally.finite
    return np.diff(reached, prepend=0, append=tally.finite).astype(np.int64)


def _order_statistics(values: Floats, parts: int) -> Floats:
    return values[np.ceil(np.arange(1, parts) * values.size / parts).astype(np.int64) - 1]


def _around(values: Floats) -> Floats:
    """Both edges of the point cell of each value."""
    below = np.nextafter(values, -np.inf)
    return np.union1d(below[np.isfinite(below)], values)


def _around_points(edges: Floats) -> Floats:
    """Of the edges, those of point cells."""
    first = np.flatnonzero(np.nextafter(edges[:-1], np.inf) == edges[1:])
    return edges[np.union1d(first, first + 1)]


def _bounds(place_map: PlaceMap, low: float, high: float) -> Floats:
    """The outer edges: nothing of the baseline lies at or below the first, or above the second. Clean ones if there
    are any near."""
    first, last = place_map.places(np.array([low, high]), np.empty(2))
    below = place_map.last(np.array([first - 1]))[0] if first > 0 else np.nextafter(low, -np.inf)
    above = place_map.last(np.array([last]))[0] if last < PLACES - 1 else high
    bounds = np.array([below, above])
    return bounds[np.isfinite(bounds)]


def _ends_at(draft: Draft, upto: Ints, place: Ints, ends: Ints, shares: Floats, highest: float) -> Floats:
    """The ends of the steps in which these shares of the values are reached."""
    step = np.searchsorted(upto, np.ceil(shares * upto[-1]).astype(np.int64), side="left")
    out = np.full(step.size, highest)
    edge, at = ends[step], place[step]
    out[edge >= 0] = draft.forced[edge[edge >= 0]]
    inner = (edge < 0) & (at < PLACES - 1)
    if inner.any():
        places, back = np.unique(at[inner], return_inverse=True)
        out[inner] = draft.place_map.last(places)[back]
    return out


def numeric_cells(values: Floats) -> NumericCells:
    """Cells for a baseline column of which all values are at hand; `values` ascending without NaN, infinities
    allowed."""
    low, high = np.searchsorted(values, -np.inf, side="right"), np.searchsorted(values, np.inf)
    finite = values[low:high]
    if not finite.size:
        return EMPTY
    whole = finite.size <= SAMPLE
    draft = draft_for(finite if whole else finite[:: finite.size // SAMPLE + 1], whole=whole)
    tally = draft.tally()
    tally.add(finite)
    return cells_of(draft, tally)
