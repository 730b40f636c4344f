"""Counting by a compiled loop: a value is read once, and all that is wanted of it is done. Needs numba, which is an
extra of this package (``pip install ct-daemon[fast]``); this module is imported by `kernel` alone, when it pays.

Every step rounds as in `plain` and nothing may be reordered or contracted (no fastmath), so the results are the same,
bit by bit. Columns of a `PlaceMap` that is not known here are counted the plain way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import types

from ct_daemon.drift.grid import Grid
from ct_daemon.drift.kernel import NoCacheFolderError
from ct_daemon.drift.places import PLACES, Affine, Floats, Ints, Logarithmic
from ct_daemon.drift.plain import CHUNK, LANES, PLAIN, Sums

_TWO_52 = 2.0**52
_TOP = _TWO_52 + (PLACES - 1)
_LARGEST = float(np.finfo(np.float64).max)
_INF = float("inf")
_NO_PLACE = np.int32(PLACES)

_inline = numba.njit(nogil=True)


@_inline
def _survey(x, centre, sums, squares, lows, highs):
    """A row of values, each for its own lane. Without branches, so that it works on several values at a time."""
    missing = below = above = 0
    for i in range(x.size):
        value = x[i]
        finite = abs(value) <= _LARGEST
        difference = value - centre if finite else 0.0
        sums[i] += difference
        squares[i] += difference * difference
        low = value if finite else _INF
        high = value if finite else -_INF
        lows[i] = low if low < lows[i] else lows[i]
        highs[i] = high if high > highs[i] else highs[i]
        missing += value != value
        below += value == -_INF
        above += value == _INF
    return missing, below, above


@_inline
def _affine(x, centre, scale, shift, places):
    """See `places.Affine`."""
    for i in range(x.size):
        value = x[i]
        finite = abs(value) <= _LARGEST
        place = ((value if finite else centre) - centre) * scale + shift
        place = place if place > _TWO_52 else _TWO_52
        place = place if place < _TOP else _TOP
        places[i] = np.int32(place - _TWO_52) if finite else _NO_PLACE


@_inline
def _logarithmic(x, bits, first, shift, places):
    """See `places.Logarithmic`."""
    for i in range(x.size):
        place = (max(bits[i], first) - first) >> shift
        places[i] = np.int32(min(place, PLACES - 1)) if abs(x[i]) <= _LARGEST else _NO_PLACE


@_inline
def _fill(places, table):
    for i in range(places.size):
        table[np.uint64(places[i])] += 1


@_inline
def _hits(places, is_split, hits):
    """Which values are of split places, and how many. Without a branch: it can't be guessed which ones they are."""
    found = np.uint64(0)
    for i in range(places.size):
        hits[found] = i
        found += np.uint64(is_split[np.uint64(places[i])])
    return found


@_inline
def _odd(x, places, is_split, point, hits):
    """The same without the values that their place is about, see `Grid.point`."""
    found = np.uint64(0)
    for i in range(x.size):
        place = np.uint64(places[i])
        hits[found] = i
        found += np.uint64(is_split[place]) & np.uint64(x[i] != point[place])
    return found


@_inline
def _fill_split(x, places, hits, nth_split, firsts, seconds, sides):
    """Values of split places are compared with the first two edges of their place."""
    for k in range(hits.size):
        i = np.uint64(hits[k])
        nth = np.uint64(nth_split[np.uint64(places[i])])
        sides[nth, np.uint64(x[i] > firsts[nth]) + np.uint64(x[i] > seconds[nth])] += 1


@_inline
def _rest(places, hits, nth_split, many, start, rest, left):
    """Put down the rows of values in split places with more than two edges; how many there are now."""
    for k in range(hits.size):
        i = np.uint64(hits[k])
        rest[left] = start + i
        left += np.uint64(many[np.uint64(nth_split[np.uint64(places[i])])])
    return left


@_inline
def _in_turn(lanes):
    total = lanes[0]
    for i in range(1, lanes.size):
        total += lanes[i]
    return total


