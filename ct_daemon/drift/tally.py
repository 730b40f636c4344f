"""What was counted of a numeric column: added up piece by piece, on any number of threads, and merged."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ct_daemon.drift.grid import FEW, Grid
from ct_daemon.drift.kernel import KERNELS
from ct_daemon.drift.places import PLACES, Floats, Ints
from ct_daemon.drift.plain import Sums, survey

SAMPLE_ROWS = 3_000
"""So many values or fewer are kept as they are, so that KS can be exact; a column's document has room for them."""


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
        sums = Sums(total=self.total, squares=self.squares)
        if values.size < FEW and not self.by_place:
            sums = survey(values, self.centre, sums)
            # -inf is sorted to the start, +inf and NaN to the end.
            upto = np.searchsorted(np.sort(values), self.grid.edges, side="right") - sums.below
            self._cells += np.diff(upto, prepend=0, append=sums.finite)
        else:
            if self._table is None:
                self._table = np.zeros(PLACES + 1, dtype=np.int64)
            kernel = KERNELS.for_values(values.size)
            sums = kernel.count(values, self.grid, self.centre, sums, self._table, self._slots)
        self.missing, self.finite = self.missing + sums.missing, self.finite + sums.finite
        self.below, self.above = self.below + sums.below, self.above + sums.above
        self.low, self.high = min(self.low, sums.low), max(self.high, sums.high)
        self.total, self.squares = sums.total, sums.squares
        if self._kept is not None:
            few = self.finite + self.below + self.above <= SAMPLE_ROWS
            self._kept = [*self._kept, values[~np.isnan(values)] + 0.0] if few else None

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

    @property
    def values(self) -> Floats | None:
        """All values that are not missing, ascending, if they are few."""
        return None if self._kept is None else np.sort(np.concatenate([np.empty(0), *self._kept]))

    @property
    def cells(self) -> Ints:
        """Finite values a cell. Shape (E + 1,)."""
        if self._table is None:
            return self._cells.copy()
        return self._cells + self.grid.cells(self._table, self._slots)

    @property
    def steps(self) -> tuple[Ints, Ints, Ints]:
        """The counts at full resolution, for a tally `by_place`: for each step, in the order of the values, its
        place, the edge that ends it (-1: it ends with its place), and how many values it has."""
        grid = self.grid
        table = np.zeros(PLACES + 1, dtype=np.int64) if self._table is None else self._table
        repeats = np.ones(PLACES, dtype=np.int64)
        repeats[grid.splits] = grid.slots_of_split
        place = np.repeat(np.arange(PLACES), repeats)
        split = grid.split[place]
        ends = np.full(place.size, -1)
        ends[split] = np.where(grid.slot_ends_place, -1, grid.slot_cell)
        counts = table[place]
        counts[split] = self._slots
        return place, ends, counts
