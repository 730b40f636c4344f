"""Where the edges of a numeric column are put: at about the quantiles k/1000 of the baseline.

Nothing demands that an edge lies exactly at a quantile; it only has to be frozen, and the counts have to be exact. So
edges are put where counting is quick, at the ends of the places of a map (see `places`), but

- the cuts k/10 and k/20 are the linearly interpolated quantiles themselves, where all values are known;
- a value that makes up more than 2/1000 of the rows, or any value when there are few, gets a point cell;
- where the map is too coarse (long tails, far clusters), the quantiles of the sample are edges;
- beyond the outermost quantiles edges double their distance, up to the extremes: one far value in the baseline must
  not leave a cell in which anything can hide.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from ct_daemon.drift.binning import COARSE_PARTS, MAX_EDGES, NumericCells
from ct_daemon.drift.grid import Grid
from ct_daemon.drift.places import PLACES, Affine, Floats, Ints, PlaceMap, just_above, just_below, map_for
from ct_daemon.drift.tally import Tally

SAMPLE = 1 << 15
"""Up to so many values all are looked at, and cuts are exact; of more, a sample tells how to count."""
PARTS = 1000
CUT_PARTS = 2 * COARSE_PARTS
DOUBLINGS = 30
"""So many edges a side follow the outermost quantile; the last is a thousand million times as far out."""
_CUTS = np.arange(1, CUT_PARTS) * (PARTS // CUT_PARTS) - 1
"""Which of the quantiles are cuts."""
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
    def outermost(self) -> tuple[float, float]:
        """The first and the last quantile of the sample."""
        targets = _order_statistics(self.sample, PARTS) if self.sample.size else np.zeros(1)
        return float(targets[0]), float(targets[-1])

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
    ends = (sample[0], sample[-1]) if whole else (-np.inf, np.inf)
    forced = np.union1d(forced, _tails(place_map, targets, *ends))
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
    make = partial(NumericCells, centre=draft.centre, place_map=draft.place_map)
    if tally.low == tally.high:
        return make(edges=_around(np.array([tally.low])), cuts=np.array([tally.low]))
    low, high, quantiles = _ends(draft, tally)
    cuts = quantile_cuts(draft.sample, CUT_PARTS) if draft.whole else quantiles[_CUTS]
    tails = draft.forced[(draft.forced < draft.outermost[0]) | (draft.forced > draft.outermost[1])]
    fixed = np.concatenate([cuts, tails, _around_points(draft.forced), [low, high]])
    for fewer in (1, 2, 4, PARTS):
        edges = np.unique(np.concatenate([fixed, quantiles[fewer - 1 :: fewer]]))
        edges = edges[(edges >= low) & (edges <= high) & np.isfinite(edges)]
        if edges.size <= MAX_EDGES:
            break
    return make(edges=edges, cuts=np.unique(cuts[1::2]))


def _ends(draft: Draft, tally: Tally) -> tuple[float, float, Floats]:
    """The outer edges, and the ends of the steps in which the quantiles are reached, shape (PARTS - 1,).

    Nothing of the baseline lies at or below the first outer edge (-inf if no float is left), or above the second.
    They are clean ones if there are any near.
    """
    place, ends, counts = tally.steps
    upto = np.cumsum(counts)
    step = np.searchsorted(upto, np.ceil(np.arange(1, PARTS) * upto[-1] / PARTS).astype(np.int64))
    lowest, highest = draft.place_map.places(np.array([tally.low, tally.high]), np.empty(2)).tolist()
    wanted = np.unique(np.append(place[step], [lowest - 1, highest]))
    wanted = wanted[(wanted >= 0) & (wanted < PLACES - 1)]
    last = np.full(PLACES + 1, tally.high)
    last[wanted] = draft.place_map.last(wanted)
    last[-1] = just_below(np.array([tally.low]))[0]  # where there is no place before
    forced = np.append(draft.forced, 0.0)[ends[step]]
    return float(last[lowest - 1]), float(last[highest]), np.where(ends[step] >= 0, forced, last[place[step]])


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


def _tails(place_map: PlaceMap, targets: Floats, low: float, high: float) -> Floats:
    """Edges beyond the outermost quantiles, each twice as far from there as the one before, and none beyond `low`
    or `high`; clean ones if there are any near."""
    first, middle, last = targets[0], targets[targets.size // 2], targets[-1]
    with np.errstate(over="ignore"):
        out = np.exp2(np.arange(DOUBLINGS))
        edges = np.concatenate([first - (middle - first) * out, last + (last - middle) * out])
    edges = edges[np.isfinite(edges) & (edges > low) & (edges < high)]
    places = place_map.places(edges, np.empty(edges.size))
    inner = (places > 0) & (places < PLACES - 1)
    edges[inner] = place_map.last(places[inner])
    return np.unique(edges + 0.0)


def _order_statistics(values: Floats, parts: int) -> Floats:
    return values[np.ceil(np.arange(1, parts) * values.size / parts).astype(np.int64) - 1]


def _around(values: Floats) -> Floats:
    """Both edges of the point cell of each value."""
    below = just_below(values)
    return np.union1d(below[np.isfinite(below)], values)


def _around_points(edges: Floats) -> Floats:
    """Of the edges, those of point cells."""
    first = np.flatnonzero(just_above(edges[:-1]) == edges[1:])
    return edges[np.union1d(first, first + 1)]


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
