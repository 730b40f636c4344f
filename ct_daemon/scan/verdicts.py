"""What a comparison says of each column, in words: for tables on a terminal and in a notebook, and for programs."""

from __future__ import annotations

from ct_daemon.drift.ranking import change_of, ranked
from ct_daemon.triggers.concept_drift import CANT_TELL, standing
from ct_daemon.triggers.readings import LEVEL, SHARES
from ct_daemon.types import DriftReport, DriftScore, Statistic

THRESHOLDS = {"psi": 0.2, "ks": 0.2, "missing": 0.2, "unseen": 0.2}
"""A column has moved at these. A test holds them to the defaults of the drift trigger's settings, whose import takes
longer than a comparison."""

_OF_CELLS = ("psi", "ks", "chi_square", "unseen")
"""The cells of a column tell something where one of these is beyond chance: else they only make room for missing
rows."""
MOVED, CHANGED, CALM = "moved", "changed", "calm"
ORDER = (MOVED, CHANGED, CANT_TELL, CALM)
"""Worst first."""

REASONS = {
    "all_missing": "no row of the window has a value",
    "baseline_empty": "no row of the baseline has a value",
    "baseline_too_few_rows": "too few rows of the baseline have a value",
    "column_missing": "the window has no such column",
    "kind_changed": "the column is of another kind than in the baseline",
    "no_columns": "there are no columns to compare",
    "no_finite_values": "no row of the window has a finite value",
    "no_rows": "the window has no rows",
    "no_spread": "all values of the baseline are equal",
    "not_evaluated": "it was not evaluated",
    "not_finite": "a number is beyond what can be computed with",
    "not_in_baseline": "the baseline has no such column",
    "nothing_evaluated": "no column could be evaluated",
    "too_few_rows": "too few rows of the window have a value",
    "unsupported": "columns of this type are not compared",
}
"""Why something can't be told."""


def because(reason: str) -> str:
    """A reason in words."""
    return REASONS.get(reason, reason)


def verdict(score: DriftScore) -> str:
    """`moved`, `calm` or `unknown`, as the drift trigger with its default thresholds would have it."""
    found = standing(score, **THRESHOLDS)
    if found is None:
        return "unknown"
    return MOVED if found[1] else CALM


def in_words(score: DriftScore) -> str:
    """The verdict with one step more: `moved`; `changed`, which is less than that but more than chance; `calm`, no
    more than chance gives samples of this size; or that it can't be told."""
    found = verdict(score)
    if found != MOVED and any(beyond_chance(name, one) for name, one in score.statistics.items()):
        return CHANGED
    return CANT_TELL if found == "unknown" else found


def beyond_chance(name: str, statistic: Statistic) -> bool:
    """Whether a statistic is larger than its critical value; of a share the test tells. KS enters less its error, on
    the safe side."""
    change = change_of(name, statistic)
    if change is None:
        return False
    if name in SHARES and statistic.p_value is not None:
        return statistic.p_value <= LEVEL
    return statistic.critical is not None and change > statistic.critical


def in_order(report: DriftReport) -> list[tuple[str, DriftScore]]:
    """Each column with its verdict in words: the worst first, then by evidence (see `drift.ranking`)."""
    places = {one.column: place for place, one in enumerate(ranked(report))}
    found = [(in_words(score), score) for score in report.columns]
    return sorted(
        found, key=lambda one: (ORDER.index(one[0]), places.get(one[1].column, len(places)), one[1].column)
    )


def why(score: DriftScore) -> list[str]:
    """Why PSI or KS of a column can't be told; empty where they can."""
    watched = [score.statistics[name] for name in ("psi", "ks") if name in score.statistics]
    unknown = {one.reason for one in watched if one.value is None and one.reason is not None}
    return [because(reason) for reason in sorted(unknown)]


def what(score: DriftScore, cells: int = 2) -> list[str]:
    """What changed in a column, in words: the mean, shares of missing and unseen values, cells that moved most."""
    found: list[str] = []
    if score.direction is not None:
        found.append(score.direction)
        if score.shift is not None:
            found.append(f"mean {score.shift:+.2f} spreads")
    for name in ("missing", "unseen"):
        one = score.statistics.get(name)
        if one is not None and beyond_chance(name, one):
            found.append(f"{name} {100 * (one.effect or 0.0):+.1f} points")
    if not any(beyond_chance(name, score.statistics[name]) for name in _OF_CELLS if name in score.statistics):
        return found
    named = [(cell, change) for cell, change in score.moved if cell != "missing"]
    return found + [f"{cell} {100 * change:+.1f} points" for cell, change in named[:cells]]
