"""How well predictions fit labels: losses of rows, and a metric with its interval. Pure; arrays in, values out.

A class is its *name*: text. Booleans are named ``true`` and ``false``, whole numbers by their digits (``1`` and
``1.0`` are the same class), other numbers by Python's shortest spelling, text by itself. So a label that came as
text in one file and as a number in another is the same label.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ct_daemon.errors import TrainingError
from ct_daemon.evaluation.intervals import Z95, wilson
from ct_daemon.types import Quality, Task


def class_name(value: object) -> str | None:
    """The name of a class (see above); None for a missing value (None, NaN, empty text).

    Examples
    --------
    >>> [class_name(value) for value in (True, 1, 1.0, 0.5, "1", float("nan"), "")]
    ['true', '1', '1', '0.5', '1', None, None]
    """
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float | np.floating):
        number = float(value)
        if math.isnan(number):
            return None
        return str(int(number)) if number.is_integer() else repr(number)
    return None if value is None else (str(value) or None)


def class_names(values: Iterable[object]) -> NDArray[np.object_]:
    """The names of many, an object array of text and None."""
    values = list(values)
    names = np.empty(len(values), dtype=object)
    names[:] = [class_name(value) for value in values]
    return names


def row_losses(
    task: Task, y_true: ArrayLike, y_pred: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What each row's prediction costs.

    Parameters
    ----------
    task : Task
    y_true, y_pred : array of shape (n,)
        Labels without gaps, and predictions.

    Returns
    -------
    errors, squared : float64 arrays of shape (n,)
        Classification: 0 where the class is right, else 1, in both. Regression: ``|y - p|`` and ``(y - p)²``.

    Raises
    ------
    TrainingError
        `nan_prediction` if a prediction is missing or not finite, or a squared error too large for a number.
    """
    if task is Task.CLASSIFICATION:
        predicted = class_names(np.asarray(y_pred, dtype=object))
        _refuse(int(sum(name is None for name in predicted)), len(predicted))
        errors = np.asarray(class_names(np.asarray(y_true, dtype=object)) != predicted, dtype=np.float64)
        return errors, errors
    numbers = np.asarray(y_pred, dtype=np.float64)
    errors = np.abs(np.asarray(y_true, dtype=np.float64) - numbers)
    with np.errstate(over="ignore"):
        squared = errors * errors
    _refuse(int(np.count_nonzero(~np.isfinite(squared))), len(squared))
    return errors, squared


def quality(metric: str, y_true: ArrayLike, y_pred: ArrayLike) -> Quality:
    """A metric over rows with an interval that holds the true value 95 times in 100 (rows independent).

    Parameters
    ----------
    metric : {"accuracy", "mae", "rmse"}
    y_true, y_pred : array of shape (n,), n ≥ 2
        Labels without gaps, and predictions.

    Returns
    -------
    Quality
        accuracy: Wilson's score interval (Wilson 1927, JASA 22:209). mae: mean of ``|y - p|`` ± 1.96 standard
        errors of that mean, cut at 0. rmse: root of the mean of ``(y - p)²``; the interval is that of the mean
        squared error ± 1.96 standard errors, cut at 0, then the root of both ends.

    Raises
    ------
    TrainingError
        `nan_prediction` as `row_losses`; `too_few_rows`; `unknown_metric`.
    """
    if metric not in ("accuracy", "mae", "rmse"):
        raise TrainingError(
            f"no metric is called {metric!r}; set gate.metric to accuracy, mae or rmse",
            reason="unknown_metric",
        )
    task = Task.CLASSIFICATION if metric == "accuracy" else Task.REGRESSION
    errors, squared = row_losses(task, y_true, y_pred)
    n = len(errors)
    if n < 2:
        raise TrainingError(f"{metric} needs two labelled rows or more, not {n}", reason="too_few_rows")
    if metric == "accuracy":
        right = n - int(errors.sum())
        low, high = wilson(right, n)
        return Quality(metric=metric, value=right / n, rows=n, low=low, high=high)
    losses = errors if metric == "mae" else squared
    ends: list[Any] = [losses.mean(), *_mean_interval(losses)]
    if metric == "rmse":
        ends = [math.sqrt(end) for end in ends]
    value, low, high = (float(end) for end in ends)
    return Quality(metric=metric, value=value, rows=n, low=low, high=high)


def _mean_interval(losses: NDArray[np.float64]) -> tuple[float, float]:
    mean = float(losses.mean())
    half = Z95 * float(losses.std(ddof=1)) / math.sqrt(len(losses))
    return max(0.0, mean - half), mean + half


def _refuse(bad: int, rows: int) -> None:
    if bad:
        raise TrainingError(
            f"{bad} of {rows} predictions are missing or not finite numbers; look at the trainer's parameters "
            "and at extreme values in the features",
            reason="nan_prediction",
        )
