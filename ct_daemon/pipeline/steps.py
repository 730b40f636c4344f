"""What a run does in each state. Every step may be done twice: it is named by the run and by content.

A step does its side effect and returns a `Move`: the state that follows and what was found out. The executor
records the move in one transaction (with what else must be recorded together: `Move.record`).
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from ct_daemon.codec import plain
from ct_daemon.config import ModelSettings
from ct_daemon.dataset.manifest import make_snapshot, write_snapshot
from ct_daemon.errors import DeployError, TrainingError
from ct_daemon.evaluation.gate import judge
from ct_daemon.failpoints import failpoint
from ct_daemon.folders import StateFolder
from ct_daemon.manifests import check_folder, publish
from ct_daemon.pipeline.states import RunState
from ct_daemon.protocols import (
    DeployTarget,
    TrainerRunner,
    TrainResult,
    TrainSpec,
    ValidateRequest,
    VerifyRequest,
    VersionFiles,
    Worker,
)
from ct_daemon.store.store import Store
from ct_daemon.types import ColumnKind, Contract, Deployment, DeploymentState, ModelVersion, Quality, Run

DATA_REASONS = frozenset(
    {"too_few_rows", "single_class", "no_features", "contract_broken", "columns_missing"}
)
"""Reasons of a trainer that speak of the data, not of a fault: the run is rejected, not failed."""


CHAMPION_NOTES = {
    "before_refit": "the champion has seen these rows, so its candidate from before its refit stood for it",
    "champion_can_not_score": "the champion can't score these rows: their columns are not its own",
}
"""How the champion was judged, where that is not simply as it serves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """All that the steps of one model's runs work with."""

    model: str
    settings: ModelSettings
    folders: StateFolder
    store: Store
    worker: Worker
    trainer: TrainerRunner
    target: DeployTarget
    clock: Callable[[], datetime]
    deploying: threading.RLock = field(default_factory=threading.RLock)
    """Held while the target is switched, by a run or by a rollback."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """Where the run goes next and what is recorded with it, in the same transaction."""

    to: RunState
    reason: str | None = None
    detail: str = ""
    results: Mapping[str, Any] = field(default_factory=dict)
    snapshot: str | None = None
    candidate: int | None = None
    record: Callable[[Connection], object] = lambda tx: None
    failpoint: str | None = None
    """Passed right after the move is recorded."""


def snapshotting(shop: Workshop, run: Run) -> Move:
    """Write down which stored batches the run is made of."""
    training = shop.settings.training
    with shop.store.read() as tx:
        parts = shop.store.batches.training_parts(tx, shop.model, training.window_rows)
    if not parts:
        return Move(to=RunState.FAILED, reason="no_data", detail="no batch of rows has been accepted yet")
    snapshot = make_snapshot(
        model=shop.model, columns=shop.settings.data.columns, window_rows=training.window_rows, parts=parts
    )
    write_snapshot(snapshot, shop.folders.snapshot(snapshot.digest))
    failpoint("snapshot.written")
    rows = sum(part.rows for part in parts)
    return Move(
        to=RunState.VALIDATING,
        snapshot=snapshot.digest,
        results={"last_seq": snapshot.last_seq, "snapshot": {"parts": len(parts), "rows": rows}},
        record=lambda tx: shop.store.versions.snapshot_add(tx, snapshot, rows),
        failpoint="snapshot.recorded",
    )


def validating(shop: Workshop, run: Run) -> Move:
    """Look at the snapshot as a whole; the first one fixes the model's contract."""
    with shop.store.read() as tx:
        contract = shop.store.models.state(tx, shop.model).contract
    found = shop.worker.validate(
        ValidateRequest(
            snapshot=str(shop.folders.snapshot(_snapshot(run))),
            state=str(shop.folders.root),
            task=shop.settings.data.task,
            min_rows=shop.settings.training.min_rows,
            contract=contract,
        )
    )
    results = {"validated": {"rows": found.rows, "labelled_rows": found.labelled_rows}}
    if found.reason is not None:
        return Move(to=RunState.REJECTED, reason=found.reason, detail=found.detail, results=results)
    results["contract"] = plain(found.contract)
    return Move(
        to=RunState.TRAINING,
        results=results,
        record=lambda tx: shop.store.models.set_contract(tx, shop.model, found.contract),
        failpoint="validated.recorded",
    )


