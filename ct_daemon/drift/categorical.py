"""Categorical and boolean columns of a window against those of the baseline, many at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ct_daemon.drift import significance
from ct_daemon.drift.binning import CategoryCells
from ct_daemon.drift.distances import chi_square, cramers_v, js_distance, psi, total_variation
from ct_daemon.drift.numeric import psi_statistics
from ct_daemon.drift.pairs import Found, Pair, moved_cells
from ct_daemon.drift.places import Ints
from ct_daemon.types import Statistic

STATISTICS = ("psi", "js", "total_variation", "chi_square", "unseen")


def compare_categorical(pairs: Sequence[Pair]) -> list[Found]:
    """The statistics of columns with the same number of categories, in their order."""
    cells = [cells for pair in pairs if isinstance(cells := pair.base.cells, CategoryCells)]
    fine, fine_window = np.stack([p.base_counts for p in pairs]), np.stack([p.window_counts for p in pairs])
    base = np.stack([one.coarse(pair.base_counts) for one, pair in zip(cells, pairs, strict=True)])
    window = np.stack([one.coarse(pair.window_counts) for one, pair in zip(cells, pairs, strict=True)])
    n, m = np.array([pair.n for pair in pairs]), np.array([pair.m for pair in pairs])
    columns = [
        psi_statistics(psi(base, window), significance.used_cells(base, window), n, m),
        [Statistic(value=value) for value in js_distance(base, window).tolist()],
        [Statistic(value=value) for value in total_variation(base, window).tolist()],
        _chi_square(base, window, n + m),
        _unseen(fine[:, -1], n, fine_window[:, -1], m),
    ]
    moved = moved_cells(
        [one.labels() for one in cells],
        fine,
        fine_window,
        np.array([pair.base.missing for pair in pairs]),
        np.array([pair.window.missing for pair in pairs]),
    )
    return [
        Found(statistics=dict(zip(STATISTICS, statistics, strict=True)), moved=moved[i])
        for i, statistics in enumerate(zip(*columns, strict=True))
    ]


def _chi_square(base: Ints, window: Ints, rows: Ints) -> list[Statistic]:
    values, freedom = chi_square(base, window)
    numbers = zip(
        values.tolist(),
        significance.chi_square_p_values(values, freedom).tolist(),
        significance.chi_square_critical(np.maximum(freedom, 1)).tolist(),
        freedom.tolist(),
        cramers_v(values, freedom, rows).tolist(),
        strict=True,
    )
    return [
        Statistic(value=v, p_value=p, critical=c, expected=float(f), effect=e) for v, p, c, f, e in numbers
    ]


def _unseen(base: Ints, n: Ints, window: Ints, m: Ints) -> list[Statistic]:
    """The last cell holds unseen categories and those of the baseline that found no place: the latter are taken to
    be as frequent as before, and the exact share lies between 0 and the whole cell."""
    share = window / m
    change = share - base / n
    value = np.maximum(change, 0.0)
    error = np.where(base > 0, np.maximum(value, share - value), 0.0)
    p_values = significance.share_p_values(base, n, window, m)
    critical = significance.share_critical(base, n, window, m)
    numbers = zip(*(a.tolist() for a in (value, error, p_values, critical, change)), strict=True)
    return [Statistic(value=v, error=e, p_value=p, critical=c, effect=d) for v, e, p, c, d in numbers]
