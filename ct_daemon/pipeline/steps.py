"""What a run does in each state. Every step may be done twice: it is named by the run and by content.

A step does its side effect and returns a `Move`: the state that follows and what was found out. The executor
records the move in one transaction (with what else must be recorded together: `Move.record`).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import Connection

from ct_daemon.codec import plain
from ct_daemon.dataset.contract import refine
from ct_daemon.dataset.manifest import make_snapshot, write_snapshot
from ct_daemon.errors import DeployError, RegistryError, TrainingError
from ct_daemon.evaluation.gate import judge
from ct_daemon.failpoints import failpoint
from ct_daemon.folders import StateFolder, make_folder
from ct_daemon.manifests import check_folder, publish
from ct_daemon.pipeline.adopted import MIN_REFERENCE_ROWS, adopts, reference_parts, take_candidate
from ct_daemon.pipeline.run_logs import head_output, keep_output
from ct_daemon.pipeline.states import RunState
from ct_daemon.pipeline.workshop import Move, Workshop, champion_of, files_of
from ct_daemon.protocols import (
    TrainResult,
    TrainSpec,
    ValidateRequest,
    VerifyRequest,
    VersionFiles,
)
from ct_daemon.types import ADOPT, ColumnKind, Contract, DeploymentState, ModelVersion, Quality, Run

log = structlog.get_logger(__name__)

CHAMPION_NOTES = {
    "before_refit": "the champion has seen these rows, so its candidate from before its refit stood for it",
    "champion_can_not_score": "the champion can't score these rows: their columns are not its own",
    "champion_is_gone": "the champion can't score any rows: the program that it is asked by is gone",
}
"""How the champion was judged, where that is not simply as it serves."""


def snapshotting(shop: Workshop, run: Run) -> Move:
    """Write down which stored batches the run is made of."""
    window_rows = shop.settings.training.window_rows
    wish: dict[str, Any] = {}
    with shop.store.read() as tx:
        if adopts(run):
            window_rows = None
            (wish, parts) = reference_parts(shop, tx, run)
        else:
            parts = shop.store.batches.training_parts(tx, shop.model, window_rows)
    if not parts:
        return Move(to=RunState.FAILED, reason="no_data", detail="no batch of rows has been accepted yet")
    snapshot = make_snapshot(
        model=shop.model, columns=shop.settings.data.columns, window_rows=window_rows, parts=parts
    )
    write_snapshot(snapshot, shop.folders.snapshot(snapshot.digest))
    failpoint("snapshot.written")
    rows = sum(part.rows for part in parts)
    return Move(
        to=RunState.VALIDATING,
        snapshot=snapshot.digest,
        results={
            "last_seq": snapshot.last_seq,
            "snapshot": {"parts": len(parts), "rows": rows},
        }
        | ({ADOPT: wish} if wish else {}),
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
            min_rows=MIN_REFERENCE_ROWS if adopts(run) else shop.settings.training.min_rows,
            contract=contract,
        )
    )
    results = {"validated": {"rows": found.rows, "labelled_rows": found.labelled_rows}}
    if found.reason is not None:
        return Move(to=RunState.REJECTED, reason=found.reason, detail=found.detail, results=results)
    results["contract"] = plain(found.contract)

    def refined(tx: Connection) -> None:
        """Batches that came meanwhile may have told more of the contract."""
        known = shop.store.models.state(tx, shop.model).contract
        contract = found.contract if known is None else refine(known, found.contract)
        shop.store.models.set_contract(tx, shop.model, contract)

    return Move(to=RunState.TRAINING, results=results, record=refined, failpoint="validated.recorded")


def training(shop: Workshop, run: Run) -> Move:
    """Fit the candidate in a child process, or take the one that is adopted."""
    work = shop.folders.work(run.id)
    if work.exists():
        keep_output(shop.folders, run.id, "interrupted")
        shutil.rmtree(work)
    work.mkdir(parents=True, mode=0o700)
    results: dict[str, Any] = {"settings": _settings(shop)}
    if adopts(run):
        take_candidate(shop, run)
    else:
        results["train"] = _summary(_train(shop, run, "train"))
    failpoint("trained")
    return Move(to=RunState.EVALUATING, results=results, failpoint="trained.recorded")


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
        make_folder(place.parent)
    publish(shop.folders.work(run.id) / "version", place)  # also after a crash: it syncs what is in place
    document, digest = check_folder(place)
    if document.get("run_id") != run.id:
        raise RegistryError(
            f"{place} holds a version of another run; move it away, then start another run",
            reason="version_exists",
        )
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
            deployment = shop.store.deployments.of_run(tx, run.id)
            if deployment is None:
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
    return Move(to=RunState.VERIFYING, results={"deployment": deployment.seq}, failpoint="deployed.recorded")


def verifying(shop: Workshop, run: Run) -> Move:
    """Read the live version back from the target and try it."""
    version, files = _candidate(shop, run)
    deployment = int(run.results["deployment"])
    fault = _fault_of_live(shop, files)
    failpoint("verified")
    if fault is not None:
        return Move(to=RunState.ROLLED_BACK, reason=fault[0], detail=fault[1])

    def live(tx: Connection) -> None:
        shop.store.deployments.set_state(tx, deployment, DeploymentState.LIVE)
        # Rows that the version was trained on are its baseline; its first window begins after them.
        shop.store.models.set_window_from(tx, shop.model, int(run.results["last_seq"]))

    return Move(
        to=RunState.SUCCEEDED,
        detail=f"version {version.version} is live",
        record=live,
        failpoint="verified.recorded",
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
    keep_output(shop.folders, run.id, verb)  # of a try that a crash cut short
    head_output(shop.folders, run.id, verb, shop.clock())
    try:
        return shop.trainer.run(
            spec, time_s=limits.time, memory_mb=limits.memory_mb, output_mb=limits.output_mb
        )
    finally:
        keep_output(shop.folders, run.id, verb)


def _settings(shop: Workshop) -> dict[str, Any]:
    """What a version is made by.

    It is recorded with the candidate, so that a run that a restart cuts in two ends as it was judged: else another
    trainer than the one that passed the gate could make what goes live.
    """
    training = shop.settings.training
    return {
        "trainer": dict(training.trainer),
        "metric": shop.settings.metric,
        "holdout": training.holdout,
        "refit": training.refit,
    }


def _spec(shop: Workshop, run: Run, verb: str, version: int | None = None) -> TrainSpec:
    made_by = run.results.get("settings") or _settings(shop)
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
        metric=made_by["metric"],
        holdout=made_by["holdout"],
        refit=made_by["refit"] and not adopts(run),
        adopted=adopts(run),
        trainer=made_by["trainer"],
        run_folder=str(shop.folders.run(run.id)),
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
    """A finished run needs its work folder no more; what can't be removed now is swept by a later start."""
    work: Path = folders.work(run_id)
    try:
        if work.exists():
            shutil.rmtree(work)
    except OSError as error:
        log.warning("work.left_behind", run=run_id, error=str(error))
