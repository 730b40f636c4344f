"""Profiles: what is kept of many rows. Counts over frozen cells, so that profiles merge by adding.

`merge` is associative and commutative and its counts are integers: however rows are split into blocks, files or
processes, the merged profile is the same to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from ct_daemon.drift.binning import CategoryCells, Cells, Floats, Ints, NumericCells, ordered
from ct_daemon.types import ColumnKind

SAMPLE_ROWS = 2_000
"""A baseline of so many rows or fewer keeps the values themselves, so that KS can be exact."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Sums over the finite values of a column: how many, of ``x - centre``, and of ``(x - centre) ** 2``.

    `centre` is frozen with the baseline's cells, so that nothing cancels. The sums are of floats: in another order of
    the rows they may differ in their last digits (a relative 1e-9 of the sum of magnitudes at most).
    """

    centre: float
    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    @property
    def mean(self) -> float:
        """Mean of the values; NaN without any."""
        return self.centre + self.total / self.count if self.count else math.nan

    @property
    def sd(self) -> float:
        """Standard deviation of the values (divisor n); NaN without any."""
        if not self.count:
            return math.nan
        return math.sqrt(max(self.squares / self.count - (self.total / self.count) ** 2, 0.0))

    def merge(self, other: Moments) -> Moments:
        """The sums over both.

        Raises
        ------
        ValueError
            When the centres differ.
        """
        if self.centre != other.centre:
            raise ValueError("moments about different centres can't be merged")
        return Moments(
            centre=self.centre,
            count=self.count + other.count,
            total=self.total + other.total,
            squares=self.squares + other.squares,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnProfile:
    """One column of some rows.

    `counts` are over `cells`; `missing` counts null and NaN apart. `low` and `high` are the extremes of the finite
    values (None without any). `sample` holds *all* non-missing values, ascending, as little-endian float64, where
    that was asked for. `reason` is set, and nothing counted, when the column can't be counted on the baseline's
    cells: `column_missing`, `kind_changed`, `unsupported`, `not_in_baseline`; `kind` is then as found.
    """

    kind: ColumnKind
    cells: Cells | None
    counts: tuple[int, ...]
    missing: int
    low: float | None = None
    high: float | None = None
    sample: bytes | None = None
    reason: str | None = None
    moments: Moments | None = None
    """Of a numeric or datetime column."""
    rank_error: int = 0
    """No cumulative count over the cells is further than this from that of the rows; 0: the counts are exact."""

    @property
    def present(self) -> int:
        """Rows with a value."""
        return sum(self.counts)

    @property
    def rows(self) -> int:
        """All rows counted."""
        return self.present + self.missing

    @property
    def array(self) -> Ints:
        """The counts as an array."""
        return np.array(self.counts, dtype=np.int64)

    @property
    def values(self) -> Floats | None:
        """All non-missing values, ascending, where they were kept."""
        return None if self.sample is None else np.frombuffer(self.sample, dtype="<f8")

    def merge(self, other: ColumnProfile) -> ColumnProfile:
        """The profile of both sets of rows.

        Raises
        ------
        ValueError
            When the two were not counted on the same cells.
        """
        if (self.kind, self.cells, self.reason) != (other.kind, other.cells, other.reason):
            raise ValueError("profiles on different cells can't be merged; count both on the same baseline")
        sample = None
        if self.values is not None and other.values is not None:
            sample = np.sort(np.concatenate([self.values, other.values])).tobytes()
        lows = [value for value in (self.low, other.low) if value is not None]
        highs = [value for value in (self.high, other.high) if value is not None]
        return ColumnProfile(
            kind=self.kind,
            cells=self.cells,
            counts=tuple(a + b for a, b in zip(self.counts, other.counts, strict=True)),
            missing=self.missing + other.missing,
            low=min(lows, default=None),
            high=max(highs, default=None),
            sample=sample,
            reason=self.reason,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Some rows: how many, and each column by name."""

    rows: int
    columns: Mapping[str, ColumnProfile]

    def merge(self, other: Profile) -> Profile:
        """The profile of both sets of rows.

        Raises
        ------
        ValueError
            When columns or cells differ.
        """
        if self.columns.keys() != other.columns.keys():
            raise ValueError("profiles of different columns can't be merged")
        columns = {name: column.merge(other.columns[name]) for name, column in self.columns.items()}
        return Profile(rows=self.rows + other.rows, columns=columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What windows are compared with: profiles of consecutive blocks of the training rows on common cells."""

    blocks: tuple[Profile, ...]

    def merge(self) -> Profile:
        """*The* profile: that of all rows.

        Raises
        ------
        ValueError
            Without blocks, or when their columns or cells differ.
        """
        if not self.blocks:
            raise ValueError("a baseline needs at least one block of rows")
        return reduce(Profile.merge, self.blocks)


def numeric_column(
    values: Floats, missing: int, cells: NumericCells, kind: ColumnKind, *, keep: bool = False
) -> ColumnProfile:
    """Profile of a numeric or datetime column.

    Parameters
    ----------
    values : array of float
        The non-missing values, ascending (see `binning.ordered`); datetimes as seconds since 1970 UTC.
    missing : int
        Rows without a value.
    keep : bool
        Keep the values themselves as well.
    """
    finite = values[np.isfinite(values)]
    return ColumnProfile(
        kind=kind,
        cells=cells,
        counts=tuple(cells.count(values).tolist()),
        missing=missing,
        low=float(finite[0]) if finite.size else None,
        high=float(finite[-1]) if finite.size else None,
        sample=values.astype("<f8").tobytes() if keep else None,
    )


def category_column(
    names: Sequence[str], counts: Ints, missing: int, cells: CategoryCells, kind: ColumnKind
) -> ColumnProfile:
    """Profile of a categorical or boolean column from its distinct names and how often each occurs."""
    return ColumnProfile(
        kind=kind, cells=cells, counts=tuple(cells.count(names, counts).tolist()), missing=missing
    )


def uncounted_column(kind: ColumnKind, reason: str) -> ColumnProfile:
    """Profile of a column that can't be counted, with the reason."""
    return ColumnProfile(kind=kind, cells=None, counts=(), missing=0, reason=reason)


def split_missing(values: Floats) -> tuple[Floats, int]:
    """The non-missing values, ascending, and the number of missing ones (NaN)."""
    kept = ordered(values)
    return kept, values.size - kept.size
