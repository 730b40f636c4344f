"""Records demands and publishes versions as fast as it can: `python tests/crash/publisher.py STATE [CONTROL]`.

Each line that it prints is a promise: `demand ID` and `version NUMBER` are on the disk. With the control `no_fsync`
artifacts are published without syncing them, with `normal` commits of the ledger are not synced: a suite that cuts
the power must catch both.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from ct_daemon.deployment.alias import AliasTarget
from ct_daemon.errors import ArtifactError
from ct_daemon.folders import StateFolder, make_folder
from ct_daemon.manifests import check_folder, publish, write_manifest
from ct_daemon.protocols import VersionFiles
from ct_daemon.store.store import Store
from ct_daemon.types import Demand, ModelVersion

KEPT = 40
"""So many versions stay, that a long story fits on a small disk."""
AT = datetime(2026, 3, 1, tzinfo=UTC)


def main(root: Path, control: str = "") -> None:
    folders = StateFolder(root)
    folders.make()
    target = AliasTarget(lambda model: folders.deploy)
    with Store.open(root) as store:
        with store.write() as tx:
            store.models.ensure(tx, ["m"])
        make_folder(folders.version("m", 1).parent)
        if control == "normal":  # a pragma has no effect inside a transaction
            engine = store.database._writer
            assert engine is not None
            connection = engine.raw_connection()
            connection.cursor().execute("PRAGMA synchronous=NORMAL")
            connection.close()
        if control == "no_fsync":
            os.fsync = lambda handle: None
        for number in range(1, 1_000_000):
            demand = Demand(
                id=f"d-{number}",
                model="m",
                origin="cli",
                dedupe_key=f"key:{number}",
                force=False,
                asked_at=AT,
            )
            with store.write() as tx:
                store.demands.add(tx, demand)
            print("demand", number, flush=True)
            make_version(store, folders, target, number)
            print("version", number, flush=True)
            forget_version(store, folders, number - KEPT)


def forget_version(store: Store, folders: StateFolder, number: int) -> None:
    """What retention does: the ledger forgets first, then the files go."""
    with store.write() as tx:
        store.versions.delete(tx, "m", number)
    shutil.rmtree(folders.version("m", number), ignore_errors=True)


def demand_of(number: int) -> Demand:
    return Demand(
        id=f"d-{number}", model="m", origin="cli", dedupe_key=f"key:{number}", force=False, asked_at=AT
    )


def make_version(store: Store, folders: StateFolder, target: AliasTarget, number: int) -> None:
    """What the steps `registering` and `deploying` do, without a training."""
    draft, place = folders.work(f"r-{number}"), folders.version("m", number)
    draft.mkdir()
    for name in ("model.skops", "baseline.json", "golden.json"):
        (draft / name).write_bytes(os.urandom(20_000))
    with store.write() as tx:
        store.versions.reserve(tx, "m", f"r-{number}")
    digest = write_manifest(draft, {"model": "m", "version": number})
    publish(draft, place)
    version = ModelVersion(
        model="m",
        version=number,
        run_id=f"r-{number}",
        path=folders.relative(place),
        digest=digest,
        baseline_digest="0" * 64,
        snapshot="0" * 64,
        created_at=AT,
    )
    with store.write() as tx:
        store.versions.publish(tx, version)
    target.deploy("m", VersionFiles(version=number, path=str(place), digest=digest))


def faults(state: Path, demands: Sequence[str], versions: Sequence[int]) -> list[str]:
    """What is wrong with a state folder, given what had been promised."""
    found = []
    with Store.open(state) as store, store.read() as tx:
        (sound,) = tx.exec_driver_sql("PRAGMA integrity_check").one()
        if sound != "ok":
            found.append(f"ledger: {sound}")
        pending = {demand.id for demand in store.demands.pending(tx, "m")}
        found += [f"demand {demand} is lost" for demand in demands if demand not in pending]
        registered = {version.version: version for version in store.versions.list(tx, "m")}
        kept = versions[-KEPT // 2 :]  # more may have been forgotten since
        found += [f"version {number} is lost" for number in kept if number not in registered]
        for version in registered.values():
            try:
                _, digest = check_folder(state / version.path)
            except ArtifactError as error:
                found.append(f"version {version.version}: {error.reason}")
            else:
                if digest != version.digest:
                    found.append(f"version {version.version}: another digest")
    if versions:
        try:
            document, _ = check_folder((state / "deploy" / "m" / "champion").resolve())
        except ArtifactError as error:
            return [*found, f"alias: {error.reason}"]
        if document["version"] < versions[-1]:
            found.append(f"alias shows version {document['version']}, {versions[-1]} was promised")
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
