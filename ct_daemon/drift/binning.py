"""Cells: how the values of a column are counted. They are frozen from the baseline alone, so that nothing in a
window (one outlier, say) can move them.

A numeric column has up to 1,087 *edges* e0 < e1 < ... < eE, all finite. Cells are right-closed, and each infinity has
one of its own::

    -inf | (-inf, e0] | (e0, e1] | ... | (eE-1, eE] | (eE, inf) | +inf        E + 3 cells for E edges

e0 lies below the baseline's smallest value and eE at its largest or just above, so that the outer cells hold what is
beyond the baseline. A value that the baseline has often stands between two edges that are neighbours as floats: a
*point* cell, which makes distances exact on discrete data. The ten or twenty *coarse* cells that PSI uses are unions
of fine cells.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from hashlib import sha256
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from ct_daemon.drift.grid import Grid
from ct_daemon.drift.places import Bools, Floats, Ints, PlaceMap, just_above
from ct_daemon.types import ColumnKind

MAX_EDGES = 1087
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


@dataclass(frozen=True, kw_only=True, eq=False)
class NumericCells:
    """Cells of a numeric or datetime column.

    `edges` are finite and strictly ascending; `cuts`, a part of them, are the quantiles k/10 of the baseline. No
    edges means that the baseline had no finite value, two neighbours that all its finite values were equal. Moments
    are taken about `centre`; `place_map` only tells where counting is quick.
    """

    edges: Floats
    cuts: Floats
    centre: float
    place_map: PlaceMap

    def __len__(self) -> int:
        return self.edges.size + 3

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NumericCells) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of edges and cuts, in hex; cells are the same when it is."""
        return sha256(
            self.edges.astype("<f8").tobytes() + b"|" + self.cuts.astype("<f8").tobytes()
        ).hexdigest()

    @cached_property
    def grid(self) -> Grid:
        """The table by which values are counted; made once."""
        return Grid(self.edges, self.place_map)

    @cached_property
    def points(self) -> Bools:
        """Cells that can hold one value only. Shape (E + 3,)."""
        out = np.zeros(len(self), dtype=np.bool_)
        out[[0, -1]] = True
        out[2:-2] = just_above(self.edges[:-1]) == self.edges[1:]
        return out

    @cached_property
    def coarse_ends(self) -> Ints | None:
        """The fine cells that are the last ones of a coarse cell, without the last of all. Shape (cuts,); None where
        the coarse cells are no runs of fine ones: for a baseline without two finite values."""
        if not self.edges.size or self.constant:
            return None
        return np.searchsorted(self.edges, self.cuts).astype(np.int64) + 1

    @property
    def constant(self) -> bool:
        """Whether all finite values of the baseline were equal."""
        return self.edges.size == 2 and bool(self.points[2])

    def count(self, values: Floats) -> Ints:
        """Values a cell, the plain way; `values` ascending without NaN. Shape (E + 3,)."""
        largest = np.finfo(np.float64).max
        upto = np.searchsorted(values, np.concatenate([[-np.inf], self.edges, [largest]]), side="right")
        return np.diff(upto, prepend=0, append=values.size).astype(np.int64)

    def coarse(self, counts: Ints) -> Ints:
        """Counts of the coarse cells: right-closed between cuts. For a constant baseline: the value, all else."""
        return np.bincount(self.groups, weights=counts).astype(np.int64)

    @cached_property
    def groups(self) -> Ints:
        """The coarse cell of each fine cell. Shape (E + 3,)."""
        if self.coarse_ends is None:
            return np.array([1, 1, 0, 1, 1]) if self.constant else np.arange(3)
        return np.searchsorted(self.coarse_ends, np.arange(len(self)), side="left").astype(np.int64)

    def labels(self, kind: ColumnKind) -> tuple[str, ...]:
        """Readable names of the coarse cells."""
        if not self.edges.size:
            return ("x = -inf", "x finite", "x = +inf")
        say = _moment if kind is ColumnKind.DATETIME else _number
        if self.constant:
            return (f"x = {say(float(self.edges[1]))}", f"x ≠ {say(float(self.edges[1]))}")
        cuts = [say(cut) for cut in self.cuts.tolist()]
        inner = [f"{low} < x ≤ {high}" for low, high in pairwise(cuts)]
        return (f"x ≤ {cuts[0]}", *inner, f"x > {cuts[-1]}")


@dataclass(frozen=True, kw_only=True)
class CategoryCells:
    """Cells of a categorical or boolean column: the baseline's categories, most frequent first, then one for every
    other value. `folded` when the baseline itself had categories that found no place."""

    categories: tuple[str, ...]
    folded: bool

    def __len__(self) -> int:
        return len(self.categories) + 1

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the categories, in hex."""
        return sha256(json.dumps([self.categories, self.folded]).encode()).hexdigest()

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


def category_cells(counts: Mapping[str, int], *, more: bool = False) -> CategoryCells:
    """Cells for a baseline column from how often each category occurs: the 200 most frequent whose names fit. `more`
    tells that there are categories that `counts` does not list."""
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
    return CategoryCells(categories=tuple(kept), folded=more or len(kept) < len(seen))


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else f"{value:.6g}"


def _moment(value: float) -> str:
    """Epoch seconds as a date; outside the years 1 to 9999, the number."""
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=value)
    except OverflowError:
        return _number(value)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
