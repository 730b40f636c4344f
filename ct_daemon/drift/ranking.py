"""Which columns of a drift report moved most: the order in which a person should look at them.

Nothing here needs numpy, so that the daemon's own process can rank what a worker has measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ct_daemon.types import ColumnKind, DriftReport, DriftScore, Statistic

_SQUARES = ("psi", "chi_square")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """One column with what speaks for its having moved."""

    column: str
    kind: ColumnKind
    by: str
    """The statistic that speaks loudest."""
    evidence: float
    """It, as a multiple of what samples of this size reach by chance once in a thousand; above 1 is more than
    chance. Of PSI and chi-square the root, so that all grow alike with the size of a change."""
    effect: float
    """Share of the rows that changed place: the larger of the total variation and the change of the missing share; 0
    to 1."""
    direction: str | None
    """`up`, `down`, `wider`, `narrower`; a column that went missing is `missing`, one with unseen categories
    `unseen`."""
    cells: tuple[tuple[str, float], ...]
    """The cells that moved most, with the change of their share."""


def ranked(report: DriftReport) -> tuple[Ranked, ...]:
    """The columns of a report of which something can be told, strongest evidence first.

    The order is by `evidence`, of two that are as strong by `effect`, then by name. Reports of releases that did not
    record critical values are ordered by effect, PSI and KS alone.
    """
    found = [one for score in report.columns if (one := _ranked(score)) is not None]
    return tuple(sorted(found, key=lambda one: (-one.evidence, -one.effect, one.column)))


def change_of(name: str, statistic: Statistic) -> float | None:
    """What is held against the critical value: of `missing` the size of the change, of the others the value, of KS
    less its error; None where that is not known or not finite."""
    if name == "missing":
        size = None if statistic.effect is None else abs(statistic.effect)
    else:
        size = statistic.value
    if size is None or not math.isfinite(size):
        return None
    return max(size - (statistic.error or 0.0), 0.0) if name == "ks" else size


def _ranked(score: DriftScore) -> Ranked | None:
    weights = {
        name: _multiple(name, change, statistic.critical)
        for name, statistic in score.statistics.items()
        if (change := change_of(name, statistic)) is not None
    }
    if not weights:
        return None
    by = max(weights, key=lambda name: weights[name])
    return Ranked(
        column=score.column,
        kind=score.kind,
        by=by,
        evidence=weights[by],
        effect=_effect(score),
        direction=by if by in ("missing", "unseen") and weights[by] > 1 else score.direction,
        cells=score.moved,
    )


def _multiple(name: str, change: float, critical: float | None) -> float:
    """0 without a critical value. PSI and chi-square grow with the square of a change: their roots are compared."""
    if critical is None or critical <= 0:
        return 0.0
    return math.sqrt(change / critical) if name in _SQUARES else change / critical


def _effect(score: DriftScore) -> float:
    sizes = (
        change_of(name, score.statistics[name])
        for name in ("total_variation", "missing")
        if name in score.statistics
    )
    return min(max((size for size in sizes if size is not None), default=0.0), 1.0)
