"""A table from a value to its cell, so that a million values are counted in about the time it takes to decode them.

A map (see `places`) takes each value to a place, in the order of the values, so

- values of an earlier place than an edge's are below the edge, those of a later place above it;
- an edge is *clean* when it is the largest float of its place: then the place as a whole lies below or at it;
- a place with an edge that is not clean is *split*: its values are compared with its edges one by one.

So counting is one histogram over places, plus a look at the few values in split places.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ct_daemon.drift.places import PLACES, Floats, Ints, PlaceMap, just_above, map_for

FEW = 1 << 12
"""Fewer values are cheaper sorted than looked up."""


class Grid:
    """The table for one set of edges.

    Parameters
    ----------
    edges : array of float, strictly ascending, finite
        E of them; they make E + 1 right-closed cells of finite values, ``(-inf, e0], (e0, e1], ... (eE, inf)``.
    place_map : PlaceMap
        Any map gives the same counts; one that suits the edges gives them sooner.
    """

    def __init__(self, edges: Floats, place_map: PlaceMap, *, outermost: bool = True) -> None:
        self.edges, self.map = edges, place_map
        self._outermost = outermost
        self._finer_grids: dict[int, Grid] = {}
        place = self.places(edges)
        unclean = (self.places(just_above(edges)) == place) | (place == PLACES - 1)
        inside = np.bincount(place, minlength=PLACES)
        self.before = (np.cumsum(inside) - inside).astype(np.int32)
        """By place: edges in earlier places, which is the cell of a place that is not split."""
        self.split = np.zeros(PLACES + 1, dtype=np.bool_)
        """By place: whether it is split. The last entry is for what has no place, such as NaN."""
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
        self.first = self._edge(0, edges)
        self.second = self._edge(1, edges)
        self.many = edges > 2
        self.any_many = bool(self.many.any())
        self.nth_split = np.full(PLACES + 1 if self.any_split else 0, edges.size, dtype=np.int32)
        self.nth_split[self.splits] = np.arange(self.splits.size)
        pair = (edges == 2) & (just_above(self.first) == self.second)
        self.mostly_points = bool(pair.any()) and 2 * int(pair.sum()) >= pair.size
        self.point = np.full(PLACES + 1 if self.mostly_points else 0, np.nan)
        """By place: the one value that it is about, when it is split by the two edges around that value."""
        if self.mostly_points:
            self.point[self.splits[pair]] = self.second[pair]

    def _edge(self, nth: int, edges: Ints) -> Floats:
        """An edge of each split place; infinite where there is none."""
        out = np.full(edges.size, np.inf)
        has = edges > nth
        out[has] = self.edges[self.before[self.splits[has]] + nth]
        return out

    def cells(self, table: Ints, slots: Ints) -> Ints:
        """Values a cell, from those a place (the last entry is for what has none) and a slot. Shape (E + 1,)."""
        whole = np.where(self.split, 0, table)[:PLACES]
        cells = np.bincount(self.before, weights=whole, minlength=self.edges.size + 1).astype(np.int64)
        np.add.at(cells, self.slot_cell, slots)
        return cells

    def resolve(self, values: Floats, places: Ints, slots: Ints) -> None:
        """Add the values, all of split places, to the slots."""
        nth = self.nth_split[places].astype(np.int64)
        many = self.many[nth]
        if many.any():
            self.resolve_many(values[many], nth[many], slots)
            values, nth = values[~many], nth[~many]
        slot = self.slot_at[nth] + (values > self.first[nth])
        slot += values > self.second[nth]
        slots += np.bincount(slot, minlength=self.slots)

    def resolve_many(
        self, values: Floats, nth: Ints, slots: Ints, look_up: Callable[[Grid, Floats], Ints] | None = None
    ) -> None:
        """The same for values in split places with more than two edges; `nth` of the split places, for each value.

        A place that holds much, such as a cluster far from the others, gets a grid of its own, by which `look_up`
        counts (default: `Grid.look_up`).
        """
        look_up = look_up or Grid.look_up
        for one in np.flatnonzero(np.bincount(nth) >= FEW).tolist() if self._outermost else ():
            here = nth == one
            at = self.slot_at[one]
            slots[at : at + self.slots_of_split[one]] += look_up(self._finer(one), values[here])
            values, nth = values[~here], nth[~here]
        if values.size:
            self._resolve_sorted(np.sort(values), slots)

    def _finer(self, nth: int) -> Grid:
        """The grid of a split place; made when it is first wanted."""
        if nth not in self._finer_grids:
            first = self.before[self.splits[nth]]
            edges = self.edges[first : first + self.slots_of_split[nth] - 1]
            self._finer_grids[nth] = Grid(edges, map_for(edges, edges), outermost=False)
        return self._finer_grids[nth]

    def look_up(self, values: Floats) -> Ints:
        """Values a cell, of finite values. Shape (E + 1,)."""
        places = self.places(values)
        slots = np.zeros(self.slots, dtype=np.int64)
        hits = np.flatnonzero(self.split[places])
        if hits.size:
            self.resolve(values[hits], places[hits], slots)
        return self.cells(np.bincount(places, minlength=PLACES + 1), slots)

    def _resolve_sorted(self, ordered: Floats, slots: Ints) -> None:
        """The same again: the values are sorted, and it is the edges that are looked up."""
        edge = np.minimum(self.slot_cell, self.edges.size - 1)
        upto = np.searchsorted(ordered, self.edges[edge], side="right")
        last = np.searchsorted(self.places(ordered), self.splits, side="right")
        upto[self.slot_ends_place] = last
        slots += np.diff(upto, prepend=0)
