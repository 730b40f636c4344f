"""A window against a baseline, column by column, into a `DriftReport`.

What can't be evaluated says so: its value is None and `reason` names the cause. "Not enough data" is never
reported as "no drift".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ct_daemon.drift import categorical, numeric
from ct_daemon.drift.binning import CategoryCells, NumericCells
from ct_daemon.drift.pairs import Found, Pair, moved_cells, pair_of
from ct_daemon.drift.profile import ColumnProfile, Profile
from ct_daemon.drift.significance import share_critical, share_p_values
from ct_daemon.types import ColumnKind, DriftReport, DriftScore, Statistic

TOGETHER = 32
"""At most so many columns are worked at together: more would need memory and be no faster."""

_NUMERIC = (*numeric.STATISTICS, "missing")
_CATEGORICAL = (*categorical.STATISTICS, "missing")
_Shape = tuple[type[NumericCells] | type[CategoryCells], int, int]


def compare(baseline: Profile, window: Profile, min_rows: int = 50) -> DriftReport:
    """Compare the columns of a window with those of a baseline.

    Parameters
    ----------
    baseline, window : Profile
        The window counted on the cells of the baseline. A column that the window's profile does not list was not
        watched and is not reported.
    min_rows : int
        Fewer rows (of the window, or non-missing ones in a column, on either side) are not evaluated.

    Returns
    -------
    DriftReport
        A column has these statistics. All but `missing` are about non-missing rows.

        - psi: over ten quantile cells of the baseline, or its 20 most frequent categories and the rest; 0.5 is
          added to each cell. With the value expected by chance, the critical one and a p-value.
        - js: Jensen-Shannon distance, base 2, over the same cells. total_variation: over the same cells.
        - ks (numeric, datetime): with p-value, critical value and a bound on the error, which is 0
          where both sides are discrete, or have kept their values.
        - wasserstein (numeric, datetime): of the finite values without 0.1 % of the rows at both ends, in spreads
          of the baseline (distance of the quartiles / 1.349, or the standard deviation), with a bound on the error.
        - outside (numeric, datetime): share beyond the baseline's smallest and largest value.
        - chi_square (categorical, boolean): over the same cells as psi; the effect is Cramér's V.
        - unseen (categorical, boolean): share of categories that the baseline does not have, with a bound on the
          error when it has more than are kept; the effect is the change.
        - missing: share of missing rows in the window; p-value, critical value and effect are those of its change.

    Raises
    ------
    ValueError
        When the window was not counted on the baseline's cells.
    """
    reasons, pairs = _sorted_out(baseline, window, min_rows)
    found = dict(_found(pairs, min_rows))
    scores = tuple(
        _score(name, baseline.columns.get(name), column, reasons.get(name), found.get(name), pairs.get(name))
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


def _sorted_out(baseline: Profile, window: Profile, min_rows: int) -> tuple[dict[str, str], dict[str, Pair]]:
    """The reason of each column of which nothing at all can be said, and both sides of each other one."""
    reasons: dict[str, str] = {}
    pairs: dict[str, Pair] = {}
    for name, column in window.columns.items():
        base = baseline.columns.get(name)
        reason = _why_not(base, column, window.rows, min_rows)
        if base is None or reason is not None:
            reasons[name] = reason or "not_in_baseline"
            continue
        pair = pair_of(base, column)
        if pair.n + base.missing == 0:
            reasons[name] = "baseline_empty"
        else:
            pairs[name] = pair
    return reasons, pairs


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
    if window.cells is not base.cells and window.cells != base.cells:
        raise ValueError("the window was not counted on the baseline's cells; use the same baseline for both")
    return "too_few_rows" if rows < max(min_rows, 1) else None


def _score(
    name: str,
    base: ColumnProfile | None,
    window: ColumnProfile,
    reason: str | None,
    found: Found | None,
    pair: Pair | None,
) -> DriftScore:
    kind = window.kind if base is None else base.kind
    if found is None:
        found = Found(statistics=_all_unknown(kind, reason or "not_evaluated"), moved=())
    return DriftScore(
        column=name,
        kind=kind,
        baseline_rows=(0 if base is None else base.present) if pair is None else pair.n,
        window_rows=window.present if pair is None else pair.m,
        statistics=found.statistics,
        moved=found.moved,
        direction=found.direction,
        shift=found.shift,
        spread_ratio=found.spread_ratio,
    )


def _all_unknown(kind: ColumnKind, reason: str) -> dict[str, Statistic]:
    names = _NUMERIC if kind in (ColumnKind.NUMERIC, ColumnKind.DATETIME) else _CATEGORICAL
    return {name: Statistic(value=None, reason=reason) for name in names}


# --- columns that can be compared, at least their missing rows -------------------------------------------


def _found(pairs: Mapping[str, Pair], min_rows: int) -> Iterator[tuple[str, Found]]:
    """Columns on cells of one shape are worked at together, then all missing shares."""
    groups: dict[_Shape, list[str]] = defaultdict(list)
    found: dict[str, Found] = {}
    for name, pair in pairs.items():
        reason = _too_little(pair, min_rows)
        if reason is not None:
            found[name] = _only_missing(pair, reason)
        else:
            groups[_shape(name, pair)].append(name)
    for names in groups.values():
        for start in range(0, len(names), TOGETHER):
            some = names[start : start + TOGETHER]
            found.update(zip(some, _together([pairs[name] for name in some]), strict=True))
    for name, missing in zip(pairs, _missing(list(pairs.values())), strict=True):
        found[name].statistics["missing"] = missing
        yield name, found[name]


def _shape(name: str, pair: Pair) -> _Shape:
    """What must be equal in columns that are worked at together."""
    cells = pair.base.cells
    if cells is None:
        raise ValueError(f"column {name!r} of kind {pair.base.kind} has neither cells nor a reason")
    if isinstance(cells, NumericCells):
        return NumericCells, *numeric.shape(cells)
    return CategoryCells, len(cells.categories), 0


def _together(pairs: Sequence[Pair]) -> list[Found]:
    if isinstance(pairs[0].base.cells, NumericCells):
        return numeric.compare_numeric(pairs)
    return categorical.compare_categorical(pairs)


def _too_little(pair: Pair, min_rows: int) -> str | None:
    """Why the values of a column can't be compared, though its missing rows can."""
    if pair.n == 0:
        return "baseline_empty"
    if pair.m == 0:
        return "all_missing"
    if pair.m < min_rows:
        return "too_few_rows"
    return "baseline_too_few_rows" if pair.n < min_rows else None


