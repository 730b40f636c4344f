"""Answers for a model that is asked in a process of its own: ``asked predict SPEC RESULT``.

This is where code of the user's runs when a version is asked: a function that predicts (`python`), or an estimator
made of types that the user has reviewed (`skops`). See `predictors.asking` for the other end.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ct_daemon.artifacts import load_model
from ct_daemon.dataset.frames import to_frame
from ct_daemon.errors import TrainingError
from ct_daemon.evaluation.metrics import class_names
from ct_daemon.importing import function_named, import_from
from ct_daemon.predictors.asking import PREDICTION
from ct_daemon.predictors.spec import KEY, Predictor, predictor_in
from ct_daemon.processes.become import NOT_STARTED_EXIT
from ct_daemon.scoring.predict import in_order
from ct_daemon.types import ColumnKind, Task


def main(verb: str, spec_path: str, result_path: str) -> int:
    """Answer one question. What goes wrong is printed; the exit code says that it did."""
    spec = json.loads(Path(spec_path).read_bytes())
    features = {name: ColumnKind(kind) for name, kind in spec["features"].items()}
    frame = to_frame(pq.read_table(spec["rows"]), features)
    try:
        answers = np.asarray(_answers(predictor_in({KEY: spec[KEY]}), Path(spec["artifact"]), frame))
    except TrainingError as error:
        if error.reason != "function_missing":
            raise
        sys.stderr.write(f"{error}\n")
        return NOT_STARTED_EXIT
    if answers.shape != (len(frame),):
        sys.stderr.write(f"{len(frame)} rows were answered in the shape {answers.shape}\n")
        return 1
    column = _column(answers, Task(spec["task"]))
    pq.write_table(pa.table({PREDICTION: column}), result_path)
    return 0


def _answers(predictor: Predictor, artifact: Path, frame: pd.DataFrame) -> Any:  # noqa: ANN401
    if predictor.path is not None:
        import_from(predictor.path)
    if predictor.function is not None:
        return function_named(predictor.function)(artifact, frame)
    model = load_model(artifact, predictor.trusted_types)
    return model.predict(in_order(model, frame))


def _column(answers: Any, task: Task) -> pa.Array:  # noqa: ANN401
    if task is Task.CLASSIFICATION:
        return pa.array(class_names(answers.tolist()), type=pa.string())
    return pa.array(answers.astype(np.float64))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
