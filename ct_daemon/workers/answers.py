"""Target drift and prediction drift: the same comparison as of features, of what a version shall say and says.

A version holds two baselines beside that of its features. ``target.json``: the labels of the rows that it was fitted
on. ``predictions.json``: what its candidate answered to the rows that it was judged on, which it had not seen; the
candidate is the version itself, or what it was before it was refitted on all rows. (Of an adopted version: what it
answers to the reference rows.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from ct_daemon.dataset.frames import labels_of
from ct_daemon.drift.compare import compare as compare_profiles
from ct_daemon.drift.profile import Profile, uncounted_column
from ct_daemon.errors import CtDaemonError
from ct_daemon.manifests import read_manifest
from ct_daemon.protocols import CompareRequest, VersionFiles
from ct_daemon.scan.profiles import new_baseline, profile_like
from ct_daemon.scan.stored import load_baseline, save_baseline
from ct_daemon.scoring.predict import PREDICTION
from ct_daemon.types import PREDICTION_COLUMN, ColumnKind, DriftScore, Role, Task, free_name
from ct_daemon.workers.objects import read_columns

FILES = {Role.TARGET: "target.json", Role.PREDICTION: "predictions.json"}
"""In the folder of a version."""


def save_answers(folder: Path, task: Task, labels: pa.ChunkedArray, answers: Any, blocks: int) -> None:  # noqa: ANN401
    """Put both baselines into the folder of a version that is being made.

    Parameters
    ----------
    labels : pyarrow.ChunkedArray
        Of the rows that it was fitted on, in time order.
    answers : array of shape (rows,)
        To the rows that it was judged on, in time order.
    """
    predicted = labels_of(pa.chunked_array([pa.array(answers)]), task, PREDICTION)
    for role, column in ((Role.TARGET, labels), (Role.PREDICTION, predicted)):
        table = pa.table({role.value: column})
        save_baseline(new_baseline(table, {role.value: _kind(task)}, blocks=blocks), folder / FILES[role])


def answer_scores(request: CompareRequest) -> tuple[DriftScore, ...]:
    """Target and predictions of a window against the version's; none where the request names no version.

    The target has its own name, predictions are called `prediction` (with a number, if a feature or the target is
    called so). Only rows with a label, or with a prediction of this version, are compared. What can't be told has a
    reason: `labels_late` (labels come in files of their own, and no row of the window has one), `no_labels`,
    `not_scored` (the version answered no row), `not_in_baseline` (it was made by a release that did not keep this),
    or that of what went wrong with a file.
    """
    if request.version is None:
        return ()
    manifest = read_manifest(request.version)
    task, target = Task(manifest["task"]), str(manifest["target"])
    predicted = free_name(PREDICTION_COLUMN, [*manifest["features"], target])
    none_yet = "labels_late" if request.labels_later else "no_labels"
    asked: Sequence[tuple[Role, str, str, Callable[[], pa.ChunkedArray]]] = (
        (Role.TARGET, target, none_yet, lambda: _values(request.objects, target, task)),
        (Role.PREDICTION, predicted, "not_scored", lambda: _values(request.predictions, PREDICTION, task)),
    )
    return tuple(
        replace(_score(request.version, manifest, role, values, absent), column=name, role=role)
        for role, name, absent, values in asked
    )


def _kind(task: Task) -> ColumnKind:
    return ColumnKind.CATEGORICAL if task is Task.CLASSIFICATION else ColumnKind.NUMERIC


def _values(paths: Sequence[str], name: str, task: Task) -> pa.ChunkedArray:
    """What these files hold in a column, in the form in which labels are compared, without what is missing."""
    found = [pa.chunked_array([], pa.string() if task is Task.CLASSIFICATION else pa.float64())]
    for path in paths:
        table = read_columns(Path(path), [name])
        if name in table.column_names:
            found.append(labels_of(table[name], task, name))
    return pa.chunked_array([chunk for column in found for chunk in column.chunks], found[0].type).drop_null()


def _score(
    version: VersionFiles,
    manifest: Mapping[str, Any],
    role: Role,
    values: Callable[[], pa.ChunkedArray],
    absent: str,
) -> DriftScore:
    """One of both; `absent` says why there may be no values."""
    kind = _kind(Task(manifest["task"]))
    if FILES[role] not in manifest["files"]:
        return _unknown(role, kind, "not_in_baseline")
    try:
        baseline = load_baseline(Path(version.path) / FILES[role], manifest["files"][FILES[role]]["sha256"])
        table = pa.table({role.value: values()})
    except CtDaemonError as error:  # the features can be told all the same
        return _unknown(role, kind, error.reason)
    if not table.num_rows:
        return _unknown(role, kind, absent)
    return compare_profiles(baseline.merge(), profile_like(table, baseline)).columns[0]


def _unknown(role: Role, kind: ColumnKind, reason: str) -> DriftScore:
    nothing = Profile(rows=0, columns={})
    asked = Profile(rows=0, columns={role.value: uncounted_column(kind, reason)})
    return compare_profiles(nothing, asked).columns[0]
