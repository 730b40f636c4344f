"""What must hold after any crash, checked on the ledger and on the disk."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

from ct_daemon.manifests import check_folder
from ct_daemon.pipeline.states import ALLOWED, TERMINAL, RunState
from ct_daemon.store.store import Store


def check(
    state: Path, *, acknowledged: set[str], files: set[str], model: str = "m", idle: bool = True
) -> None:
    """Fail with what is broken.

    Parameters
    ----------
    acknowledged : set of str
        Idempotency keys for which a 202 came back (or a spool file was renamed).
    files : set of str
        Files renamed into the inbox.
    idle : bool
        The daemon has settled: every demand is served and every run has ended.
    """
    with Store.open_readonly(state) as store, store.read() as tx:
        keys = Counter(
            str(row[0])
            for row in tx.exec_driver_sql("SELECT dedupe_key FROM demands WHERE model = ?", (model,))
        )
        lost = {key for key in acknowledged if keys[f"key:{key}"] == 0}
        assert not lost, f"I1: {len(lost)} acknowledged demands are lost: {sorted(lost)[:3]}"
        assert all(count == 1 for count in keys.values()), f"I1: doubled demands {keys.most_common(3)}"

        runs = store.runs.list(tx, model, limit=10_000)
        active = [run for run in runs if RunState(run.state) not in TERMINAL]
        assert len(active) <= 1, f"I3: {len(active)} active runs"
        for run in runs:
            _check_run(store, tx, run)
        if idle:
            assert not active, f"still {active[0].state}"
            assert not store.demands.pending(tx, model), "a demand was forgotten"

        taken = Counter(b.name for b in store.batches.list(tx, model, limit=100_000))
        assert set(taken) >= files, f"I9: files never taken: {sorted(files - set(taken))[:3]}"
        assert all(count == 1 for count in taken.values()), f"I9: taken twice: {taken.most_common(3)}"

        versions = store.versions.list(tx, model)
        for version in versions:
            _, digest = check_folder(state / version.path)
            assert digest == version.digest, f"I4: version {version.version} is not what was registered"
        live = store.deployments.live(tx, model)
        by_run = Counter(d.run_id for d in store.deployments.list(tx, model, limit=10_000) if d.run_id)
        assert all(count == 1 for count in by_run.values()), f"I2: deployed twice: {by_run}"
    if live is not None and idle:
        current = json.loads((state / "deploy" / model / "current.json").read_text())
        assert current["version"] == live.version, (
            f"I4: alias shows {current['version']}, ledger {live.version}"
        )
        check_folder((state / "deploy" / model / "champion").resolve())


def _check_run(store: Store, tx: object, run: object) -> None:
    moves = store.runs.transitions(tx, run.id)  # type: ignore[arg-type, attr-defined]
    ends = [move for move in moves if RunState(move.to_state) in TERMINAL]
    assert len(ends) <= 1, f"I2: run {run.id} ended {len(ends)} times"  # type: ignore[attr-defined]
    before = None
    for move in moves:
        assert move.from_state == before, f"I2: run {run.id} jumped from {before} to {move.from_state}"  # type: ignore[attr-defined]
        if before is not None and move.to_state != before:
            assert RunState(move.to_state) in ALLOWED[RunState(before)], f"I2: {before} → {move.to_state}"
        before = move.to_state
    attempts = [move.attempt for move in moves]
    assert attempts == sorted(attempts), f"I3: attempts of {run.id} went back: {attempts}"  # type: ignore[attr-defined]


def children_of(state: Path) -> list[int]:
    """Processes of ours (trainers, workers) that work on this state folder; none may outlive the daemon."""
    needle = str(state).encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            line = (entry / "cmdline").read_bytes()
            if b"ct_daemon.workers" in line and (
                needle in line or needle in os.fsencode((entry / "cwd").readlink())
            ):
                found.append(int(entry.name))
        except OSError:
            continue  # ended while we looked
    return found
