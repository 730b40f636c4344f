"""The ledger's file: opened with care, written by one connection, read by others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine

from ct_daemon.errors import StateError
from ct_daemon.store.engines import close_writer, connect_reader, reader_engine, writer_engine
from ct_daemon.store.faults import of_system, told
from ct_daemon.store.migrate import SCRIPTS, backup, check, prepare, revision, standing

BUSY_S = 5.0
"""How long a statement waits for a lock that another process holds."""


class Database:
    """One SQLite file in WAL mode. What `write` has left without an error is on the disk.

    Opening makes the file, or checks it as a whole and migrates it. The caller holds the `StateLock`.

    Parameters
    ----------
    path : Path
        The file; its folder must be there.
    readonly : bool
        Never write: no check of the whole file, no migration. See `open_readonly`.
    busy_s : float
        How long to wait for another process's lock, in seconds.
    scripts : Path
        Folder of the migrations.

    Raises
    ------
    StateError
        Here and in `write` and `read`, with the reason `disk_full`, `read_only`, `corrupt`, `locked`,
        `io_error`, `newer_schema`, `older_schema` or `no_ledger`.
    """

    def __init__(
        self, path: Path, *, readonly: bool = False, busy_s: float = BUSY_S, scripts: Path = SCRIPTS
    ) -> None:
        self.path = path
        self._busy_s = busy_s
        self._lock = threading.RLock()
        self._writing = False
        self._broken: StateError | None = None
        self.on_broken: Callable[[StateError], None] | None = None
        """Called once when the disk refused a write (`io_error`); from then on every write raises that error."""
        self._writer: Engine | None = None
        try:
            with told(path):
                self._look(scripts) if readonly else prepare(path, busy_s, scripts)
        except OSError as error:
            raise of_system(path, error) from error
        self._readers: Engine | None = reader_engine(path, busy_s)
        if not readonly:
            self._writer = writer_engine(path, busy_s)
            self._try(self._writer)

    @classmethod
    def open_readonly(cls, path: Path) -> Database:
        """For commands, beside a running daemon or on what a dead one left."""
        return cls(path, readonly=True)

    def _try(self, writer: Engine) -> None:
        """A ledger that can't be written is refused now, not at the first fact to record."""
        try:
            with self.write():
                pass
        except StateError:
            writer.dispose()
            raise

    def _look(self, scripts: Path) -> None:
        if not self.path.exists():
            raise StateError(
                f"there is no ledger {self.path}: check 'state' in the configuration, or start the daemon once",
                reason="no_ledger",
            )
        with closing(connect_reader(self.path, self._busy_s)) as connection:
            found = revision(self.path, connection)
        if standing(self.path, found, scripts) == "older":
            raise StateError(
                f"ledger {self.path} has the older schema {found}: start the daemon once, it migrates the ledger",
                reason="older_schema",
            )

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that writes: committed at the end of the block, rolled back by any error.

        Transactions of other threads wait. They do not nest, because an inner block would end without its
        work being on the disk.
        """
        with self._lock:
            if self._writer is None:
                raise StateError(f"ledger {self.path} is closed or open for reading only", reason="read_only")
            if self._writing:
                raise RuntimeError("a write transaction was begun inside another one")
            if self._broken is not None:
                raise self._broken
            self._writing = True
            try:
                with told(self.path), self._writer.begin() as tx:
                    yield tx
            except StateError as error:
                if error.reason == "io_error":
                    self._break(error)
                raise
            finally:
                self._writing = False

    def _break(self, error: StateError) -> None:
        """A write that the disk refused is never tried again: what the kernel holds may not be what lies on the disk.

        Only a new process that reads the disk anew can tell, so whoever keeps this one alive is told to end it.
        """
        self._broken = error
        if self.on_broken is not None:
            self.on_broken(error)

    def check(self) -> None:
        """Look through the whole file; `StateError` with reason `corrupt` if it is damaged."""
        with told(self.path):
            check(self.path, self._busy_s)

    def probe(self) -> None:
        """Find out whether a fact could be recorded now: one page is written and committed.

        Raises
        ------
        StateError
            As `write`.
        """
        with self.write() as tx:
            tx.exec_driver_sql("UPDATE alembic_version SET version_num = version_num")

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that reads: one unchanging state of the ledger, however long the block takes."""
        if self._readers is None:
            raise StateError(f"ledger {self.path} is closed", reason="closed")
        with told(self.path), self._readers.connect() as tx:
            yield tx

    def backup(self, target: Path) -> None:
        """Copy the ledger as it is now; `target` appears whole or not at all."""
        try:
            with told(self.path):
                backup(self.path, target, self._busy_s)
        except OSError as error:
            raise of_system(target, error) from error

    def close(self) -> None:
        """Checkpoint and close. Closing twice is harmless."""
        with self._lock, told(self.path):
            readers, self._readers = self._readers, None
            if readers is not None:
                readers.dispose()
            writer, self._writer = self._writer, None
            if writer is not None and self._broken is None:
                close_writer(writer)
            elif (
                writer is not None
            ):  # a disk that refused a write is not written to again, not even to tidy up
                writer.dispose()
