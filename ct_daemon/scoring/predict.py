"""Rows to predictions: versions loaded once and kept, predictions checked, and the file they rest in."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from ct_daemon.artifacts import LoadedVersion, load_version
from ct_daemon.dataset.frames import LARGEST, to_frame
from ct_daemon.errors import ArtifactError, CtDaemonError
from ct_daemon.predictors.asking import Bounds
from ct_daemon.protocols import VersionFiles
from ct_daemon.scan.read import write_table
from ct_daemon.types import Columns, Task

ROW_ID = "row_id"
PREDICTION = "prediction"
"""The columns of a prediction file, whatever the model's own row id column is called."""


class Scorer:
    """Predicts rows with published versions; keeps the last few loaded.

    A version is known by its manifest digest, and all its files are checked when it is loaded. The model then lies
    in memory, so that a file changed later can't reach the predictions.

    Parameters
    ----------
    capacity : int, ≥ 1
        Versions kept loaded: the models of one daemon share the worker.
    bounds : Bounds, optional
        For versions that are asked in a process of their own.
    """

    def __init__(self, capacity: int = 4, bounds: Bounds | None = None) -> None:
        self._capacity, self._bounds = capacity, bounds
        self._loaded: OrderedDict[str, LoadedVersion] = OrderedDict()

    def version(self, files: VersionFiles) -> LoadedVersion:
        """The version, loaded and verified.

        Raises
        ------
        ArtifactError
            If its files are missing, altered or refused.
        """
        loaded = self._loaded.get(files.digest) or load_version(files, bounds=self._bounds)
        self._loaded[files.digest] = loaded
        self._loaded.move_to_end(files.digest)
        while len(self._loaded) > self._capacity:
            self._loaded.popitem(last=False)
        return loaded

    def predict(self, files: VersionFiles, table: pa.Table) -> NDArray[Any]:
        """One prediction a row of the table, which must hold every feature of the version.

        Raises
        ------
        ArtifactError
            As `version` and `predict_frame`.
        ContractError
            If the table lacks a feature or holds one that can't be read.
        """
        loaded = self.version(files)
        return predict_frame(loaded, to_frame(table, loaded.features))


def predict_frame(loaded: LoadedVersion, frame: pd.DataFrame) -> NDArray[Any]:
    """What a version answers to a frame of its features.

    Returns
    -------
    array of shape (len(frame),)
        Class names, or numbers within ± `LARGEST`.

    Raises
    ------
    ArtifactError
        `scoring_failed` if the model raises or answers in another shape; `nan_prediction` if the answer has gaps.
        What an `AskedModel` says, where the version is asked in a process of its own.
    """
    return checked_answers(loaded.model, frame, loaded.task, f"version {loaded.version}")


def checked_answers(model: Any, frame: pd.DataFrame, task: Task, who: str) -> NDArray[Any]:  # noqa: ANN401
    """What a model answers, if it is usable; `who` names it in messages. Else as `predict_frame`."""
    frame = in_order(model, frame)
    try:
        predictions = np.asarray(model.predict(frame))
    except (MemoryError, CtDaemonError):
        raise
    except Exception as error:  # a model may raise anything
        raise ArtifactError(
            f"{who} can't predict these rows ({type(error).__name__}: {error}); roll back, or look at what is new in "
            "the data",
            reason="scoring_failed",
        ) from error
    if predictions.shape != (len(frame),):
        raise ArtifactError(
            f"{who} answered {len(frame)} rows in the shape {predictions.shape}; roll back",
            reason="scoring_failed",
        )
    gaps = _gaps(predictions, task, who)
    if gaps:
        raise ArtifactError(
            f"{who} gave {gaps} of {len(frame)} rows no usable prediction; look at extreme values in the features, "
            "or roll back",
            reason="nan_prediction",
        )
    return predictions


def in_order(model: Any, frame: pd.DataFrame) -> pd.DataFrame:  # noqa: ANN401
    """The columns that an estimator was fitted on, in its order; all of them where it does not tell.

    Raises
    ------
    ArtifactError
        `features_missing`.
    """
    names = getattr(model, "feature_names_in_", None)
    if names is None:
        return frame
    absent = [str(name) for name in names if name not in frame.columns]
    if absent:
        raise ArtifactError(
            f"the model was fitted on columns that are no features here: {', '.join(absent[:8])}; look at "
            "data.ignore and at the rows",
            reason="features_missing",
        )
    return frame[list(names)]


def _gaps(predictions: NDArray[Any], task: Task, who: str) -> int:
    if task is Task.CLASSIFICATION:
        return sum(value is None or value == "" or value != value for value in predictions.tolist())
    try:
        numbers = predictions.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ArtifactError(
            f"{who} gave answers that are no numbers ({error}); roll back", reason="scoring_failed"
        ) from error
    return int(np.count_nonzero(~(np.abs(numbers) <= LARGEST)))


def write_predictions(table: pa.Table, predictions: NDArray[Any], columns: Columns, path: Path) -> None:
    """Put predictions in place by row id, durably. The same again replaces the file by an equal one.

    Without a row id column, the position of a row in its file (from 0) is its id.
    """
    if columns.row_id is None:
        row_id: pa.Array | pa.ChunkedArray = pa.array(np.arange(table.num_rows, dtype=np.int64))
    else:
        row_id = table[columns.row_id]
    write_table(pa.table({ROW_ID: row_id, PREDICTION: pa.array(predictions)}), path)
