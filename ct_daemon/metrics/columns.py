"""A drift report cut down to what metrics show of it: some columns by name, the others as one.

Names of columns come from the data and may hold anything. What is shown of them is printable, short, and different
for different columns.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ct_daemon.config import ConceptDriftTrigger
from ct_daemon.triggers.concept_drift import standing
from ct_daemon.types import DriftScore, JointDrift, Role, Window

OTHER = "other"
"""The label under which all columns that are not shown by name are one."""
LONGEST = 120
"""Longest label, in characters."""
STATISTICS = ("psi", "ks", "missing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One column, or all that are not shown by name: its statistics, those that have a value."""

    label: str
    statistics: Mapping[str, float]


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
    shown: tuple[Shown, ...]
    """The most important first."""
    rest: Mapping[str, float]
    """The largest value of each statistic over all others."""
    beside: Mapping[str, Mapping[str, float]]
    """Statistics of target and predictions, by role; those that have a value."""
    joint: tuple[float, float] | None = None
    """AUC of all columns together, and its bound from below."""

    def columns(self, most: int) -> tuple[Shown, ...]:
        """At most so many columns by name, and the others as one."""
        rest = dict(self.rest)
        for one in self.shown[most:]:
            _raise(rest, one.statistics)
        others = (Shown(label=OTHER, statistics=rest),) if rest else ()
        return self.shown[:most] + others


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
    report, scores = window.report, window.report.features
    known = [(score, _standing(score, trigger)) for score in scores]
    told = [found for _, found in known if found is not None]
    place = {column: number for number, column in enumerate(first or ())}
    last = len(place)
    # Backwards by strength; of two that are as strong, the one that comes first in the report.
    known.sort(key=lambda one: (place.get(one[0].column, last), 0.0 if one[1] is None else -one[1][0]))
    shown: dict[str, Shown] = {}
    rest: dict[str, float] = {}
    for score, _ in known:
        values = _values(score)
        label = label_of(score.column) if values and len(shown) < most else None
        if label is None or label in shown:
            _raise(rest, values)
        else:
            shown[label] = Shown(label=label, statistics=values)
    return Digest(
        seq=window.seq,
        measured_at=window.measured_at,
        rows=report.window_rows,
        compared=len(scores),
        moved=sum(moved for _, moved in told),
        unknown=len(scores) - len(told),
        evidence=max((share for share, _ in told), default=None),
        shown=tuple(shown.values()),
        rest=rest,
        beside={s.role.value: _values(s) for s in report.columns if s.role is not Role.FEATURE},
        joint=_joint(report.joint),
    )


def _standing(score: DriftScore, trigger: ConceptDriftTrigger) -> tuple[float, bool] | None:
    return standing(score, psi=trigger.psi, ks=trigger.ks, missing=trigger.missing, unseen=trigger.unseen)


def _joint(found: JointDrift | None) -> tuple[float, float] | None:
    return None if found is None or found.auc is None or found.low is None else (found.auc, found.low)


def _values(score: DriftScore) -> dict[str, float]:
    found = {name: score.statistics[name].value for name in STATISTICS if name in score.statistics}
    return {name: value for name, value in found.items() if value is not None and math.isfinite(value)}


def _raise(rest: dict[str, float], values: Mapping[str, float]) -> None:
    """Let `rest` have the larger value of each statistic."""
    for name, value in values.items():
        rest[name] = max(value, rest.get(name, value))


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
