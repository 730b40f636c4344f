"""A window against a baseline, column by column, into a `DriftReport`.

What can't be evaluated says so: its value is None and `reason` names the cause. "Not enough data" is never
reported as "no drift".
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ct_daemon.drift.binning import CategoryCells, Floats, Ints, NumericCells, ordered
from ct_daemon.drift.profile import ColumnProfile, Profile
from ct_daemon.drift.statistics import (
    Bounded,
    chi_square,
    js_distance,
    ks_from_counts,
    ks_from_values,
    ks_p_value,
    psi,
    total_variation,
)
from ct_daemon.types import ColumnKind, DriftReport, DriftScore, Statistic

MOVED = 5
"""So many moved cells are named."""

_NUMERIC = ("psi", "ks", "js", "outside", "missing")
_CATEGORICAL = ("psi", "js", "total_variation", "chi_square", "unseen", "missing")


def compare(
    baseline: Profile,
    window: Profile,
    window_values: Mapping[str, Floats] | None = None,
    min_rows: int = 50,
) -> DriftReport:
    """Compare the columns of a window with those of a baseline.

    Parameters
    ----------
    baseline, window : Profile
        The window counted on the cells of the baseline. A column that the window's profile does not list was not
        watched and is not reported.
    window_values : mapping of column to array of float, optional
        Raw values of numeric columns (NaN is missing). Where the baseline kept its values too, KS is exact.
    min_rows : int
        Fewer rows (of the window, or non-missing ones in a column, on either side) are not evaluated.

    Returns
    -------
    DriftReport
        A column has these statistics. All but `missing` are about non-missing rows.

        - psi: over ten quantile cells of the baseline, or its 20 most frequent categories and the rest; 0.5 is
          added to each cell.
        - js: Jensen-Shannon distance, base 2, over the same cells.
        - ks (numeric, datetime): with p-value and a bound on the error.
        - outside (numeric, datetime): share beyond the baseline's smallest and largest value.
        - total_variation, chi_square (categorical, boolean): over the same cells as psi.
        - unseen (categorical, boolean): share of categories that the baseline does not have, with a bound on the
          error when it has more than are kept.
        - missing: share of missing rows in the window; the p-value is that of its difference from the baseline.
    """
    values = window_values or {}
    scores = tuple(
        _score(name, baseline, column, values.get(name), min_rows, window.rows)
        for name, column in window.columns.items()
    )
    return DriftReport(
        baseline_rows=baseline.rows,
        window_rows=window.rows,
        columns=scores,
        reason=_report_reason(baseline, window, scores, min_rows),
    )


def _report_reason(
    baseline: Profile, window: Profile, scores: tuple[DriftScore, ...], min_rows: int
) -> str | None:
    if window.rows == 0:
        return "no_rows"
    if window.rows < min_rows:
        return "too_few_rows"
    if baseline.rows == 0:
        return "baseline_empty"
    if not scores:
        return "no_columns"
    if all(statistic.value is None for score in scores for statistic in score.statistics.values()):
        return "nothing_evaluated"
    return None


def _score(
    name: str, baseline: Profile, window: ColumnProfile, values: Floats | None, min_rows: int, rows: int
) -> DriftScore:
    base = baseline.columns.get(name)
    kind = window.kind if base is None else base.kind
    reason = _why_not(base, window, rows, min_rows)
    if base is None or reason is not None:
        statistics = _all_unknown(kind, reason or "not_in_baseline")
        moved: tuple[tuple[str, float], ...] = ()
    else:
        statistics = _statistics(base, window, values, min_rows)
        moved = _moved(base, window)
    return DriftScore(
        column=name,
        kind=kind,
        baseline_rows=0 if base is None else base.present,
        window_rows=window.present,
        statistics=statistics,
        moved=moved,
    )


def _why_not(base: ColumnProfile | None, window: ColumnProfile, rows: int, min_rows: int) -> str | None:
    """Why nothing at all can be said of a column."""
    if window.reason is not None:
        return window.reason
    if base is None:
        return "not_in_baseline"
    if base.reason is not None:
        return base.reason
    if window.kind is not base.kind:
        return "kind_changed"
    if window.cells != base.cells:
        raise ValueError("the window was not counted on the baseline's cells; use the same baseline for both")
    if rows < max(min_rows, 1):
        return "too_few_rows"
    return "baseline_empty" if base.rows == 0 else None


def _all_unknown(kind: ColumnKind, reason: str) -> dict[str, Statistic]:
    names = _NUMERIC if kind in (ColumnKind.NUMERIC, ColumnKind.DATETIME) else _CATEGORICAL
    return {name: Statistic(value=None, reason=reason) for name in names}


def _statistics(
    base: ColumnProfile, window: ColumnProfile, values: Floats | None, min_rows: int
) -> dict[str, Statistic]:
    reason = _too_little(base, window, min_rows)
    if reason is not None:
        found = _all_unknown(base.kind, reason)
    elif isinstance(base.cells, NumericCells):
        found = _numeric(base, window, base.cells, values)
    elif isinstance(base.cells, CategoryCells):
        found = _categorical(base, window, base.cells)
    else:
        raise ValueError(f"a {base.kind} column without cells and without a reason")
    found["missing"] = _missing(base, window)
    return found


def _too_little(base: ColumnProfile, window: ColumnProfile, min_rows: int) -> str | None:
    """Why the values of a column can't be compared, though its missing rows can."""
    if base.present == 0:
        return "baseline_empty"
    if window.present == 0:
        return "all_missing"
    if window.present < min_rows:
        return "too_few_rows"
    return "baseline_too_few_rows" if base.present < min_rows else None


