"""A table from a value to its cell, so that a million values are counted in about the time it takes to decode them.

A map (see `places`) takes each value to a place, in the order of the values, so

- values of an earlier place than an edge's are below the edge, those of a later place above it;
- an edge is *clean* when it is the largest float of its place: then the place as a whole lies below or at it;
- a place with an edge that is not clean is *split*: its values are compared with its edges one by one.

So counting is one histogram over places, plus a look at the few values in split places.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass

import numpy as np

from ct_daemon.drift.places import PLACES, Floats, Ints, PlaceMap, just_above

CHUNK = 1 << 16
"""Values are counted in pieces of so many, which stay in the processor's cache."""
FEW = 1 << 12
"""Fewer values are cheaper sorted than looked up."""

SAMPLE_ROWS = 3_000
"""So many values or fewer are kept as they are, so that KS can be exact; a column's document has room for them."""


class Grid:
    """The table for one set of edges.

    Parameters
    ----------
    edges : array of float, strictly ascending, finite
        E of them; they make E + 1 right-closed cells of finite values, ``(-inf, e0], (e0, e1], ... (eE, inf)``.
    place_map : PlaceMap
        Any map gives the same counts; one that suits the edges gives them sooner.
    """

    def __init__(self, edges: Floats, place_map: PlaceMap) -> None:
        self.edges, self.map = edges, place_map
        place = self.places(edges)
        unclean = (self.places(just_above(edges)) == place) | (place == PLACES - 1)
        inside = np.bincount(place, minlength=PLACES)
        self.before = (np.cumsum(inside) - inside).astype(np.int32)
        """By place: edges in earlier places, which is the cell of a place that is not split."""
        self.split = np.zeros(PLACES, dtype=np.bool_)
        self.split[place[unclean]] = True
        self.splits: Ints = np.flatnonzero(self.split)
        self.any_split = bool(self.splits.size)
        self._slots(inside[self.splits])

    def places(self, values: Floats) -> Ints:
        """Place of each value; not NaN."""
        return self.map.places(values, np.empty(values.size))

    def _slots(self, edges: Ints) -> None:
        """A split place with k edges has k + 1 slots; each but the last ends with one of the edges. All arrays but
        `nth_split` and `point` have an entry a split place, or a slot."""
        each = edges + 1
        self.slots_of_split = each
        self.slots = int(each.sum())
        self.slot_at: Ints = np.cumsum(each) - each
        nth = np.arange(self.slots) - np.repeat(self.slot_at, each)
        self.slot_cell: Ints = np.repeat(self.before[self.splits], each) + nth
        self.slot_ends_place = nth == np.repeat(edges, each)
        self._first = self._edge(0, edges)
        self._second = self._edge(1, edges)
        self._many = edges > 2
        self.nth_split = np.zeros(PLACES if self.any_split else 0, dtype=np.int32)
        self.nth_split[self.splits] = np.arange(self.splits.size)
        pair = (edges == 2) & (just_above(self._first) == self._second)
        self.mostly_points = bool(pair.any()) and 2 * int(pair.sum()) >= pair.size
        self.point = np.full(PLACES if self.mostly_points else 0, np.nan)
        """By place: the one value that it is about, when it is split by the two edges around that value."""
        if self.mostly_points:
            self.point[self.splits[pair]] = self._second[pair]

    def _edge(self, nth: int, edges: Ints) -> Floats:
        """An edge of each split place; infinite where there is none."""
        out = np.full(edges.size, np.inf)
        has = edges > nth
        out[has] = self.edges[self.before[self.splits[has]] + nth]
        return out

    def resolve(self, values: Floats, places: Ints, slots: Ints) -> None:
        """Add the values, all of split places, to the slots."""
        nth = self.nth_split[places]
        many = self._many[nth]
        if many.any():
            self._resolve_sorted(np.sort(values[many]), slots)
            values, nth = values[~many], nth[~many]
        slot = self.slot_at[nth] + (values > self._first[nth])
        slot += values > self._second[nth]
        slots += np.bincount(slot, minlength=self.slots)

    def _resolve_sorted(self, ordered: Floats, slots: Ints) -> None:
        """The same for many values between many edges: it is the edges that are looked up."""
        edge = np.minimum(self.slot_cell, self.edges.size - 1)
        upto = np.searchsorted(ordered, self.edges[edge], side="right")
        last = np.searchsorted(self.places(ordered), self.splits, side="right")
        upto[self.slot_ends_place] = last
        slots += np.diff(upto, prepend=0)


_local = threading.local()


def _work() -> Floats:
    """A thread's own piece of memory."""
    if not hasattr(_local, "work"):
        _local.work = np.empty(CHUNK)
    work: Floats = _local.work
    return work


