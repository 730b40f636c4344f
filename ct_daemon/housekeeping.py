"""Retention: what is no longer needed goes. First the ledger forgets, then the files are deleted.

A crash in between leaves files that nothing refers to, never a reference without its file.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import structlog

from ct_daemon.adopting import remove_unused
from ct_daemon.config import Config, ModelSettings, Retention
from ct_daemon.failpoints import failpoint
from ct_daemon.folders import StateFolder
from ct_daemon.spool import waiting
from ct_daemon.store.retention import Expired, expired, forget
from ct_daemon.store.store import Store

SNAPSHOT = re.compile(r"[0-9a-f]{64}\.json")

log = structlog.get_logger(__name__)


def tidy(store: Store, folders: StateFolder, config: Config) -> None:
    """One pass over all models."""
    for model, settings in config.models.items():
        gone = _forget(store, model, settings, config.retention)
        failpoint("retention.recorded")
        files = [path for path in _files(folders, model, gone) if path.exists()]
        for path in files:
            _removed(folders, path)
        if not gone.nothing:
            log.info(
                "retention.done",
                model=model,
                decisions=len(gone.decisions),
                windows=len(gone.windows),
                versions=[version.version for version in gone.versions],
                files=len(files),
            )

    _forget_run_logs(store, folders, config.retention.run_logs)
    with store.read() as tx:
        wishes = store.demands.adopting(tx)
    spooled = (wish.adopt for _, wish in waiting(folders.spool) if wish is not None and wish.adopt)
    remove_unused(folders, [*spooled, *(str((wish.adopt or {}).get("digest")) for wish in wishes)])


def _forget_run_logs(store: Store, folders: StateFolder, keep: int) -> None:
    """The newest so many runs keep what they printed and logged; a run that has not ended always does."""
    with store.read() as tx:
        newest = {run.id for run in store.runs.list(tx, limit=keep)}
        newest |= {run.id for run in store.runs.all_active(tx)}
    for path in (folders.root / "runs").glob("r-*"):
        if path.name not in newest:
            _removed(folders, path)


def sweep(store: Store, folders: StateFolder) -> int:
    """Remove what crashes left: work folders of ended runs, versions and snapshots that were never recorded, or that
    were forgotten before their files could be deleted. Returns how many.

    Only what this ledger has named is removed: beside an older ledger that was restored, later versions stay.
    To be called before anything else works on the state folder.
    """
    with store.read() as tx:
        runs = {run.id for run in store.runs.all_active(tx)}
        unrecorded = store.versions.unrecorded(tx, but_of=runs)
        snapshots = {folders.snapshot(digest) for digest in store.versions.snapshot_digests(tx)}
    left = [path for path in (folders.root / "work").glob("r-*") if path.name not in runs]
    left += [folders.version(model, number) for model, number in unrecorded]
    named = (path for path in (folders.root / "snapshots").iterdir() if SNAPSHOT.fullmatch(path.name))
    left += [path for path in named if path not in snapshots]
    return sum(_removed(folders, path) for path in left if path.exists())


def _removed(folders: StateFolder, path: Path) -> bool:
    """Remove a file or folder; one that can't be removed is told, and tried again the next time."""
    try:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        log.warning("leftover.stays", path=folders.relative(path), error=str(error))
        return False
    log.info("leftover.removed", path=folders.relative(path))
    return True


def _forget(store: Store, model: str, settings: ModelSettings, keep: Retention) -> Expired:
    with store.write() as tx:
        gone = expired(
            tx,
            model,
            decisions=keep.decisions,
            windows=keep.windows,
            versions=keep.versions,
            rows=keep.rows,
            window_rows=settings.training.window_rows,
            quarantined=keep.quarantined,
        )
        if not gone.nothing:
            forget(tx, model, gone)
        store.slots.keep(tx, model, keep.decisions)
    return gone


def _files(folders: StateFolder, model: str, gone: Expired) -> Iterator[Path]:
    for version in gone.versions:
        yield folders.root / version.path
        yield folders.sample(model, version.digest)
        yield folders.predictions(model, version.version, "any").parent
    for baseline, last_batch_seq in gone.profiles:
        yield folders.profile(model, baseline, last_batch_seq)
    for digest in gone.snapshots:
        yield folders.snapshot(digest)
    for batch in (*gone.batches, *gone.quarantined):
        if batch.object_path is not None:
            yield folders.root / batch.object_path
