"""The trainer's program: ``python -m ct_daemon.workers.trainer SPEC RESULT``, one step of one run, then the end.

It reads a `TrainSpec` (JSON) and writes a `TrainResult` (JSON), or ``{"error": {"reason", "message"}}`` and exits
with 3. It writes below the spec's `workdir` only:

``candidate/model.skops``  verb `train`: fitted on the older part of the snapshot
``version/``               verb `finish`: what `_finish` says
"""

from __future__ import annotations

import json
import platform
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import sklearn
import skops
from pydantic import ValidationError

from ct_daemon.artifacts import FORMAT, JUDGED, MODEL, load_model, save_model
from ct_daemon.codec import canonical, decode, encode, plain
from ct_daemon.dataset.frames import to_frame, to_rows
from ct_daemon.dataset.manifest import read_snapshot
from ct_daemon.dataset.snapshots import load_rows, split
from ct_daemon.errors import ContractError, CtDaemonError, TrainingError
from ct_daemon.manifests import write_durably, write_manifest
from ct_daemon.processes.first import DISK_FULL
from ct_daemon.protocols import TrainResult, TrainSpec
from ct_daemon.scan.profiles import new_baseline, save_baseline
from ct_daemon.training.estimators import fit
from ct_daemon.types import ColumnKind, Snapshot, Task
from ct_daemon.workers.judging import candidate_path, features_of, target_of

GOLDEN_ROWS = 20
BASELINE_BLOCKS = 8
EXIT_ERROR = 3


def main(arguments: list[str]) -> int:
    """Run one spec; the exit code is 0 or `EXIT_ERROR`, and the result file is there in both cases."""
    spec_path, result_path = (Path(argument) for argument in arguments)
    try:
        text, code = encode(run(_read_spec(spec_path))), 0
    except Exception as error:
        known = _known(error)
        if known is None:
            raise
        text, code = known, EXIT_ERROR
    write_durably(result_path, text.encode())
    return code


def run(spec: TrainSpec) -> TrainResult:
    """Do what the spec says.

    Raises
    ------
    CtDaemonError
        With a reason for each way to fail: `too_few_rows`, `single_class`, `no_features`, `columns_missing`,
        `part_altered`, `contract_broken` speak of the data; `bad_parameters`, `fit_failed`, `nan_prediction` of
        the trainer; `digest_mismatch`, `file_missing`, `type_not_allowed` of stored files.
    """
    started = time.perf_counter()
    snapshot = read_snapshot(Path(spec.snapshot))
    table = load_rows(snapshot, Path(spec.state), spec.task, spec.contract.columns)
    verbs = {"train": _train, "finish": _finish}
    if spec.verb not in verbs:
        raise TrainingError(f"{spec.verb!r} is not train or finish", reason="bad_spec")
    result = verbs[spec.verb](spec, snapshot, table)
    return replace(result, seconds=time.perf_counter() - started)


# --- the verbs -------------------------------------------------------------------------------------------


def _train(spec: TrainSpec, snapshot: Snapshot, table: pa.Table) -> TrainResult:
    """Fit on the older part."""
    older, newest = split(table, spec.holdout)
    path = candidate_path(spec)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_model(_fitted(spec, snapshot, older), path)
    return TrainResult(verb="train", seconds=0.0, train_rows=older.num_rows, holdout_rows=newest.num_rows)


