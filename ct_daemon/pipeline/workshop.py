"""What the steps of a run work with, and how they say what comes next."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from ct_daemon.config import ModelSettings
from ct_daemon.folders import StateFolder
from ct_daemon.pipeline.states import RunState
from ct_daemon.protocols import DeployTarget, TrainerRunner, VersionFiles, Worker
from ct_daemon.store.store import Store
from ct_daemon.types import Deployment, ModelVersion


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
