"""Candidate and champion on the same newest rows: an operation of the worker, beside what the trainer shares."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ct_daemon.artifacts import JUDGED, MODEL, load_candidate, load_version
from ct_daemon.dataset.frames import to_frame
from ct_daemon.dataset.manifest import read_snapshot
from ct_daemon.dataset.snapshots import SEQ, load_rows, split
from ct_daemon.errors import ArtifactError, ContractError
from ct_daemon.evaluation.metrics import quality
from ct_daemon.predictors.asking import AskedModel, Bounds
from ct_daemon.predictors.spec import Predictor, artifact_in, predictor_for
from ct_daemon.protocols import TrainResult, TrainSpec
from ct_daemon.scoring.predict import checked_answers
from ct_daemon.types import ColumnKind, Quality, Snapshot, Task

PROGRAM_GONE = "predictor_missing"
"""A champion whose own program is no longer there serves nobody and can't keep others from being made live."""
MIN_UNSEEN_ROWS = 30
"""Rows of the holdout that the champion has not seen, for it to be judged as it serves."""


def evaluate(spec: TrainSpec, bounds: Bounds | None = None) -> TrainResult:
    """Judge candidate and champion on the same newest rows, which the candidate has not seen.

    Models that are asked in a process of their own are asked within `bounds`.

    Raises
    ------
    CtDaemonError
        As the trainer's `run`, for data and stored files.
    """
    started = time.perf_counter()
    snapshot = read_snapshot(Path(spec.snapshot))
    table = load_rows(snapshot, Path(spec.state), spec.task, spec.contract.columns)
    older, holdout = (table.slice(0, 0), table) if spec.adopted else split(table, spec.holdout)
    bounds = bounds or Bounds()
    champion, note, rows = _judge_champion(spec, snapshot, holdout, bounds)
    folder, features = candidate_folder(spec), features_of(spec, snapshot)
    model = load_candidate(folder, predictor_of(spec, folder), spec.task, features, bounds)
    if spec.adopted:
        _check_names(model)
    answers = checked_answers(model, to_frame(rows, features), spec.task, "the candidate")
    candidate = quality(spec.metric, target_of(spec, snapshot, rows), answers)
    return TrainResult(
        verb="evaluate",
        seconds=time.perf_counter() - started,
        train_rows=older.num_rows,
        holdout_rows=rows.num_rows,
        candidate=candidate,
        champion=champion,
        champion_note=note,
    )


def _check_names(model: Any) -> None:  # noqa: ANN401  (any estimator)
    """An estimator made elsewhere must say which columns it wants: by order alone they would be mistaken."""
    if not isinstance(model, AskedModel) and getattr(model, "feature_names_in_", None) is None:
        raise ArtifactError(
            f"the {type(model).__name__} does not know the names of its columns; fit it on a data frame",
            reason="features_unnamed",
        )


def features_of(spec: TrainSpec, snapshot: Snapshot) -> dict[str, ColumnKind]:
    """Columns that are trained on, by name, in the order of their names: independent of how files order them."""
    left_out = (ColumnKind.EMPTY, ColumnKind.UNSUPPORTED)
    features = {
        name: kind
        for name, kind in sorted(spec.contract.columns.items())
        if name not in snapshot.columns.not_features and kind not in left_out
    }
    if not features:
        raise ContractError(
            "no column is left to train on besides target, row id, time and ignored ones; look at data.ignore",
            reason="no_features",
        )
    return features


def target_of(spec: TrainSpec, snapshot: Snapshot, rows: pa.Table) -> NDArray[Any]:
    kind = object if spec.task is Task.CLASSIFICATION else np.float64
    return np.asarray(rows[snapshot.columns.target].to_numpy(), dtype=kind)


def _judge_champion(
    spec: TrainSpec, snapshot: Snapshot, holdout: pa.Table, bounds: Bounds
) -> tuple[Quality | None, str, pa.Table]:
    """(quality of the champion, note, the rows on which to judge both).

    Where enough rows of the holdout came after the champion's last batch, it is judged as it serves, on those rows
    (`live`). Else it has been fitted on them and would win by memory: its own candidate, kept from before its
    refit, stands for it on the whole holdout (`before_refit`).
    """
    if spec.champion is None:
        return None, "", holdout
    unseen = holdout.slice(0, 0)
    if spec.champion_last_seq is not None:
        unseen = holdout.filter(pc.greater(holdout[SEQ], spec.champion_last_seq))
    is_live = unseen.num_rows >= MIN_UNSEEN_ROWS
    rows = unseen if is_live else holdout
    version = load_version(spec.champion, MODEL if is_live else JUDGED, bounds)
    try:
        answers = checked_answers(
            version.model, to_frame(rows, version.features), spec.task, f"version {version.version}"
        )
    except ContractError:  # made for other columns
        return None, "champion_can_not_score", holdout
    except ArtifactError as error:
        if error.reason != PROGRAM_GONE:
            raise
        return None, "champion_is_gone", holdout
    found = quality(spec.metric, target_of(spec, snapshot, rows), answers)
    return found, "live" if is_live else "before_refit", rows


def candidate_folder(spec: TrainSpec) -> Path:
    """Where the candidate of a run lies."""
    return Path(spec.workdir) / "candidate"


def predictor_of(spec: TrainSpec, folder: Path) -> Predictor:
    """How the model that the trainer has put into this folder is asked."""
    return predictor_for(spec.trainer, is_model_file=artifact_in(folder, MODEL).parent == folder)
