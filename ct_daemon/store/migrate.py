"""Makes a ledger, checks one that is there, and brings an older one to this version's schema."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from ct_daemon.errors import StateError
from ct_daemon.folders import sync
from ct_daemon.store.engines import close_writer, connect_reader, writer_engine
from ct_daemon.store.faults import corrupt

SCRIPTS = Path(__file__).parent / "migrations"
"""Alembic's scripts. A test may point elsewhere to have more revisions."""


def prepare(path: Path, busy_s: float, scripts: Path) -> None:
    """Make the ledger if there is none; otherwise check it and migrate it if it is older.

    Before a migration the ledger is copied beside itself, named by its revision.

    Raises
    ------
    StateError
        `corrupt`: not a sound ledger; `newer_schema`: written by a later version. The file is left as it is.
    """
    if not path.exists():
        _create(path, busy_s, scripts)
        return
    found = check(path, busy_s)
    if standing(path, found, scripts) == "older":
        backup(path, path.with_name(f"{path.name}.{found}.backup"), busy_s)
        upgrade(path, busy_s, scripts)


def check(path: Path, busy_s: float) -> str:
    """Look through the whole file; the schema's revision, or `StateError` `corrupt`."""
    with closing(connect_reader(path, busy_s)) as connection:
        faults = [row[0] for row in connection.execute("PRAGMA quick_check(3)")]
        if faults != ["ok"]:
            raise corrupt(path, "; ".join(faults))
        return revision(path, connection)


def revision(path: Path, connection: sqlite3.Connection) -> str:
    """The revision that the ledger says it has."""
    try:
        rows = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_ERROR:  # that one means: no such table
            raise
        rows = []
    if len(rows) != 1:
        raise corrupt(path, "it names no schema revision")
    return str(rows[0][0])


def standing(path: Path, found: str, scripts: Path) -> str:
    """`current` or `older`; a revision that this version doesn't know is refused as newer."""
    directory = ScriptDirectory.from_config(_config(scripts))
    if found == directory.get_current_head():
        return "current"
    if found in {script.revision for script in directory.walk_revisions()}:
        return "older"
    raise StateError(
        f"ledger {path} has schema {found}, which this version of ct-daemon does not know: "
        "start the newer version that wrote it, or restore the copy made before the upgrade",
        reason="newer_schema",
    )


def upgrade(path: Path, busy_s: float, scripts: Path) -> None:
    """Apply all missing revisions in one transaction: after a crash either all are there or none."""
    config = _config(scripts)
    engine = writer_engine(path, busy_s)
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    finally:
        close_writer(engine)


def backup(path: Path, target: Path, busy_s: float) -> None:
    """Copy the ledger to `target` while it is in use; `target` is whole or not there at all."""
    part = target.with_name(target.name + ".part")
    _touch(part)
    with closing(connect_reader(path, busy_s)) as source, closing(sqlite3.connect(part)) as copy:
        source.backup(copy)
    _into_place(part, target)


def _create(path: Path, busy_s: float, scripts: Path) -> None:
    """A ledger appears under its name only when it is complete, so that an empty file is never taken for one."""
    if path.with_name(path.name + "-wal").exists():
        raise corrupt(path, "the database is gone but its -wal is still there")
    part = path.with_name(path.name + ".part")
    _touch(part)
    upgrade(part, busy_s, scripts)
    _into_place(part, path)


def _config(scripts: Path) -> Config:
    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    return config


def _touch(part: Path) -> None:
    """An empty file for our eyes only, in place of what a crash may have left."""
    for leftover in (part, *(part.with_name(part.name + end) for end in ("-wal", "-shm", "-journal"))):
        leftover.unlink(missing_ok=True)
    os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _into_place(part: Path, target: Path) -> None:
    sync(part)
    part.replace(target)
    sync(target.parent)
