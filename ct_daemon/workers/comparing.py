"""An operation of the worker: compare a window of stored batches with a baseline."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from ct_daemon.drift.compare import compare as compare_profiles
from ct_daemon.drift.profile import Baseline
from ct_daemon.errors import ContractError
from ct_daemon.protocols import CompareRequest
from ct_daemon.scan.profiles import profile_like
from ct_daemon.scan.stored import load_baseline, save_baseline
from ct_daemon.types import DriftReport
from ct_daemon.workers.answers import answer_scores
from ct_daemon.workers.objects import disk_refused, read_columns
from ct_daemon.workers.sample import joint_drift


def compare(request: CompareRequest) -> DriftReport:
    """Profile the rows of all objects together on the cells of the baseline, and compare.

    Behind the features come target and predictions (`answers`), and a classifier's answer where it is asked for
    (`joint`).

    Raises
    ------
    ArtifactError
        If the baseline is missing or altered.
    SourceError
        `object_unreadable` if stored rows can't be read.
    ContractError
        `contract_broken` if a column has types in the objects that don't fit together.
    StateError
        `disk_refused` if the profile can't be written.
    """
    baseline = load_baseline(Path(request.baseline), request.baseline_digest)
    whole = baseline.merge()
    watched = [name for name in whole.columns if request.watch is None or name in request.watch]
    table = _together([read_columns(Path(path), watched) for path in request.objects])
    profile = profile_like(table, baseline, request.watch)
    if request.profile_path is not None:
        path = Path(request.profile_path)
        try:
            save_baseline(Baseline(blocks=(profile,)), path)
        except OSError as error:
            raise disk_refused(path, error) from error
    report = compare_profiles(whole, profile)
    return replace(
        report,
        columns=report.columns + answer_scores(request),
        joint=joint_drift(request, table, watched),
    )


def _together(tables: list[pa.Table]) -> pa.Table:
    """One below the other; a column that one of them lacks is missing there."""
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowTypeError, pa.ArrowInvalid) as error:
        raise ContractError(
            f"the batches of the window don't agree on a column's type ({error}); list it under data.ignore"
        ) from error
