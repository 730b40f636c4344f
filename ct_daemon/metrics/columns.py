"""A drift report cut down to what metrics show of it: some columns by name, the others as one.

Names of columns come from the data and may hold anything. What is shown of them is printable, short, and different
for different columns.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from ct_daemon.config import ConceptDriftTrigger
from ct_daemon.triggers.concept_drift import has_moved, strength
from ct_daemon.types import DriftScore, Window

OTHER = "other"
"""The label under which all columns that are not shown by name are one."""
LONGEST = 120
"""Longest label, in characters."""
STATISTICS = ("psi", "ks", "missing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One column, or all that are not shown by name: its statistics, those that have a value."""

    label: str
    statistics: dict[str, float]

    def folded_with(self, other: Shown) -> Shown:
        """Both as one: the larger value of each statistic."""
        values = dict(self.statistics)
        for name, value in other.statistics.items():
            values[name] = max(value, values.get(name, value))
        return Shown(label=self.label, statistics=values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """What is kept of a window."""

    seq: int
    measured_at: datetime
    rows: int
    compared: int
    moved: int
    unknown: int
    evidence: float | None
    """Of the strongest column; None if nothing can be told."""
    shown: tuple[Shown, ...] = field(default=())
    """The most important first."""
    rest: Shown | None = None
    """All others as one; None if there are none."""

    def columns(self, most: int) -> tuple[Shown, ...]:
        """At most so many columns by name, and the others as one."""
        rest = self.rest
        for one in self.shown[most:]:
            rest = _fold(rest, one)
        return self.shown[:most] if rest is None else (*self.shown[:most], rest)


def digest(window: Window, trigger: ConceptDriftTrigger, *, first: Sequence[str] | None, most: int) -> Digest:
    """Cut a window's report down.

    Parameters
    ----------
    trigger : ConceptDriftTrigger
        Its thresholds say what has moved.
    first : sequence of str, optional
        Columns that come before all others, in this order; the others come by the strength of their evidence.
    most : int
        So many are kept by name.
    """
    scores = window.report.columns
    known = [(score, strength(score, psi=trigger.psi, ks=trigger.ks)) for score in scores]
    strengths = [value for _, value in known if value is not None]
    place = {column: number for number, column in enumerate(first or ())}
    known.sort(key=lambda one: (place.get(one[0].column, len(place)), -(one[1] or 0.0), one[0].column))
    shown: dict[str, Shown] = {}
    rest: Shown | None = None
    for score, _ in known:
        one = Shown(label=label_of(score.column), statistics=_values(score))
        if not one.statistics:
            continue
        if len(shown) < most and one.label not in shown:
            shown[one.label] = one
        else:
            rest = _fold(rest, one)
    return Digest(
        seq=window.seq,
        measured_at=window.measured_at,
        rows=window.report.window_rows,
        compared=len(scores),
        moved=_moved(scores, trigger),
        unknown=len(scores) - len(strengths),
        evidence=max(strengths, default=None),
        shown=tuple(shown.values()),
        rest=rest,
    )


def _moved(scores: Iterable[DriftScore], trigger: ConceptDriftTrigger) -> int:
    return sum(has_moved(score, psi=trigger.psi, ks=trigger.ks) is True for score in scores)


def _values(score: DriftScore) -> dict[str, float]:
    found = {name: score.statistics[name].value for name in STATISTICS if name in score.statistics}
    return {name: value for name, value in found.items() if value is not None}


def _fold(rest: Shown | None, one: Shown) -> Shown:
    return Shown(label=OTHER, statistics=one.statistics) if rest is None else rest.folded_with(one)


def label_of(column: str) -> str:
    r"""A column's name as a label: printable and at most 120 characters.

    A name that had to be changed ends with a digest of it, so that two of them stay two.

    Examples
    --------
    >>> label_of("price")
    'price'
    >>> label_of("a\nb")
    'a\\nb~c85ae6ca'
    """
    if column.isprintable() and 0 < len(column) <= LONGEST and column != OTHER:
        return column
    mark = "~" + hashlib.sha256(column.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    visible = "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in column[:LONGEST]
    )
    return visible[: LONGEST - len(mark)] + mark
