"""The two kinds of connection to the ledger: the one that writes, and those that only read.

SQLite up to 3.51.2 can damage a WAL database in a rare race of two connections that write or checkpoint at once.
So exactly one connection writes and checkpoints; readers are opened `mode=ro` and can do neither.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import QueuePool, StaticPool

from ct_daemon.errors import StateError


def connect_reader(path: Path, busy_s: float) -> sqlite3.Connection:
    """A bare connection that can't change the file. Works beside a writer and on what a killed one left."""
    uri = f"file:{quote(str(path.absolute()))}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, timeout=busy_s, isolation_level=None, check_same_thread=False)
    for pragma in ("query_only=ON", "wal_autocheckpoint=0", "mmap_size=0"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def _connect_writer(path: Path, busy_s: float) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=busy_s, isolation_level=None, check_same_thread=False)
    mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
    if mode != "wal":
        raise StateError(
            f"ledger {path}: its file system allows no write-ahead log (got {mode!r}); put 'state' on a local disk",
            reason="no_wal",
        )
    # FULL: a commit is on the disk when it returns, so that an acknowledgement survives a power cut.
    for pragma in ("synchronous=FULL", "foreign_keys=ON", "mmap_size=0"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def writer_engine(path: Path, busy_s: float) -> Engine:
    """The engine with the one writing connection; its transactions take the write lock when they begin."""
    engine = create_engine("sqlite://", creator=lambda: _connect_writer(path, busy_s), poolclass=StaticPool)
    _begin_with(engine, "BEGIN IMMEDIATE")
    return engine


def reader_engine(path: Path, busy_s: float) -> Engine:
    """The engine of the reading connections; each transaction sees one state of the ledger throughout."""
    engine = create_engine(
        "sqlite://",
        creator=lambda: connect_reader(path, busy_s),
        poolclass=QueuePool,
        pool_size=4,
        max_overflow=-1,
    )
    _begin_with(engine, "BEGIN")
    return engine


def close_writer(engine: Engine) -> None:
    """Move what the WAL holds into the database and close. A reader in another process only delays the move."""
    try:
        connection = engine.raw_connection()
        connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
    finally:
        engine.dispose()


def _begin_with(engine: Engine, statement: str) -> None:
    """Python's own handling of transactions is off (`isolation_level=None`), so we begin them."""

    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(statement)

    event.listen(engine, "begin", begin)
