"""Candidate and champion on the same newest rows: an operation of the worker, beside what the trainer shares."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ct_daemon.artifacts import JUDGED, MODEL, load_model, load_version
from ct_daemon.dataset.frames import to_frame
from ct_daemon.dataset.manifest import read_snapshot
from ct_daemon.dataset.snapshots import SEQ, load_rows, split
from ct_daemon.errors import ContractError
from ct_daemon.evaluation.metrics import quality
from ct_daemon.protocols import TrainResult, TrainSpec
from ct_daemon.types import ColumnKind, Quality, Snapshot, Task

MIN_UNSEEN_ROWS = 30
"""Rows of the holdout that the champion has not seen, for it to be judged as it serves."""


def evaluate(spec: TrainSpec) -> TrainResult:
    """Judge candidate and champion on the same newest rows, which the candidate has not seen.

    Raises
    ------
    CtDaemonError
        As the trainer's `run`, for data and stored files.
    """
    started = time.perf_counter()
    snapshot = read_snapshot(Path(spec.snapshot))
    table = load_rows(snapshot, Path(spec.state), spec.task, spec.contract.columns)
    older, holdout = split(table, spec.holdout)
    champion, note, rows = _judge_champion(spec, snapshot, holdout)
    model = load_model(candidate_path(spec))
    candidate = _judge(spec, snapshot, rows, model.predict(to_frame(rows, features_of(spec, snapshot))))
    return TrainResult(
        verb="evaluate",
        seconds=time.perf_counter() - started,
        train_rows=older.num_rows,
        holdout_rows=rows.num_rows,
        candidate=candidate,
        champion=champion,
        champion_note=note,
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
    spec: TrainSpec, snapshot: Snapshot, holdout: pa.Table
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
    version = load_version(spec.champion, MODEL if is_live else JUDGED)
    try:
        frame = to_frame(rows, version.features)
    except ContractError:  # made for other columns
        return None, "champion_can_not_score", holdout
    found = _judge(spec, snapshot, rows, version.model.predict(frame))
    return found, "live" if is_live else "before_refit", rows


def _judge(spec: TrainSpec, snapshot: Snapshot, rows: pa.Table, predictions: NDArray[Any]) -> Quality:
    return quality(spec.metric, target_of(spec, snapshot, rows), predictions)


def candidate_path(spec: TrainSpec) -> Path:
    return Path(spec.workdir) / "candidate" / MODEL
