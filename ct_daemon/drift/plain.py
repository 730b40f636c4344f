"""Counting with numpy alone. It is what a plain installation has, and what the compiled way is held against.

Sums are taken in an order that is easy to say and quick on any processor, so that every way to count gives the same
ones to the last bit: of each `CHUNK` values, the ones at k, k + LANES, k + 2 LANES ... are added one after the other,
for each k; then those sums one after the other; then that to what was there before. What is not finite counts as 0.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np

from ct_daemon.drift.grid import Grid
from ct_daemon.drift.places import PLACES, Floats, Ints

CHUNK = 1 << 16
"""Values are counted in pieces of so many, which stay in the processor's cache."""
LANES = 512
FEW_POINTS = 8
"""With so few, it is quicker to compare all values with each of them than to look at all places."""


class Sums(NamedTuple):
    """What is known of values besides their places. `low` and `high` are of finite ones."""

    missing: int = 0
    below: int = 0
    """-inf."""
    above: int = 0
    """+inf."""
    finite: int = 0
    low: float = math.inf
    high: float = -math.inf
    total: float = 0.0
    """Of differences from a centre, and of their squares; these two go on from what they were."""
    squares: float = 0.0


class Kernel(Protocol):
    """A way to count. All give the same result, bit by bit."""

    def count(self, values: Floats, grid: Grid, centre: float, sums: Sums, table: Ints, slots: Ints) -> Sums:
        """Count values, of which NaN are missing.

        Parameters
        ----------
        centre : float
            Sums are of the differences from it.
        sums : Sums
            Only its `total` and `squares` are looked at: the sums begin there.
        table : array of int64, shape (PLACES + 1,)
            Finite values a place, then those that are not finite; added to.
        slots : array of int64, shape (grid.slots,)
            Values a slot of the split places; added to.

        Returns
        -------
        Sums
            Of these values; `total` and `squares` with those before.
        """
        ...


class Plain:
    """The numpy way."""

    def count(self, values: Floats, grid: Grid, centre: float, sums: Sums, table: Ints, slots: Ints) -> Sums:
        """See `Kernel`."""
        for chunk in _chunks(values):
            found, holes = _look(chunk, centre, sums)
            sums = _with(sums, found)
            if not found.finite:
                table[PLACES] += holes.size
                continue
            ends = grid.places(np.array([found.low, found.high]))
            clip = bool(holes.size or ends[0] == 0 or ends[1] == PLACES - 1)
            places = grid.map.places(chunk, _work()[: chunk.size], clip=clip)
            places[holes] = PLACES
            counts = np.bincount(places, minlength=PLACES + 1)
            if grid.any_split and counts[grid.splits].any():
                _split(grid, chunk, places, counts, slots)
            np.add(table, counts, out=table)
        return sums


def survey(values: Floats, centre: float, sums: Sums) -> Sums:
    """The same for those who need no places."""
    for chunk in _chunks(values):
        sums = _with(sums, _look(chunk, centre, sums)[0])
    return sums


def _chunks(values: Floats) -> Iterator[Floats]:
    return (values[start : start + CHUNK] for start in range(0, values.size, CHUNK))


def _with(sums: Sums, more: Sums) -> Sums:
    return Sums(
        missing=sums.missing + more.missing,
        below=sums.below + more.below,
        above=sums.above + more.above,
        finite=sums.finite + more.finite,
        low=min(sums.low, more.low),
        high=max(sums.high, more.high),
        total=more.total,
        squares=more.squares,
    )


def _look(chunk: Floats, centre: float, sums: Sums) -> tuple[Sums, Ints]:
    """What is known of a chunk, and where it is not finite."""
    low, high = chunk.min(), chunk.max()
    missing = below = above = 0
    holes = _NONE
    if not math.isfinite(low) or not math.isfinite(high):
        holes = np.flatnonzero(~np.isfinite(chunk))
        odd = chunk[holes]
        below, above = int(np.count_nonzero(odd == -np.inf)), int(np.count_nonzero(odd == np.inf))
        missing = holes.size - below - above
        low, high = _finite_ends(chunk, holes, infinite=below + above > 0)
    work = _work()[: chunk.size]
    with np.errstate(over="ignore", invalid="ignore"):
        np.subtract(chunk, centre, out=work)
        work[holes] = 0.0
        total = sums.total + _sum(work)
        squares = sums.squares + _sum(np.multiply(work, work, out=work))
    found = Sums(
        missing=missing,
        below=below,
        above=above,
        finite=chunk.size - holes.size,
        low=float(low) + 0.0,
        high=float(high) + 0.0,
        total=total,
        squares=squares,
    )
    return found, holes


def _finite_ends(chunk: Floats, holes: Ints, *, infinite: bool) -> tuple[float, float]:
    if holes.size == chunk.size:
        return math.inf, -math.inf
    if not infinite:
        return float(np.fmin.reduce(chunk)), float(np.fmax.reduce(chunk))
    work = _work()[: chunk.size]
    np.copyto(work, chunk)
    work[holes] = np.inf
    low = float(work.min())
    work[holes] = -np.inf
    return low, float(work.max())


def _sum(work: Floats) -> float:
    """In the order that is said above."""
    rows = work.size // LANES
    lanes = work[: rows * LANES].reshape(rows, LANES).sum(axis=0)
    rest = work[rows * LANES :]
    lanes[: rest.size] += rest
    return float(np.add.accumulate(lanes)[-1])


def _split(grid: Grid, values: Floats, places: Ints, counts: Ints, slots: Ints) -> None:
    """Values of split places, of which there are `counts` a place."""
    if grid.mostly_points and grid.splits.size <= FEW_POINTS:
        usual = np.array([np.count_nonzero(values == point) for point in grid.point[grid.splits].tolist()])
        if usual.sum() == counts[grid.splits].sum():
            slots[grid.slot_at + 1] += usual
            return
    if grid.mostly_points:
        odd = np.flatnonzero(np.take(grid.point, places, mode="wrap") != values)
        values, places = values[odd], places[odd]
        # The others are what their place is about: they lie between its two edges, in the second of its slots.
        usual = (counts - np.bincount(places, minlength=PLACES + 1))[grid.splits]
        slots[grid.slot_at + 1] += usual
    hits = np.flatnonzero(np.take(grid.split, places, mode="wrap"))
    if hits.size:
        grid.resolve(values[hits], places[hits], slots)


_NONE = np.empty(0, dtype=np.int64)
_local = threading.local()


def _work() -> Floats:
    """A thread's own piece of memory."""
    if not hasattr(_local, "work"):
        _local.work = np.empty(CHUNK)
    work: Floats = _local.work
    return work


PLAIN = Plain()
