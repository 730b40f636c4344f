"""An operation of the worker: does a version answer as it did when it was made?"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ct_daemon.artifacts import load_version
from ct_daemon.dataset.frames import to_frame
from ct_daemon.errors import ArtifactError
from ct_daemon.manifests import read_within
from ct_daemon.predictors.asking import Bounds
from ct_daemon.protocols import VerifyRequest, VerifyResult
from ct_daemon.scoring.predict import predict_frame
from ct_daemon.types import Task

RELATIVE_ERROR = 1e-9
"""Golden rows: numbers may differ by this share, for sums taken in another order on another machine."""


def verify(request: VerifyRequest, bounds: Bounds | None = None) -> VerifyResult:
    """Load a version from its files and predict its golden rows again."""
    try:
        loaded = load_version(request.version, bounds=bounds)
        golden = json.loads(read_within(Path(request.version.path), "golden.json"))
        answers = predict_frame(loaded, to_frame(pa.Table.from_pylist(golden["rows"]), loaded.features))
    except ArtifactError as error:
        return VerifyResult(rows=0, reason=error.reason, detail=str(error))
    differ = int(np.count_nonzero(~_same(np.asarray(golden["predictions"]), answers, loaded.task)))
    if differ == 0:
        return VerifyResult(rows=len(answers))
    return VerifyResult(
        rows=len(answers),
        reason="golden_rows_differ",
        detail=f"{differ} of {len(answers)} golden rows of version {request.version.version} get another answer than "
        "when it was made; are the libraries the same as in its manifest?",
    )


def _same(recorded: NDArray[np.generic], answers: NDArray[np.generic], task: Task) -> NDArray[np.bool_]:
    """Row by row: the same class, or the same number but for rounding."""
    if task is Task.CLASSIFICATION:
        return np.asarray(recorded.astype(str) == answers.astype(str))
    return np.isclose(
        recorded.astype(np.float64), answers.astype(np.float64), rtol=RELATIVE_ERROR, atol=1e-12
    )
