"""Cells: how the values of a column are counted. They are frozen from the baseline alone, so that nothing in a
window (one outlier, say) can move them.

A numeric column has up to 255 *edges* and one *fine* cell for each edge, for each open interval between edges,
and for each infinity::

    -inf | (-inf, e0) | {e0} | (e0, e1) | {e1} | ... | (eE, inf) | +inf        2 E + 3 cells

Counting the edges themselves apart makes distances exact on discrete data. The ten *coarse* cells that PSI uses
are unions of fine cells.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from ct_daemon.types import ColumnKind

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MAX_EDGES = 255
FINE_PARTS = 250
"""Quantile parts of the fine grid; a multiple of `COARSE_PARTS`, so that every coarse cut is a fine edge."""
COARSE_PARTS = 10
MAX_CATEGORIES = 200
COARSE_CATEGORIES = 20
"""PSI and its like look at the most frequent categories only: with k cells, sampling noise alone is about
(k - 1)(1/n + 1/m), far above the usual thresholds at k = 200 and n = 500."""
CATEGORY_BYTES = 32 * 1024
"""Room for the names of a column's categories, so that its document stays below 64 KiB."""


def ordered(values: npt.ArrayLike) -> Floats:
    """The values without NaN, ascending, with -0.0 written as 0.0."""
    array = np.asarray(values, dtype=np.float64)
    return np.sort(array[~np.isnan(array)] + 0.0)


def quantile_edges(values: Floats, parts: int) -> Floats:
    """Cut points k / parts of sorted finite values, by linear interpolation, without duplicates.

    Parameters
    ----------
    values : array of float, ascending, finite, at least one
    parts : int
        Number of parts; at most ``parts - 1`` cut points come out.
    """
    shares = np.arange(1, parts) / parts
    with np.errstate(over="ignore", invalid="ignore"):
        cuts = np.quantile(values, shares)
    # Between values near both ends of the float range the interpolation overflows: take the lower value there.
    below = values[np.floor(shares * (values.size - 1)).astype(np.int64)]
    return np.unique(np.where(np.isfinite(cuts), cuts, below))


@dataclass(frozen=True, slots=True, kw_only=True)
class NumericCells:
    """Cells of a numeric or datetime column.

    `edges` are finite and strictly ascending; `cuts`, a part of them, are the quantiles k/10 of the baseline. No
    edges means that the baseline had no finite value, a single one that all its finite values were equal.
    """

    edges: tuple[float, ...]
    cuts: tuple[float, ...]
    centre: float = 0.0
    """Moments are taken about it: the baseline's median."""

    def __len__(self) -> int:
        return 2 * len(self.edges) + 3

    def count(self, values: Floats) -> Ints:
        """Values a fine cell; `values` ascending without NaN. Shape (2 E + 3,).

        For one value this is cell ``searchsorted(edges, x, "left") + searchsorted(edges, x, "right") + 1``;
        on sorted values it is cheaper to look the edges up in the values.
        """
        grid = np.array([-np.inf, *self.edges, np.inf])
        left = np.searchsorted(values, grid, side="left")
        right = np.searchsorted(values, grid, side="right")
        counts = np.empty(len(self), dtype=np.int64)
        counts[0::2] = right - left
        counts[1::2] = left[1:] - right[:-1]
        return counts

    def coarse(self, counts: Ints) -> Ints:
        """Counts of the coarse cells: right-closed between cuts. For a constant baseline: the value, all else."""
        out = np.zeros(int(self._groups().max()) + 1, dtype=np.int64)
        np.add.at(out, self._groups(), counts)
        return out

    def _groups(self) -> Ints:
        """The coarse cell of each fine cell."""
        if not self.edges:
            return np.arange(3)
        if len(self.edges) == 1:
            return np.array([1, 1, 0, 1, 1])
        atoms = 2 * np.searchsorted(np.array(self.edges), np.array(self.cuts)) + 2
        return np.searchsorted(atoms, np.arange(len(self)), side="left").astype(np.int64)

    def labels(self, kind: ColumnKind) -> tuple[str, ...]:
        """Readable names of the coarse cells."""
        if not self.edges:
            return ("x = -inf", "x finite", "x = +inf")
        say = _moment if kind is ColumnKind.DATETIME else _number
        if len(self.edges) == 1:
            return (f"x = {say(self.edges[0])}", f"x ≠ {say(self.edges[0])}")
        cuts = [say(cut) for cut in self.cuts]
        inner = [f"{low} < x ≤ {high}" for low, high in pairwise(cuts)]
        return (f"x ≤ {cuts[0]}", *inner, f"x > {cuts[-1]}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryCells:
    """Cells of a categorical or boolean column: the baseline's categories, most frequent first, then one for every
    other value. `folded` when the baseline itself had categories that found no place."""

    categories: tuple[str, ...]
    folded: bool

    def __len__(self) -> int:
        return len(self.categories) + 1

    def count(self, names: Sequence[str], counts: Ints) -> Ints:
        """Values a cell, from distinct names and how often each occurs. Shape (C + 1,)."""
        place = {name: i for i, name in enumerate(self.categories)}
        other = len(self.categories)
        out = np.zeros(len(self), dtype=np.int64)
        np.add.at(out, np.array([place.get(name, other) for name in names], dtype=np.int64), counts)
        return out

    def coarse(self, counts: Ints) -> Ints:
        """Counts of the most frequent categories, then of everything else."""
        top = min(len(self.categories), COARSE_CATEGORIES)
        return np.append(counts[:top], counts[top:].sum())

    def labels(self) -> tuple[str, ...]:
        """Readable names of all cells."""
        return (*(f"category {name!r}" for name in self.categories), "other categories")


Cells = NumericCells | CategoryCells


def numeric_cells(values: Floats) -> NumericCells:
    """Cells for a baseline column; `values` ascending without NaN, infinities allowed.

    With few distinct values, each is an edge; else the edges are quantiles k/250, the smallest and the largest.
    """
    low, high = np.searchsorted(values, [-np.inf, np.inf], side="right")[0], np.searchsorted(values, np.inf)
    finite = values[low:high]
    if not finite.size:
        return NumericCells(edges=(), cuts=())
    cuts = quantile_edges(finite, COARSE_PARTS)
    distinct = finite[np.append(True, finite[1:] != finite[:-1])]
    if distinct.size + cuts.size <= MAX_EDGES:
        edges = np.union1d(distinct, cuts)
    else:
        edges = np.union1d(quantile_edges(finite, FINE_PARTS), np.append(cuts, finite[[0, -1]]))
    return NumericCells(edges=tuple(edges.tolist()), cuts=tuple(cuts.tolist()))


def category_cells(counts: Mapping[str, int]) -> CategoryCells:
    """Cells for a baseline column from how often each category occurs: the 200 most frequent whose names fit."""
    seen = [name for name, count in counts.items() if count > 0]
    ranked = sorted(seen, key=lambda name: (-counts[name], name))
    kept: list[str] = []
    room = CATEGORY_BYTES
    for name in ranked:
        size = len(json.dumps(name)) + 1
        if len(kept) == MAX_CATEGORIES:
            break
        if size <= room:
            kept.append(name)
            room -= size
    return CategoryCells(categories=tuple(kept), folded=len(kept) < len(seen))


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else f"{value:.6g}"


def _moment(value: float) -> str:
    """Epoch seconds as a date; outside the years 1 to 9999, the number."""
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=value)
    except OverflowError:
        return _number(value)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
