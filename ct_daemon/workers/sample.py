"""Some of the rows that a version was fitted on, drawn once and kept, for what needs rows and not profiles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ct_daemon.artifacts import features_in
from ct_daemon.dataset.manifest import read_snapshot
from ct_daemon.dataset.snapshots import load_rows
from ct_daemon.errors import CtDaemonError
from ct_daemon.folders import make_folder
from ct_daemon.manifests import read_manifest
from ct_daemon.protocols import CompareRequest, JointRequest, VersionFiles
from ct_daemon.scan.read import write_table
from ct_daemon.types import JointDrift, Task
from ct_daemon.workers.joint import SEED, compare_jointly, sample_size, sampled
from ct_daemon.workers.objects import disk_refused


def joint_drift(request: CompareRequest, window: pa.Table, columns: list[str]) -> JointDrift | None:
    """Tell a window's rows from those that the version was fitted on, if the request asks for it.

    What can't be done has a reason, and the columns can be told all the same.

    Raises
    ------
    StateError
        `disk_refused`.
    """
    if request.joint is None or request.version is None:
        return None
    try:
        base = fitted_rows(request.version, request.joint)
    except OSError as error:
        raise disk_refused(Path(request.joint.sample), error) from error
    except CtDaemonError as error:
        return JointDrift(reason=error.reason)
    return compare_jointly(base, window, columns)


def fitted_rows(version: VersionFiles, request: JointRequest) -> pa.Table:
    """The features of the sample. One that is not there, or can't be read, is drawn anew: the same rows again.

    Raises
    ------
    CtDaemonError
        As `manifests.read_manifest`, `read_snapshot` and `load_rows`.
    OSError
        When the disk does not take it.
    """
    path = Path(request.sample)
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowException):
        manifest = read_manifest(version)
    features = features_in(manifest)
    rows = load_rows(
        read_snapshot(Path(request.snapshot)), Path(request.state), Task(manifest["task"]), features
    )
    # The rows to fit on come first, in time; the version may have been judged on those behind them.
    fitted = rows.slice(0, manifest["train_rows"]).select(list(features))
    sample = sampled(fitted, sample_size(len(features)), np.random.default_rng(SEED))
    make_folder(path.parent)
    write_table(sample, path)
    return sample