def training(shop: Workshop, run: Run) -> Move:
    """Fit the candidate in a child process."""
    work = shop.folders.work(run.id)
    if work.exists():
        shutil.rmtree(work)
    work.mkdir(parents=True, mode=0o700)
    result = _train(shop, run, "train")
    failpoint("trained")
    return Move(to=RunState.EVALUATING, results={"train": _summary(result)}, failpoint="trained.recorded")


def evaluating(shop: Workshop, run: Run) -> Move:
    """Judge candidate and champion on the same newest rows; the gate speaks."""
    gate = shop.settings.gate
    result = shop.worker.evaluate(_spec(shop, run, "evaluate"))
    if result.candidate is None:
        raise TrainingError("the evaluation brought no quality of the candidate", reason="bad_result")
    verdict = judge(result.candidate, result.champion, floor=gate.floor, margin=gate.margin)
    failpoint("evaluated")
    results = {
        "evaluate": _summary(result) | {"champion_note": result.champion_note},
        "gate": plain(verdict),
    }
    note = CHAMPION_NOTES.get(result.champion_note)
    detail = verdict.detail if note is None else f"{verdict.detail}; {note}"
    if not verdict.passed:
        return Move(to=RunState.REJECTED, reason=verdict.reason, detail=detail, results=results)
    return Move(to=RunState.REGISTERING, detail=detail, results=results, failpoint="evaluated.recorded")


def registering(shop: Workshop, run: Run) -> Move:
    """Complete the version (refit, baseline, golden rows) and publish it whole."""
    with shop.store.write() as tx:
        number = shop.store.versions.reserve(tx, shop.model, run.id)
    failpoint("version.reserved")
    place = shop.folders.version(shop.model, number)
    results: dict[str, Any] = {}
    if not place.exists():
        result = _train(shop, run, "finish", version=number)
        results["finish"] = _summary(result)
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    publish(shop.folders.work(run.id) / "version", place)  # also after a crash: it syncs what is in place
    document, digest = check_folder(place)
    version = ModelVersion(
        model=shop.model,
        version=number,
        run_id=run.id,
        path=shop.folders.relative(place),
        digest=digest,
        baseline_digest=document["files"]["baseline.json"]["sha256"],
        snapshot=_snapshot(run),
        created_at=shop.clock(),
        quality=_gate_quality(run),
    )
    return Move(
        to=RunState.DEPLOYING,
        candidate=number,
        results=results,
        record=lambda tx: shop.store.versions.publish(tx, version),
        failpoint="version.recorded",
    )


def deploying(shop: Workshop, run: Run) -> Move:
    """Try the version, record the deployment, then switch the target."""
    version, files = _candidate(shop, run)
    tried = shop.worker.verify(VerifyRequest(version=files))
    if tried.reason is not None:
        raise DeployError(f"version {version.version} is not made live: {tried.detail}", reason=tried.reason)
    with shop.deploying:
        with shop.store.write() as tx:
            deployment = shop.store.deployments.add(
                tx,
                model=shop.model,
                version=version.version,
                baseline_digest=version.baseline_digest,
                kind="deploy",
                at=shop.clock(),
                decided_at=run.decided_at,
                run_id=run.id,
            )
        failpoint("deployment.recorded")
        shop.target.deploy(shop.model, files)
    # Rows that the version was trained on are its baseline; its first window begins after them.
    return Move(
        to=RunState.VERIFYING,
        results={"deployment": deployment.seq},
        record=lambda tx: shop.store.models.set_window_from(tx, shop.model, int(run.results["last_seq"])),
        failpoint="deployed.recorded",
    )


def verifying(shop: Workshop, run: Run) -> Move:
    """Read the live version back from the target and try it; put the one before back if it fails."""
    version, files = _candidate(shop, run)
    deployment = int(run.results["deployment"])
    fault = _fault_of_live(shop, files)
    failpoint("verified")
    if fault is None:
        return Move(
            to=RunState.SUCCEEDED,
            detail=f"version {version.version} is live",
            record=lambda tx: shop.store.deployments.set_state(tx, deployment, DeploymentState.LIVE),
            failpoint="verified.recorded",
        )
    with shop.store.read() as tx:
        previous = next(
            (
                d.previous
                for d in shop.store.deployments.list(tx, shop.model, limit=50)
                if d.seq == deployment
            ),
            None,
        )
        before = None if previous is None else shop.store.versions.get(tx, shop.model, previous)
    if before is not None:
        shop.target.deploy(shop.model, files_of(shop.folders, before))
    return Move(
        to=RunState.ROLLED_BACK,
        reason=fault[0],
        detail=fault[1],
        record=lambda tx: shop.store.deployments.set_state(tx, deployment, DeploymentState.UNDONE),
    )


