"""Steps of a run that adopts a model: its candidate is not fitted but taken, and judged on the reference rows."""

from __future__ import annotations

import shutil
from typing import Any

from sqlalchemy import Connection

from ct_daemon.adopting import MODEL_FILE, staged
from ct_daemon.errors import ConflictError
from ct_daemon.pipeline.workshop import Workshop, champion_of
from ct_daemon.store.store import Store
from ct_daemon.types import ADOPT, Run, SnapshotPart

MIN_REFERENCE_ROWS = 30
"""Labelled rows that say anything at all of a model."""


def adopts(run: Run) -> bool:
    """Whether the run takes a model that was made elsewhere."""
    return run.trigger == ADOPT


def refuse_second(store: Store, tx: Connection, model: str) -> None:
    """A model adopts a version only while it has none, and one at a time.

    Raises
    ------
    ConflictError
        `version_live`, `adopt_waiting`.
    """
    live, _ = champion_of(store, tx, model)
    if live is not None:
        raise ConflictError(
            f"version {live.version} of {model} is live; only a model without a version can adopt one",
            reason="version_live",
        )
    active = store.runs.active(tx, model)
    waiting = [demand.id for demand in store.demands.pending(tx, model) if demand.adopt is not None]
    if waiting or (active is not None and active.trigger == ADOPT):
        other = f"demand {waiting[0]}" if waiting else f"run {active.id if active else ''}"
        raise ConflictError(
            f"{model} is about to adopt another model ({other}); wait for it, or end it with 'ct-daemon cancel'",
            reason="adopt_waiting",
        )


def reference_parts(
    shop: Workshop, tx: Connection, run: Run
) -> tuple[dict[str, Any], tuple[SnapshotPart, ...]]:
    """What the run's demand says, and the batches of reference rows.

    Raises
    ------
    ConflictError
        `version_live`: a version became live since it was asked for; `nothing_to_adopt` if no demand says what.
    """
    _, version = champion_of(shop.store, tx, shop.model)
    if version is not None:
        raise ConflictError(
            f"version {version.version} of {shop.model} is live by now; only a model without a version can adopt one",
            reason="version_live",
        )
    wishes = [demand.adopt for demand in shop.store.demands.served_by(tx, shop.model, run.id) if demand.adopt]
    if not wishes:
        raise ConflictError(f"no demand says what run {run.id} shall adopt", reason="nothing_to_adopt")
    parts = []
    for seq in wishes[0]["batches"]:
        batch = shop.store.batches.get(tx, int(seq))
        if batch.object_path is not None:
            parts.append(
                SnapshotPart(
                    seq=batch.seq,
                    kind=batch.kind,
                    path=batch.object_path,
                    digest=batch.digest,
                    rows=batch.rows,
                )
            )
    return dict(wishes[0]), tuple(parts)


def take_candidate(shop: Workshop, run: Run) -> None:
    """Put the adopted artifact where a trainer would have put what it had made."""
    artifact = staged(shop.folders, str(run.results[ADOPT]["digest"])).artifact
    candidate = shop.folders.work(run.id) / "candidate"
    if artifact.is_file() and artifact.suffix == MODEL_FILE:
        candidate.mkdir()
        shutil.copyfile(artifact, candidate / f"model{MODEL_FILE}")
        return
    place = candidate / "model"
    place.mkdir(parents=True)
    if artifact.is_dir():
        shutil.copytree(artifact, place / artifact.name)
    else:
        shutil.copyfile(artifact, place / artifact.name)
