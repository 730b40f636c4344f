"""The trainer's program: ``python -m ct_daemon.workers.trainer SPEC RESULT``, one step of one run, then the end.

It reads a `TrainSpec` (JSON) and writes a `TrainResult` (JSON), or ``{"error": {"reason", "message"}}`` and exits
with 3. It writes below the spec's `workdir` only:

``candidate/``  verb `train`: a model fitted on the older part of the snapshot (`training.making`)
``version/``    verb `finish`: what `_finish` says
``own/``        for the user's code to write in

Metrics that are logged go to the spec's `run_folder`.
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
from numpy.typing import NDArray
from pydantic import ValidationError

from ct_daemon.artifacts import FORMAT, JUDGED, MODEL, load_candidate
from ct_daemon.codec import canonical, decode, encode, plain
from ct_daemon.dataset.frames import to_frame, to_rows
from ct_daemon.dataset.manifest import read_snapshot
from ct_daemon.dataset.snapshots import load_rows, split
from ct_daemon.errors import ContractError, CtDaemonError, TrainingError
from ct_daemon.manifests import write_durably, write_manifest
from ct_daemon.predictors.asking import AskedModel, Bounds
from ct_daemon.predictors.spec import KEY, SKOPS_SUFFIX, artifact_in
from ct_daemon.processes.first import DISK_FULL
from ct_daemon.protocols import TrainResult, TrainSpec
from ct_daemon.scan.profiles import new_baseline
from ct_daemon.scan.stored import save_baseline
from ct_daemon.scoring.predict import checked_answers
from ct_daemon.training.boosters import LIBRARIES, imported
from ct_daemon.training.data import Lesson
from ct_daemon.training.making import make
from ct_daemon.training.metrics import MetricsLog
from ct_daemon.types import ColumnKind, Snapshot, Task
from ct_daemon.workers.answers import save_answers
from ct_daemon.workers.judging import candidate_folder, features_of, predictor_of, target_of

GOLDEN_ROWS = 20
GOLDEN_TIME_S, GOLDEN_MEMORY_MB = 600.0, 1 << 20
"""For asking a model here; the runner's limits hold over all that a trainer does."""
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
    _fit_into(_fresh(candidate_folder(spec)), spec, snapshot, older)
    return TrainResult(verb="train", seconds=0.0, train_rows=older.num_rows, holdout_rows=newest.num_rows)


def _finish(spec: TrainSpec, snapshot: Snapshot, table: pa.Table) -> TrainResult:
    """Make the folder of the version, complete.

    ``model.skops`` or ``model/`` serves (refitted on all rows, or the candidate) · ``judged.skops`` or ``judged/``
    the candidate that passed the gate · ``baseline.json`` profiles of the rows that the model was fitted on ·
    ``target.json``, ``predictions.json`` the same of labels and answers (`answers`) · ``golden.json`` a few rows and
    what the model answers · ``version.json`` the manifest.
    """
    if spec.version is None:
        raise TrainingError("verb finish needs the number reserved for the version", reason="bad_spec")
    older, newest = (table, table) if spec.adopted else split(table, spec.holdout)
    fitted_on = table if spec.refit else older
    folder = _fresh(Path(spec.workdir) / "version")
    _take_candidate(spec, folder, JUDGED)
    if spec.refit:
        _fit_into(folder, spec, snapshot, table)
    else:
        _take_candidate(spec, folder, MODEL)
    features, predictor = features_of(spec, snapshot), predictor_of(spec, folder)
    bounds = Bounds(time_s=GOLDEN_TIME_S, memory_mb=GOLDEN_MEMORY_MB, scratch=Path(spec.workdir) / "asked")
    model = load_candidate(folder, predictor, spec.task, features, bounds)
    baseline = save_baseline(
        new_baseline(fitted_on, features, blocks=BASELINE_BLOCKS), folder / "baseline.json"
    )
    save_answers(
        folder,
        spec.task,
        fitted_on[snapshot.columns.target],
        _judged_answers(spec, features, newest, bounds),
        BASELINE_BLOCKS,
    )
    frame = to_frame(newest.slice(max(0, newest.num_rows - GOLDEN_ROWS)), features)
    answers = checked_answers(model, frame, spec.task, f"version {spec.version}")
    write_durably(
        folder / "golden.json", canonical({"rows": to_rows(frame), "predictions": answers.tolist()})
    )
    manifest = _manifest(spec, snapshot, fitted_on, features)
    manifest[KEY] = predictor.document()
    manifest["classes"] = _classes(spec, snapshot, fitted_on, model)
    digest = write_manifest(folder, manifest)
    return TrainResult(
        verb="finish",
        seconds=0.0,
        train_rows=fitted_on.num_rows,
        holdout_rows=newest.num_rows,
        digest=digest,
        baseline_digest=baseline,
    )


