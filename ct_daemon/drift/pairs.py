"""What the comparison of one column is made from, and what comes out of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ct_daemon.drift.places import Ints
from ct_daemon.drift.profile import ColumnProfile
from ct_daemon.types import Statistic

MOVED = 5
"""So many moved cells are named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One column of both sides, on the same cells."""

    base: ColumnProfile
    window: ColumnProfile
    base_counts: Ints
    window_counts: Ints
    n: int
    """Rows with a value in the baseline ..."""
    m: int
    """... and in the window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What was found of one column."""

    statistics: dict[str, Statistic]
    moved: tuple[tuple[str, float], ...]
    direction: str | None = None
    shift: float | None = None
    spread_ratio: float | None = None


def pair_of(base: ColumnProfile, window: ColumnProfile) -> Pair:
    """Both sides and how many rows they have."""
    base_counts, window_counts = base.counts, window.counts
    return Pair(
        base=base,
        window=window,
        base_counts=base_counts,
        window_counts=window_counts,
        n=base.present,
        m=window.present,
    )


def moved_cells(
    labels: Sequence[Sequence[str]], base: Ints, window: Ints, base_missing: Ints, window_missing: Ints
) -> list[tuple[tuple[str, float], ...]]:
    """The cells whose share of all rows changed most, "missing" among them.

    Parameters
    ----------
    labels : one sequence a column
        Names of the cells.
    base, window : array of int, shape (C, B)
    base_missing, window_missing : array of int, shape (C,)
    """
    sides = (np.column_stack([base, base_missing]), np.column_stack([window, window_missing]))
    before, after = (side / np.maximum(side.sum(axis=1, keepdims=True), 1) for side in sides)
    change = after - before
    order = np.argsort(-np.abs(change), axis=1, kind="stable")[:, :MOVED]
    largest = np.take_along_axis(change, order, axis=1)
    return [
        tuple(
            (names[i] if i < len(names) else "missing", by)
            for i, by in zip(places, changes, strict=True)
            if by != 0
        )
        for names, places, changes in zip(labels, order.tolist(), largest.tolist(), strict=True)
    ]


def known(value: float) -> float | None:
    """A number, or None where it is not finite."""
    return value if math.isfinite(value) else None
