"""The gate: may a candidate go live? Pure, and light enough for the daemon (no numpy)."""

from __future__ import annotations

import math

from ct_daemon.errors import TrainingError
from ct_daemon.types import GateVerdict, Quality

SMALLER_IS_BETTER = frozenset({"mae", "rmse", "log_loss"})
"""Losses; every other metric is a score, where larger is better."""


def judge(candidate: Quality, champion: Quality | None, *, floor: float | None, margin: float) -> GateVerdict:
    """Hold the candidate against the floor and against the live version.

    Parameters
    ----------
    candidate, champion : Quality
        Judged by the same metric on the same rows; champion None if there is none to compare with.
    floor : float or None
        No candidate worse than this goes live, be it the first: a bound from below for scores, from above for
        losses.
    margin : float
        How much worse than the champion the candidate may be, in units of the metric, 0 or more.

    Returns
    -------
    GateVerdict
        `reason` is one of `not_a_number`, `below_floor`, `first_version`, `worse_than_champion`, `not_worse`, in
        this order of precedence. A candidate exactly on a bound passes (up to rounding: 1e-12 relative).

    Raises
    ------
    TrainingError
        `metric_mismatch` if the two were not judged by the same metric.
    """
    if champion is not None and champion.metric != candidate.metric:
        raise TrainingError(
            f"the candidate was judged by {candidate.metric}, the champion by {champion.metric}; "
            "evaluate both by gate.metric",
            reason="metric_mismatch",
        )

    def verdict(reason: str, detail: str, *, passed: bool) -> GateVerdict:
        return GateVerdict(
            passed=passed, reason=reason, detail=detail, candidate=candidate, champion=champion
        )

    found = f"candidate: {_say(candidate)}"
    if not all(math.isfinite(quality.value) for quality in (candidate, champion) if quality is not None):
        return verdict("not_a_number", f"{found}; a quality that is no number can't be judged", passed=False)
    if floor is not None and _worse(candidate.metric, candidate.value, floor):
        return verdict("below_floor", f"{found}; worse than the floor {floor:.6g}", passed=False)
    if champion is None:
        return verdict("first_version", f"{found}; there is no champion to compare with", passed=True)
    allowed = champion.value + (margin if candidate.metric in SMALLER_IS_BETTER else -margin)
    compared = f"{found}; champion: {_say(champion)}; the candidate needs {allowed:.6g} or better"
    if _worse(candidate.metric, candidate.value, allowed):
        return verdict("worse_than_champion", compared, passed=False)
    return verdict("not_worse", compared, passed=True)


def _worse(metric: str, value: float, bound: float) -> bool:
    """Beyond the bound; on it, up to rounding (0.9 - 0.01 is not quite 0.89), is not beyond."""
    if math.isclose(value, bound, rel_tol=1e-12, abs_tol=1e-12):
        return False
    return value > bound if metric in SMALLER_IS_BETTER else value < bound


def _say(quality: Quality) -> str:
    return (
        f"{quality.metric} {quality.value:.6g} on {quality.rows} rows "
        f"(95 % interval {quality.low:.6g} to {quality.high:.6g})"
    )
