"""Profiles: what is kept of many rows. Counts over frozen cells, so that profiles merge by adding.

`merge` is associative and commutative and its counts are integers: however rows are split into blocks, files or
processes, the merged profile is the same to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from typing import Any

import numpy as np

from ct_daemon.codec import digest_of
from ct_daemon.drift import display
from ct_daemon.drift.binning import CategoryCells, Cells, NumericCells
from ct_daemon.drift.places import Floats, Ints
from ct_daemon.drift.tally import SAMPLE_ROWS, Tally
from ct_daemon.types import ColumnKind
from ct_daemon.words import counted


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

    def about(self, centre: float) -> Moments:
        """The same sums about another centre."""
        far = self.centre - centre
        squares = self.squares + 2 * far * self.total + self.count * far * far
        total = self.total + self.count * far
        return Moments(centre=centre, count=self.count, total=total, squares=max(squares, 0.0))

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


@dataclass(frozen=True, kw_only=True, eq=False)
class ColumnProfile:
    """One column of some rows.

    `counts` are over `cells`; `missing` counts null and NaN apart. `low` and `high` are the extremes of the finite
    values (None without any). `sample` holds *all* non-missing values, ascending, where there are few. `reason` is
    set, and nothing counted, when the column can't be counted on the baseline's cells: `column_missing`,
    `kind_changed`, `unsupported`, `not_in_baseline`; `kind` is then as found.
    """

    kind: ColumnKind
    cells: Cells | None
    counts: Ints
    """Shape (cells,); not to be written to."""
    missing: int
    low: float | None = None
    high: float | None = None
    sample: Floats | None = None
    reason: str | None = None
    moments: Moments | None = None
    """Of a numeric or datetime column."""
    rank_error: int = 0
    """No cumulative count over the cells is further than this from that of the rows; 0: the counts are exact."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ColumnProfile) and self._state() == other._state()

    __hash__ = None  # type: ignore[assignment]

    def _state(self) -> tuple[object, ...]:
        sample = None if self.sample is None else self.sample.tobytes()
        rest = (self.missing, self.low, self.high, self.reason, self.moments, self.rank_error)
        return (self.kind, self.cells, self.counts.tobytes(), sample, *rest)

    @cached_property
    def present(self) -> int:
        """Rows with a value."""
        return int(self.counts.sum())

    @property
    def rows(self) -> int:
        """All rows counted."""
        return self.present + self.missing

    def with_missing(self, rows: int) -> ColumnProfile:
        """The same and so many rows more in which the value is missing."""
        return replace(self, missing=self.missing + rows)

    def merge(self, other: ColumnProfile) -> ColumnProfile:
        """The profile of both sets of rows.

        Raises
        ------
        ValueError
            When the two were not counted on the same cells.
        """
        if (self.kind, self.cells, self.reason) != (other.kind, other.cells, other.reason):
            raise ValueError("profiles on different cells can't be merged; count both on the same baseline")
        moments = None
        if self.moments is not None and other.moments is not None:
            moments = self.moments.merge(other.moments)
        lows = [value for value in (self.low, other.low) if value is not None]
        highs = [value for value in (self.high, other.high) if value is not None]
        return ColumnProfile(
            kind=self.kind,
            cells=self.cells,
            counts=self.counts + other.counts,
            missing=self.missing + other.missing,
            low=min(lows, default=None),
            high=max(highs, default=None),
            sample=_merged(self.sample, other.sample),
            reason=self.reason,
            moments=moments,
            rank_error=self.rank_error + other.rank_error,
        )


def _merged(one: Floats | None, other: Floats | None) -> Floats | None:
    if one is None or other is None or one.size + other.size > SAMPLE_ROWS:
        return None
    return np.sort(np.concatenate([one, other]))


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Profile:
    """Some rows: how many, and each column by name."""

    rows: int
    columns: Mapping[str, ColumnProfile]

    def only(self, columns: Sequence[str]) -> Profile:
        """The same with these columns only.

        Raises
        ------
        KeyError
            When there is no such column.
        """
        return replace(self, columns={name: self.columns[name] for name in columns})

    def to_dict(self) -> dict[str, Any]:
        """What is in it, in short: rows, missing, extremes, mean, standard deviation of each column; what
        ``ct-daemon profile --json`` prints. The whole is written by `save_profile`."""
        return display.summary(self)

    def __repr__(self) -> str:
        return f"<Profile: {counted(self.rows, 'row')}, {counted(len(self.columns), 'column')}>"

    def _repr_html_(self) -> str:
        return display.profile(self)

    @property
    def schema(self) -> str:
        """SHA-256 of the names, kinds and cells of the columns, in hex: profiles of one schema can be merged."""
        columns = sorted(
            [name, column.kind.value, column.cells.digest if column.cells is not None else column.reason]
            for name, column in self.columns.items()
        )
        return digest_of(columns)

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
    tally: Tally, cells: NumericCells, kind: ColumnKind, finite: Ints | None = None
) -> ColumnProfile:
    """Profile of a numeric or datetime column from its tally; datetimes as seconds since 1970 UTC.

    `finite` are the counts of finite values a cell, where the tally was on another grid than that of the cells.
    """
    inner = tally.cells if finite is None else finite
    counts = np.concatenate([[tally.below], inner, [tally.above]]).astype(np.int64)
    sums = (tally.total, tally.squares)
    return ColumnProfile(
        kind=kind,
        cells=cells,
        counts=counts,
        missing=tally.missing,
        low=tally.low + 0.0 if tally.finite else None,
        high=tally.high + 0.0 if tally.finite else None,
        sample=tally.values,
        moments=Moments(centre=tally.centre, count=tally.finite, total=sums[0], squares=sums[1])
        if all(map(math.isfinite, sums))
        else None,
    )


def category_column(
    names: Sequence[str], counts: Ints, missing: int, cells: CategoryCells, kind: ColumnKind
) -> ColumnProfile:
    """Profile of a categorical or boolean column from its distinct names and how often each occurs."""
    return ColumnProfile(kind=kind, cells=cells, counts=cells.count(names, counts), missing=missing)


def uncounted_column(kind: ColumnKind, reason: str) -> ColumnProfile:
    """Profile of a column that can't be counted, with the reason."""
    return ColumnProfile(kind=kind, cells=None, counts=np.zeros(0, dtype=np.int64), missing=0, reason=reason)
