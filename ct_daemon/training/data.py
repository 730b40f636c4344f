"""What a training function of the user's gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from numpy.typing import NDArray

from ct_daemon.training.metrics import MetricsLog
from ct_daemon.types import ColumnKind, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What there is to learn from, and how it will be judged."""

    frame: pd.DataFrame
    target: NDArray[Any]
    target_name: str
    features: Mapping[str, ColumnKind]
    task: Task
    metric: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingData:
    """The rows to train on and what the settings say.

    Rows are labelled, sorted by time (where a time column is configured), the oldest first. Rows that the candidate
    is judged on are not among them.

    Examples
    --------
    >>> def train(data: TrainingData):                                             # doctest: +SKIP
    ...     model = LogisticRegression(**data.parameters).fit(data.features, data.target)
    ...     data.log("loss", log_loss(data.target, model.predict_proba(data.features)))
    ...     return model
    """

    features: pd.DataFrame
    """Columns by name: float64 with NaN for missing (booleans 0 and 1, times seconds since 1970 UTC), or text with
    ``(missing)``. The model is asked with frames of the same form."""
    target: NDArray[Any]
    """Shape (n,): class names as text, or float64. No gaps."""
    kinds: Mapping[str, str]
    """Of each feature: numeric, boolean, datetime or categorical."""
    task: Task
    """``classification`` or ``regression``; equal to that text."""
    metric: str
    """What the gate will judge by: accuracy, mae or rmse."""
    parameters: Mapping[str, Any]
    """`training.python.parameters` as they are."""
    seed: int
    workdir: Path
    """An empty folder to write in. It goes when the run ends."""
    metrics: MetricsLog = field(repr=False)

    def log(self, name: str, value: float, step: int | None = None) -> None:
        """Log a metric: it is kept with the run.

        Parameters
        ----------
        name : str
            Such as ``loss``.
        value : float
            Finite.
        step : int, optional
            Epoch or iteration.

        Raises
        ------
        TrainingError
            `nan_metric` if `value` is not finite, `bad_metric` if it is no number. The run then fails for it.
        """
        self.metrics.add(name, value, step)