def _only_missing(pair: Pair, reason: str) -> Found:
    base, window = pair.base_counts, pair.window_counts
    labels: tuple[str, ...] = ()
    if isinstance(pair.base.cells, NumericCells):
        base, window = pair.base.cells.coarse(base), pair.base.cells.coarse(window)
        labels = pair.base.cells.labels(pair.base.kind)
    elif isinstance(pair.base.cells, CategoryCells):
        labels = pair.base.cells.labels()
    gone = np.array([pair.base.missing]), np.array([pair.window.missing])
    (moved,) = moved_cells([labels], base[None, :], window[None, :], *gone)
    return Found(statistics=_all_unknown(pair.base.kind, reason), moved=moved)


def _missing(pairs: Sequence[Pair]) -> list[Statistic]:
    """The shares of missing rows, which every column has."""
    if not pairs:
        return []
    gone = np.array([(pair.base.missing, pair.window.missing) for pair in pairs], dtype=np.int64)
    rows = gone + np.array([(pair.n, pair.m) for pair in pairs], dtype=np.int64)
    sides = (gone[:, 0], rows[:, 0], gone[:, 1], rows[:, 1])
    share = gone[:, 1] / rows[:, 1]
    numbers = (share, share_p_values(*sides), share_critical(*sides), share - gone[:, 0] / rows[:, 0])
    return [
        Statistic(value=v, p_value=p, critical=c, effect=d)
        for v, p, c, d in zip(*(a.tolist() for a in numbers), strict=True)
    ]
