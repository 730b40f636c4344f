"""An operation of the worker: compare a window of stored batches with a baseline."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa

from ct_daemon.drift.compare import compare as compare_profiles
from ct_daemon.drift.profile import Baseline, Profile
from ct_daemon.errors import ClusterError, SourceError
from ct_daemon.protocols import CompareRequest
from ct_daemon.scan.cluster import Cluster
from ct_daemon.scan.parts import ParquetPart
from ct_daemon.scan.profiles import HERE, Spread, profile_parts_like
from ct_daemon.scan.stored import save_baseline
from ct_daemon.types import DriftReport, JointDrift
from ct_daemon.workers.answers import answer_scores
from ct_daemon.workers.baselines import Baselines
from ct_daemon.workers.objects import disk_refused, read_columns
from ct_daemon.workers.sample import joint_drift

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparer:
    """Compares; keeps the baselines that it has read."""

    patience_s: float = 60.0
    """Longest wait for the next result of a cluster."""
    baselines: Baselines = field(default_factory=Baselines)

    def compare(self, request: CompareRequest) -> DriftReport:
        """Profile the rows of all objects together on the cells of the baseline, and compare.

        The objects are read one after the other, a column at a time, so a window may have any size. A column whose
        kind in some object is not the baseline's is reported as `kind_changed`; one that an object lacks is missing
        there. A cluster that does not deliver costs time and a warning: the window is then read here.

        Raises
        ------
        ArtifactError
            If the baseline is missing or altered.
        SourceError
            `object_unreadable` if stored rows can't be read.
        StateError
            `disk_refused` if the profile can't be written.
        """
        baseline = self.baselines.get(Path(request.baseline), request.baseline_digest)
        profile = self._profile(request, baseline)
        if request.profile_path is not None:
            path = Path(request.profile_path)
            try:
                save_baseline(Baseline(blocks=(profile,)), path)
            except OSError as error:
                raise disk_refused(path, error) from error
        report = compare_profiles(baseline, profile)
        return replace(
            report, columns=report.columns + answer_scores(request), joint=_jointly(request, baseline)
        )

    def _profile(self, request: CompareRequest, baseline: Profile) -> Profile:
        if request.cluster is not None:
            try:
                with Cluster(request.cluster, patience_s=self.patience_s) as cluster:
                    return _window(request, baseline, cluster)
            except (ClusterError, SourceError) as error:
                log.warning("the window is compared without the cluster: %s", error)
        return _window(request, baseline, HERE)


def _window(request: CompareRequest, baseline: Profile, spread: Spread) -> Profile:
    parts = [ParquetPart(Path(path)) for path in request.objects]
    try:
        return profile_parts_like(parts, baseline, request.watch, spread)
    except SourceError as error:
        if error.reason == "out_of_memory":
            raise MemoryError(str(error)) from error
        raise SourceError(
            f"stored rows can't be read ({error}); put the file back from a backup",
            reason="object_unreadable",
        ) from error


def _jointly(request: CompareRequest, baseline: Profile) -> JointDrift | None:
    """All columns together, where that was asked for; this needs the rows themselves."""
    if request.joint is None:
        return None
    watched = [name for name in baseline.columns if request.watch is None or name in request.watch]
    tables = [read_columns(Path(path), watched) for path in request.objects]
    try:
        window = pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        return JointDrift(reason="kind_changed")
    return joint_drift(request, window, watched)