def _judged_answers(
    spec: TrainSpec, features: Mapping[str, ColumnKind], newest: pa.Table, bounds: Bounds
) -> NDArray[Any]:
    """What the candidate answers to the rows that it was judged on: what serves may have been refitted on them."""
    folder = candidate_folder(spec)
    candidate = load_candidate(folder, predictor_of(spec, folder), spec.task, features, bounds)
    return checked_answers(candidate, to_frame(newest, features), spec.task, "the candidate")


# --- their parts -----------------------------------------------------------------------------------------


def _fresh(folder: Path) -> Path:
    if folder.exists():  # left by a try that a crash cut short
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    return folder


def _take_candidate(spec: TrainSpec, folder: Path, name: str) -> None:
    """A copy of the candidate becomes `name` (``judged.skops``, or ``judged/``) in the folder of the version."""
    candidate = artifact_in(candidate_folder(spec), MODEL)
    if candidate.suffix == SKOPS_SUFFIX and candidate.parent == candidate_folder(spec):
        shutil.copyfile(candidate, folder / name)
        return
    target = folder / name.removesuffix(SKOPS_SUFFIX)
    shutil.copytree(candidate.parent, target)


def _fit_into(folder: Path, spec: TrainSpec, snapshot: Snapshot, rows: pa.Table) -> None:
    """Let the trainer make a model of these rows, in the folder."""
    target = target_of(spec, snapshot, rows)
    if spec.task is Task.CLASSIFICATION and len(np.unique(target.astype(str))) < 2:
        raise ContractError(
            f"all {len(target)} rows to train on have the same {snapshot.columns.target}; wait for others",
            reason="single_class",
        )
    features = features_of(spec, snapshot)
    lesson = Lesson(
        frame=to_frame(rows, features),
        target=target,
        target_name=snapshot.columns.target,
        features=features,
        task=spec.task,
        metric=spec.metric,
    )
    metrics = MetricsLog(None if spec.run_folder is None else Path(spec.run_folder), spec.verb)
    make(spec.trainer, lesson, folder, Path(spec.workdir) / "own", metrics)


def _classes(
    spec: TrainSpec,
    snapshot: Snapshot,
    fitted_on: pa.Table,
    model: Any,  # noqa: ANN401
) -> list[str] | None:
    """The classes that the model may answer, as it says itself, or else those that it has seen."""
    if spec.task is not Task.CLASSIFICATION:
        return None
    said = None if isinstance(model, AskedModel) else getattr(model, "classes_", None)
    seen = target_of(spec, snapshot, fitted_on) if said is None else said
    return [str(name) for name in np.unique(seen)]


def _manifest(
    spec: TrainSpec,
    snapshot: Snapshot,
    fitted_on: pa.Table,
    features: Mapping[str, ColumnKind],
) -> dict[str, Any]:
    """What ``version.json`` says besides the files, the classes and how the version is asked."""
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
        "quality": None if spec.quality is None else plain(spec.quality),
        "train_rows": fitted_on.num_rows,
        "refit": spec.refit,
        "trainer": {"adopted": True} if spec.adopted else plain(dict(spec.trainer)),
        "created_at": datetime.now(UTC).isoformat(),
        "libraries": {
            "python": platform.python_version(),
            **{module.__name__: module.__version__ for module in (np, pd, pa, sklearn, skops)},
            **_booster_library(spec),
        },
    }


def _booster_library(spec: TrainSpec) -> dict[str, str]:
    library = spec.trainer.get("sklearn", {}).get("estimator")
    return {library: str(imported(library).__version__)} if library in LIBRARIES else {}


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