def _numeric(
    base: ColumnProfile, window: ColumnProfile, cells: NumericCells, values: Floats | None
) -> dict[str, Statistic]:
    coarse_base, coarse_window = cells.coarse(base.array), cells.coarse(window.array)
    ks = _ks(base, window, values)
    p_value = ks_p_value(ks.value, base.present, window.present)
    return {
        "psi": Statistic(value=psi(coarse_base, coarse_window)),
        "ks": Statistic(value=ks.value, error=ks.error, p_value=p_value),
        "js": Statistic(value=js_distance(coarse_base, coarse_window)),
        "outside": Statistic(value=_outside(base, window)),
    }


def _outside(base: ColumnProfile, window: ColumnProfile) -> float:
    """The first and the last edge are the baseline's extremes, so rows beyond lie in the outermost cells; an
    infinity that the baseline has as well is not beyond."""
    ends = {0, 1, len(base.counts) - 2, len(base.counts) - 1}
    return sum(window.counts[i] for i in ends if base.counts[i] == 0) / window.present


def _ks(base: ColumnProfile, window: ColumnProfile, values: Floats | None) -> Bounded:
    """Exact from values where both sides have them, else from counts with a bound."""
    counted = ks_from_counts(base.array, window.array)
    if counted.error == 0 or base.values is None or values is None:
        return counted
    raw = ordered(values)
    if raw.size != window.present:
        raise ValueError(f"{raw.size} window values were given for a profile of {window.present}")
    return Bounded(ks_from_values(base.values, raw), 0.0)


def _categorical(base: ColumnProfile, window: ColumnProfile, cells: CategoryCells) -> dict[str, Statistic]:
    coarse_base, coarse_window = cells.coarse(base.array), cells.coarse(window.array)
    chi, p_value = chi_square(coarse_base, coarse_window)
    return {
        "psi": Statistic(value=psi(coarse_base, coarse_window)),
        "js": Statistic(value=js_distance(coarse_base, coarse_window)),
        "total_variation": Statistic(value=total_variation(coarse_base, coarse_window)),
        "chi_square": Statistic(value=chi, p_value=p_value),
        "unseen": _unseen(base, window),
    }


def _unseen(base: ColumnProfile, window: ColumnProfile) -> Statistic:
    """The last cell holds unseen categories and those of the baseline that found no place: the latter are taken to
    be as frequent as before, and the exact share lies between 0 and the whole cell."""
    share = window.counts[-1] / window.present
    value = max(0.0, share - base.counts[-1] / base.present)
    return Statistic(value=value, error=max(value, share - value) if base.counts[-1] else 0.0)


def _missing(base: ColumnProfile, window: ColumnProfile) -> Statistic:
    sides = (np.array([column.missing, column.present]) for column in (base, window))
    return Statistic(value=window.missing / window.rows, p_value=chi_square(*sides)[1])


def _moved(base: ColumnProfile, window: ColumnProfile) -> tuple[tuple[str, float], ...]:
    """The cells whose share of all rows changed most, "missing" among them."""
    labels = (*_labels(base), "missing")
    change = _shares(window) - _shares(base)
    order = np.argsort(-np.abs(change), kind="stable")[:MOVED]
    return tuple((labels[i], float(change[i])) for i in order if change[i] != 0)


def _labels(column: ColumnProfile) -> tuple[str, ...]:
    if isinstance(column.cells, NumericCells):
        return column.cells.labels(column.kind)
    return column.cells.labels() if column.cells is not None else ()


def _shares(column: ColumnProfile) -> Floats:
    counts: Ints = column.array
    if isinstance(column.cells, NumericCells):
        counts = column.cells.coarse(counts)
    return np.append(counts, column.missing) / column.rows