STEPS: Mapping[RunState, Callable[[Workshop, Run], Move]] = {
    RunState.SNAPSHOTTING: snapshotting,
    RunState.VALIDATING: validating,
    RunState.TRAINING: training,
    RunState.EVALUATING: evaluating,
    RunState.REGISTERING: registering,
    RunState.DEPLOYING: deploying,
    RunState.VERIFYING: verifying,
}


def files_of(folders: StateFolder, version: ModelVersion) -> VersionFiles:
    """Where a version lies, for another process."""
    return VersionFiles(version=version.version, path=str(folders.root / version.path), digest=version.digest)


def champion_of(
    store: Store, tx: Connection, model: str
) -> tuple[Deployment, ModelVersion] | tuple[None, None]:
    """The live deployment and its version, or nothing."""
    deployment = store.deployments.live(tx, model)
    if deployment is None:
        return None, None
    return deployment, store.versions.get(tx, model, deployment.version)


def _fault_of_live(shop: Workshop, files: VersionFiles) -> tuple[str, str] | None:
    try:
        live = shop.target.current(shop.model)
    except DeployError as error:
        return error.reason, str(error)
    if live is None or (live.version, live.digest) != (files.version, files.digest):
        return "other_version_live", f"the target shows {live}, not version {files.version}"
    tried = shop.worker.verify(VerifyRequest(version=files))
    return None if tried.reason is None else (tried.reason, tried.detail)


def _train(shop: Workshop, run: Run, verb: str, version: int | None = None) -> TrainResult:
    """Run one trainer process for this run."""
    limits = shop.settings.training.limits
    spec = _spec(shop, run, verb, version)
    return shop.trainer.run(spec, time_s=limits.time, memory_mb=limits.memory_mb, output_mb=limits.output_mb)


def _spec(shop: Workshop, run: Run, verb: str, version: int | None = None) -> TrainSpec:
    training = shop.settings.training
    champion, last_seq = _champion(shop)
    return TrainSpec(
        verb=verb,
        model=shop.model,
        run_id=run.id,
        snapshot=str(shop.folders.snapshot(_snapshot(run))),
        state=str(shop.folders.root),
        workdir=str(shop.folders.work(run.id)),
        task=shop.settings.data.task,
        contract=_contract(run),
        metric=shop.settings.metric,
        holdout=training.holdout,
        refit=training.refit,
        trainer={"sklearn": training.sklearn.model_dump(mode="json")},
        champion=champion,
        champion_last_seq=last_seq,
        version=version,
        quality=_gate_quality(run),
    )


def _champion(shop: Workshop) -> tuple[VersionFiles | None, int | None]:
    with shop.store.read() as tx:
        _, version = champion_of(shop.store, tx, shop.model)
        if version is None:
            return None, None
        snapshot = shop.store.versions.snapshot_get(tx, version.snapshot)
    return files_of(shop.folders, version), None if snapshot is None else snapshot.last_seq


def _candidate(shop: Workshop, run: Run) -> tuple[ModelVersion, VersionFiles]:
    if run.candidate is None:
        raise DeployError(f"run {run.id} has no version to deploy", reason="no_candidate")
    with shop.store.read() as tx:
        version = shop.store.versions.get(tx, shop.model, run.candidate)
    return version, files_of(shop.folders, version)


def _snapshot(run: Run) -> str:
    if run.snapshot is None:
        raise TrainingError(f"run {run.id} has no snapshot", reason="no_snapshot")
    return run.snapshot


def _contract(run: Run) -> Contract:
    found = run.results["contract"]
    return Contract(columns={name: ColumnKind(kind) for name, kind in found["columns"].items()})


def _gate_quality(run: Run) -> Quality | None:
    gate = run.results.get("gate")
    return None if gate is None else Quality(**gate["candidate"])


def _summary(result: TrainResult) -> dict[str, Any]:
    return {
        "seconds": round(result.seconds, 3),
        "train_rows": result.train_rows,
        "holdout_rows": result.holdout_rows,
    }


def remove_work(folders: StateFolder, run_id: str) -> None:
    """A finished run needs its work folder no more."""
    work: Path = folders.work(run_id)
    if work.exists():
        shutil.rmtree(work)
