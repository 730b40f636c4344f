"""What a trainer logs while it fits, as lines of JSON in the run's folder. They stay when the work folder goes.

A line is ``{"at": "2026-...", "step": "train", "name": "loss", "value": 0.3, "iteration": 7}``; the step is train or
finish, the iteration may be null.
"""

from __future__ import annotations

import json
import math
import os
from datetime import UTC, datetime
from pathlib import Path

from ct_daemon.errors import TrainingError
from ct_daemon.folders import METRICS

MAX_BYTES = 16 << 20
"""A longer file takes no more lines."""
MAX_NAME = 200


class MetricsLog:
    """Appends metrics of one step.

    Parameters
    ----------
    folder : Path or None
        The run's folder; None checks metrics and keeps nothing.
    step : str
        ``train`` or ``finish``.
    """

    def __init__(self, folder: Path | None, step: str) -> None:
        self._path, self._step = folder and folder / METRICS, step
        self.refused: TrainingError | None = None
        """The first metric that was none: the step fails for it, whoever swallowed the error."""

    def add(self, name: str, value: float, iteration: int | None = None) -> None:
        """One value.

        Raises
        ------
        TrainingError
            `nan_metric` if it is no finite number; `bad_metric` if it is no number, or has no usable name.
        """
        try:
            line = _line(self._step, name, value, iteration)
        except TrainingError as error:
            self.refused = self.refused or error
            raise
        if self._path is None:
            return
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        handle = os.open(self._path, flags, 0o600)
        try:
            if os.fstat(handle).st_size + len(line) <= MAX_BYTES:
                os.write(handle, line)
        finally:
            os.close(handle)


def _line(step: str, name: object, value: object, iteration: object) -> bytes:
    if not (isinstance(name, str) and 0 < len(name) <= MAX_NAME and name.isprintable()):
        raise TrainingError(
            f"{name!r} is no name for a metric; give it 1 to {MAX_NAME} printable characters",
            reason="bad_metric",
        )
    try:
        number = float(value)  # type: ignore[arg-type]
        at = None if iteration is None else int(iteration)  # type: ignore[call-overload]
    except (TypeError, ValueError) as error:
        raise TrainingError(
            f"metric {name!r}: {value!r} at {iteration!r} is no number; log numbers", reason="bad_metric"
        ) from error
    if not math.isfinite(number):
        raise TrainingError(
            f"metric {name!r} is {number}: the training has come to nothing; look at the data and the learning rate",
            reason="nan_metric",
        )
    document = {
        "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "step": step,
        "name": name,
        "value": number,
        "iteration": at,
    }
    return json.dumps(document, ensure_ascii=False).encode() + b"\n"