@dataclass
class Tally:
    """What has been counted so far of one numeric column on one grid: `add` as often as you like."""

    grid: Grid
    centre: float = 0.0
    """`total` and `squares` are of differences from it."""
    by_place: bool = False
    """Look few values up, too, so that `steps` is complete."""
    missing: int = 0
    below: int = 0
    """-inf."""
    above: int = 0
    """+inf."""
    finite: int = 0
    low: float = math.inf
    high: float = -math.inf
    total: float = 0.0
    squares: float = 0.0

    def __post_init__(self) -> None:
        self._table: Ints | None = None
        self._slots = np.zeros(self.grid.slots, dtype=np.int64)
        self._cells = np.zeros(self.grid.edges.size + 1, dtype=np.int64)
        self._kept: list[Floats] | None = []

    def add(self, values: Floats) -> None:
        """Count values; NaN is missing. The array is not changed."""
        for start in range(0, values.size, CHUNK):
            chunk = values[start : start + CHUNK]
            self._chunk(chunk)
            if self._kept is not None:
                few = self.finite + self.below + self.above <= SAMPLE_ROWS
                self._kept = [*self._kept, chunk[~np.isnan(chunk)] + 0.0] if few else None

    def _chunk(self, values: Floats) -> None:
        low, high = float(values.min()), float(values.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            values = self._finite_only(values)
            if not values.size:
                return
            low, high = float(values.min()), float(values.max())
        self.low, self.high = min(self.low, low), max(self.high, high)
        self.finite += values.size
        work = _work()[: values.size]
        with np.errstate(over="ignore", invalid="ignore"):
            np.subtract(values, self.centre, out=work)
            self.total += float(work.sum())
            self.squares += float(np.einsum("i,i->", work, work))
        if values.size < FEW and not self.by_place:
            upto = np.searchsorted(np.sort(values), self.grid.edges, side="right")
            self._cells += np.diff(upto, prepend=0, append=values.size)
            return
        ends = self.grid.places(np.array([low, high]))
        places = self.grid.map.places(values, work, clip=bool(ends[0] == 0 or ends[1] == PLACES - 1))
        counts = np.bincount(places, minlength=PLACES)
        if self.grid.any_split and counts[self.grid.splits].any():
            self._split(values, places, counts)
        self._table = counts if self._table is None else np.add(self._table, counts, out=self._table)

    def _finite_only(self, values: Floats) -> Floats:
        self.missing += int(np.count_nonzero(np.isnan(values)))
        self.below += int(np.count_nonzero(values == -np.inf))
        self.above += int(np.count_nonzero(values == np.inf))
        return values[np.isfinite(values)]

    def _split(self, values: Floats, places: Ints, counts: Ints) -> None:
        """Values of split places, of which there are `counts` a place."""
        grid = self.grid
        if grid.mostly_points:
            odd = np.flatnonzero(np.take(grid.point, places, mode="wrap") != values)
            values, places = values[odd], places[odd]
            # The others are what their place is about: they lie between its two edges, in the second of its slots.
            usual = (counts - np.bincount(places, minlength=PLACES))[grid.splits]
            self._slots[grid.slot_at + 1] += usual
        hits = np.flatnonzero(np.take(grid.split, places, mode="wrap"))
        if hits.size:
            grid.resolve(values[hits], places[hits], self._slots)

    def merge(self, other: Tally) -> None:
        """Add what another tally on the same grid has counted."""
        self.missing, self.finite = self.missing + other.missing, self.finite + other.finite
        self.below, self.above = self.below + other.below, self.above + other.above
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        self.total, self.squares = self.total + other.total, self.squares + other.squares
        self._cells = self._cells + other._cells
        self._slots = self._slots + other._slots
        if other._table is not None:
            self._table = other._table if self._table is None else self._table + other._table
        both = self._kept is not None and other._kept is not None
        self._kept = [*(self._kept or []), *(other._kept or [])] if both else None
        if sum(kept.size for kept in self._kept or []) > SAMPLE_ROWS:
            self._kept = None

    def settle(self) -> None:
        """Put what was looked up into the cells, which take less room. Not for a tally `by_place`."""
        self._cells = self.cells
        self._table = None
        self._slots[:] = 0

    @property
    def values(self) -> Floats | None:
        """All values that are not missing, ascending, if they are few."""
        return None if self._kept is None else np.sort(np.concatenate([np.empty(0), *self._kept]))

    @property
    def cells(self) -> Ints:
        """Finite values a cell. Shape (E + 1,)."""
        grid = self.grid
        out = self._cells.copy()
        if self._table is not None:
            whole = np.where(grid.split, 0, self._table)
            out += np.bincount(grid.before, weights=whole, minlength=out.size).astype(np.int64)
            np.add.at(out, grid.slot_cell, self._slots)
        return out

    @property
    def steps(self) -> tuple[Ints, Ints, Ints]:
        """The counts at full resolution, for a tally `by_place`: for each step, in the order of the values, its
        place, the edge that ends it (-1: it ends with its place), and how many values it has."""
        grid = self.grid
        table = np.zeros(PLACES, dtype=np.int64) if self._table is None else self._table
        repeats = np.ones(PLACES, dtype=np.int64)
        repeats[grid.splits] = grid.slots_of_split
        place = np.repeat(np.arange(PLACES), repeats)
        split = grid.split[place]
        ends = np.full(place.size, -1)
        ends[split] = np.where(grid.slot_ends_place, -1, grid.slot_cell)
        counts = table[place]
        counts[split] = self._slots
        return place, ends, counts