def _count(
    values, centre, total, squared, affine, at, scale, shift, first, bits,
    any_split, any_many, split, table, sides, rest,
):  # fmt: skip
    """All of it. The fields of the map follow `affine`; `rest` has an entry more than it gets."""
    missing = below = above = 0
    left = np.uint64(0)
    is_split, nth_split, firsts, seconds, many, point = split
    mostly_points = point.size > 0
    patterns = values.view(np.int64)
    sums, squares = np.zeros(LANES), np.zeros(LANES)
    lows, highs = np.full(LANES, _INF), np.full(LANES, -_INF)
    places, hits = np.zeros(LANES, np.int32), np.zeros(LANES + 1, np.int32)
    for chunk in range(0, values.size, CHUNK):
        end = min(chunk + CHUNK, values.size)
        sums[:] = 0.0
        squares[:] = 0.0
        for start in range(chunk, end, LANES):
            stop = min(start + LANES, end)
            x = values[start:stop]
            found = _survey(x, centre, sums, squares, lows, highs)
            missing, below, above = missing + found[0], below + found[1], above + found[2]
            if affine:
                _affine(x, at, scale, shift, places)
            else:
                _logarithmic(x, patterns[start:stop], first, bits, places)
            _fill(places[: x.size], table)
            if any_split:
                if mostly_points:
                    found_here = _odd(x, places, is_split, point, hits)
                else:
                    found_here = _hits(places[: x.size], is_split, hits)
                there = hits[:found_here]
                _fill_split(x, places, there, nth_split, firsts, seconds, sides)
                if any_many:
                    left = _rest(places, there, nth_split, many, start, rest, left)
        total += _in_turn(sums)
        squared += _in_turn(squares)
    return missing, below, above, lows.min(), highs.max(), total, squared, left


def _read(of: Any) -> Any:
    """Arrow's memory may not be written."""
    return types.Array(of, 1, "C", readonly=True)


_FLOAT, _WHOLE = types.float64, types.int64
_SPLIT = types.Tuple(
    [_read(of) for of in (types.boolean, types.int32, _FLOAT, _FLOAT, types.boolean, _FLOAT)]
)
_SIGNATURE = (
    *(_read(_FLOAT), _FLOAT, _FLOAT, _FLOAT),
    *(types.boolean, _FLOAT, _FLOAT, _FLOAT, _WHOLE, _WHOLE),
    *(types.boolean, types.boolean, _SPLIT, _WHOLE[::1], _WHOLE[:, ::1], _WHOLE[::1]),
)


class Compiled:
    """The compiled way.

    Parameters
    ----------
    in_memory : bool
        Compile it for this process alone; else it is kept beside this module, or where numba keeps such code.

    Raises
    ------
    NoCacheFolderError
        When it can't be kept.
    """

    def __init__(self, *, in_memory: bool = False) -> None:
        try:
            compiler = numba.njit(_SIGNATURE, nogil=True, cache=not in_memory)
            self._count: Callable[..., tuple[int, int, int, float, float, float, float, int]] = compiler(
                _count
            )
        except RuntimeError as error:
            if in_memory or "no locator" not in str(error):
                raise
            raise NoCacheFolderError(str(error)) from error

    def count(self, values: Floats, grid: Grid, centre: float, sums: Sums, table: Ints, slots: Ints) -> Sums:
        """See `plain.Kernel`."""
        place_map = grid.map
        if isinstance(place_map, Affine):
            how = (True, place_map.centre, place_map.scale, place_map.shift + _TWO_52, 0, 0)
        elif isinstance(place_map, Logarithmic):
            how = (False, 0.0, 0.0, 0.0, place_map.first, place_map.shift)
        else:
            return PLAIN.count(values, grid, centre, sums, table, slots)
        values = np.ascontiguousarray(values)
        split = (grid.split, grid.nth_split, grid.first, grid.second, grid.many, grid.point)
        before = table[grid.splits]
        sides = np.zeros((grid.splits.size, 3), dtype=np.int64)
        rest = np.empty(values.size + 1 if grid.any_many else 1, dtype=np.int64)
        more = (grid.any_split, grid.any_many, split, table, sides, rest)
        missing, below, above, low, high, total, squares, left = self._count(
            values, centre, sums.total, sums.squares, *how, *more
        )
        if grid.mostly_points:
            # Not odd: between the two edges of the place, in the second of its slots.
            slots[grid.slot_at + 1] += table[grid.splits] - before - sides.sum(axis=1)
        for side in range(3):
            has = np.flatnonzero(~grid.many & (grid.slots_of_split > side))
            slots[grid.slot_at[has] + side] += sides[has, side]
        if left:
            rest = rest[:left]
            nth = grid.nth_split[grid.places(values[rest])].astype(np.int64)
            grid.resolve_many(values[rest], nth, slots, self._look_up)
        return Sums(
            missing=missing,
            below=below,
            above=above,
            finite=values.size - missing - below - above,
            low=low + 0.0,
            high=high + 0.0,
            total=total,
            squares=squares,
        )

    def _look_up(self, grid: Grid, values: Floats) -> Ints:
        """See `Grid.look_up`."""
        table, slots = np.zeros(PLACES + 1, dtype=np.int64), np.zeros(grid.slots, dtype=np.int64)
        self.count(values, grid, 0.0, Sums(), table, slots)
        return grid.cells(table, slots)