def _finish(spec: TrainSpec, snapshot: Snapshot, table: pa.Table) -> TrainResult:
    """Make the folder of the version, complete.

    ``model.skops`` serves (refitted on all rows, or the candidate) · ``judged.skops`` the candidate that passed the
    gate · ``baseline.json`` profiles of the rows that the model was fitted on · ``golden.json`` a few rows and what
    the model answers · ``version.json`` the manifest.
    """
    if spec.version is None:
        raise TrainingError("verb finish needs the number reserved for the version", reason="bad_spec")
    older, newest = split(table, spec.holdout)
    fitted_on = table if spec.refit else older
    candidate = candidate_path(spec)
    model = _fitted(spec, snapshot, table) if spec.refit else load_model(candidate)
    folder = Path(spec.workdir) / "version"
    if folder.exists():  # left by a try that a crash cut short
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    shutil.copyfile(candidate, folder / JUDGED)
    if spec.refit:
        save_model(model, folder / MODEL)
    else:
        shutil.copyfile(candidate, folder / MODEL)
    features = features_of(spec, snapshot)
    baseline = save_baseline(
        new_baseline(fitted_on, features, blocks=BASELINE_BLOCKS), folder / "baseline.json"
    )
    frame = to_frame(newest.slice(max(0, newest.num_rows - GOLDEN_ROWS)), features)
    golden = {"rows": to_rows(frame), "predictions": model.predict(frame).tolist()}
    write_durably(folder / "golden.json", canonical(golden))
    digest = write_manifest(folder, _manifest(spec, snapshot, fitted_on, features, model))
    return TrainResult(
        verb="finish",
        seconds=0.0,
        train_rows=fitted_on.num_rows,
        holdout_rows=newest.num_rows,
        digest=digest,
        baseline_digest=baseline,
    )


# --- their parts -----------------------------------------------------------------------------------------


def _fitted(spec: TrainSpec, snapshot: Snapshot, rows: pa.Table) -> Any:  # noqa: ANN401  (any estimator)
    target = target_of(spec, snapshot, rows)
    if spec.task is Task.CLASSIFICATION and len(np.unique(target.astype(str))) < 2:
        raise ContractError(
            f"all {len(target)} rows to train on have the same {snapshot.columns.target}; wait for others",
            reason="single_class",
        )
    features = features_of(spec, snapshot)
    options = spec.trainer.get("sklearn")
    if not isinstance(options, Mapping):
        raise TrainingError("the spec names no trainer that is known (sklearn)", reason="bad_trainer")
    return fit(options, spec.task, features, to_frame(rows, features), target)


def _manifest(
    spec: TrainSpec,
    snapshot: Snapshot,
    fitted_on: pa.Table,
    features: Mapping[str, ColumnKind],
    model: Any,  # noqa: ANN401
) -> dict[str, Any]:
    """What ``version.json`` says besides the files."""
    classification = spec.task is Task.CLASSIFICATION
    return {
        "format": FORMAT,
        "model": spec.model,
        "version": spec.version,
        "run_id": spec.run_id,
        "snapshot": snapshot.digest,
        "task": spec.task.value,
        "columns": plain(snapshot.columns),
        "features": {name: kind.value for name, kind in features.items()},
        "target": snapshot.columns.target,
        "classes": [str(name) for name in model.classes_] if classification else None,
        "quality": None if spec.quality is None else plain(spec.quality),
        "train_rows": fitted_on.num_rows,
        "refit": spec.refit,
        "trainer": plain(dict(spec.trainer)),
        "created_at": datetime.now(UTC).isoformat(),
        "libraries": {
            "python": platform.python_version(),
            **{module.__name__: module.__version__ for module in (np, pd, pa, sklearn, skops)},
        },
    }


def _read_spec(path: Path) -> TrainSpec:
    try:
        return decode(TrainSpec, path.read_bytes())
    except (OSError, ValidationError) as error:
        raise TrainingError(f"the spec {path} can't be read: {error}", reason="bad_spec") from error


def _known(error: Exception) -> str | None:
    """The error as it is reported; None for one that nobody thought of."""
    full = _full_disk(error)
    if full is not None:  # whatever was made of it on the way up
        return _error("disk_full", f"{full.filename or 'the disk'}: {full.strerror}")
    if isinstance(error, MemoryError):
        advice = "the trainer ran out of memory; raise training.limits.memory_mb or set training.window_rows"
        return _error("out_of_memory", advice)
    return _error(error.reason, str(error)) if isinstance(error, CtDaemonError) else None


def _full_disk(error: BaseException | None) -> OSError | None:
    """The error itself or what it came from, if that says that a disk is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            return error
        error = error.__cause__ or error.__context__
    return None


def _error(reason: str, message: str) -> str:
    return json.dumps({"error": {"reason": reason, "message": message}})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
