"""A copy of the ledger that nobody works on: made, looked through, and asked which files it refers to.

A copy is read as `immutable`: nothing is written beside it, so that it may lie on a medium that can't be written.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from ct_daemon.errors import StateError
from ct_daemon.folders import StateFolder
from ct_daemon.manifests import MANIFEST
from ct_daemon.store.faults import corrupt, of_system, told
from ct_daemon.store.migrate import SCRIPTS, backup, revision, standing

BUSY_S = 30.0
NEEDS_ADOPTED = ("queued", "snapshotting", "validating", "training")
"""States of a run that still have to take the artifact that they adopt."""
NEEDS_CANDIDATE = ("evaluating", "registering")
"""States of a run that find the candidate's file in the run's work folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A file or folder that a ledger refers to, relative to the state folder."""

    path: str
    is_folder: bool = False
    needed: bool = True
    """The ledger speaks of it as of something that is there; without it the state is not whole."""
    digest: str | None = None
    """SHA-256 of the file, where the ledger knows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyFacts:
    """What a copy says of itself."""

    schema: str
    models: tuple[str, ...]


def copy_ledger(ledger: Path, target: Path) -> None:
    """Copy a ledger as it is at one moment, also while a daemon writes to it. `target` is whole or not there.

    Raises
    ------
    StateError
        `no_ledger`, or as `Database`.
    """
    if not ledger.exists():
        raise StateError(
            f"there is no ledger {ledger}: check 'state' in the configuration", reason="no_ledger"
        )
    try:
        with told(ledger):
            backup(ledger, target, BUSY_S)
    except OSError as error:
        raise of_system(target, error) from error


def look_into(copy: Path) -> CopyFacts:
    """Look through every page and every reference inside the copy.

    Raises
    ------
    StateError
        `corrupt`, or `newer_schema` if this version of ct-daemon can't work with it. An older one is fine: the next
        start migrates it.
    """
    with _opened(copy) as connection:
        faults = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(3)")]
        if faults != ["ok"]:
            raise corrupt(copy, "; ".join(faults))
        dangling = connection.execute("PRAGMA foreign_key_check").fetchone()
        if dangling is not None:
            raise corrupt(copy, f"a row of {dangling[0]} refers to a row of {dangling[2]} that is not there")
        schema = revision(copy, connection)
        standing(copy, schema, SCRIPTS)
        models = tuple(str(row[0]) for row in connection.execute("SELECT model FROM models ORDER BY model"))
        return CopyFacts(schema=schema, models=models)


def references(copy: Path) -> tuple[Reference, ...]:
    """All files and folders that the copy refers to, each once."""
    with _opened(copy) as connection:
        return tuple({found.path: found for found in _references(connection)}.values())


def _references(connection: sqlite3.Connection) -> Iterator[Reference]:
    layout = StateFolder(Path())
    for (path,) in connection.execute("SELECT object_path FROM batches WHERE object_path IS NOT NULL"):
        yield Reference(path=path)
    for (path,) in connection.execute("SELECT path FROM predictions"):
        yield Reference(path=path)
    for (digest,) in connection.execute("SELECT digest FROM snapshots"):
        yield Reference(path=str(layout.snapshot(digest)))
    for path, digest in connection.execute("SELECT path, digest FROM versions"):
        yield Reference(path=path, is_folder=True)
        yield Reference(path=f"{path}/{MANIFEST}", digest=digest)
    for model, baseline, last in connection.execute(
        "SELECT model, baseline_digest, last_batch_seq FROM windows"
    ):
        yield Reference(path=str(layout.profile(model, baseline, last)), needed=False)
    for (run,) in connection.execute("SELECT id FROM runs"):
        yield Reference(path=str(layout.run(run)), is_folder=True, needed=False)
    for digest in _adopted(connection):
        yield Reference(path=str(layout.adopted / digest), is_folder=True)
    for run, state in connection.execute("SELECT id, state FROM runs WHERE active"):
        if state in NEEDS_CANDIDATE:  # else its step is done again from the start
            yield Reference(path=str(layout.work(run) / "candidate"), is_folder=True, needed=False)


def _adopted(connection: sqlite3.Connection) -> Iterator[str]:
    """Digests of the copies that a wish to adopt still needs; a ledger of before that has none."""
    if "adopt" not in {str(row[1]) for row in connection.execute("PRAGMA table_info(demands)")}:
        return
    waiting = (
        "SELECT d.adopt FROM demands d LEFT JOIN runs r ON r.id = d.run_id "
        "WHERE d.adopt IS NOT NULL AND NOT d.cancelled AND (d.run_id IS NULL OR r.state IN ({}))"
    )
    marks = ", ".join("?" for _ in NEEDS_ADOPTED)
    for (wish,) in connection.execute(waiting.format(marks), NEEDS_ADOPTED):
        yield str(json.loads(wish)["digest"])


@contextmanager
def _opened(copy: Path) -> Iterator[sqlite3.Connection]:
    """A connection to a copy; SQLite's faults inside the block are told as `StateError`."""
    uri = f"file:{quote(str(copy.absolute()))}?mode=ro&immutable=1"
    with told(copy), closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
        yield connection
