"""How much worse the live version does on matured labels than when it was made. Pure, no numpy.

A drop counts when it reaches the user's threshold *and* exceeds what the two samples differ by through chance: the
difference less `Z999` standard errors, those of both sides added in squares (rows independent), is above zero. So
20 labels that happen to be wrong don't retrain a model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ct_daemon.evaluation.gate import SMALLER_IS_BETTER
from ct_daemon.evaluation.intervals import Z95, wilson
from ct_daemon.types import Outcome, Quality

Z999 = 3.090232306167813
"""99.9 % point of the normal distribution: one look in a thousand passes by chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """What the live version has lost; above 0 is worse.

    `relative` is the share of the reference (inf where that is 0), `noise` what chance alone reaches in one look of a
    thousand, in units of the metric.
    """

    absolute: float
    relative: float
    noise: float


def quality_of(metric: str, outcomes: Sequence[Outcome], reference: Quality | None = None) -> Quality | None:
    """The outcomes in a metric, with a 95 % interval; None without rows, or if sums can't tell this metric.

    accuracy: Wilson's interval. mae: mean ± 1.96 standard errors. rmse: sums don't tell how much squared errors
    spread; the spread per row, as a share of the mean, is taken from `reference`, or is that of normal errors.
    """
    rows = sum(outcome.rows for outcome in outcomes)
    if rows == 0:
        return None
    error = sum(outcome.error_sum for outcome in outcomes) / rows
    squared = sum(outcome.squared_sum for outcome in outcomes) / rows
    if metric == "accuracy":
        low, high = wilson(rows * (1 - error), rows)
        return Quality(metric=metric, value=1 - error, rows=rows, low=low, high=high)
    if metric == "mae":
        half = Z95 * math.sqrt(max(squared - error * error, 0.0) / max(rows - 1, 1))
        return Quality(metric=metric, value=error, rows=rows, low=max(0.0, error - half), high=error + half)
    if metric == "rmse":
        half = Z95 * _spread(reference) * squared / math.sqrt(rows)
        low, high = math.sqrt(max(0.0, squared - half)), math.sqrt(squared + half)
        return Quality(metric=metric, value=math.sqrt(squared), rows=rows, low=low, high=high)
    return None


def drop(reference: Quality, live: Quality) -> Drop:
    """How far the live quality is below the reference, both by the same metric."""
    absolute = reference.value - live.value
    if reference.metric in SMALLER_IS_BETTER:
        absolute = -absolute
    relative = absolute / abs(reference.value) if reference.value else math.copysign(math.inf, absolute)
    errors = [(quality.high - quality.low) / (2 * Z95) for quality in (reference, live)]
    return Drop(absolute=absolute, relative=relative, noise=Z999 * math.hypot(*errors))


def _spread(reference: Quality | None) -> float:
    """Standard deviation of a row's squared error over its mean."""
    if reference is None or reference.metric != "rmse" or reference.value <= 0:
        return math.sqrt(2.0)
    half = (reference.high**2 - reference.low**2) / 2
    return half / Z95 * math.sqrt(reference.rows) / reference.value**2
