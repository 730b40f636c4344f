"""What SQLite and the file system say, as `StateError` with the file and the next step."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from ct_daemon.errors import StateError

_DISK_FULL = ("disk_full", "the disk is full, nothing was recorded; free some space there")
_READ_ONLY = ("read_only", "it can't be written; check the mount and the owner of the state folder")
_IO_ERROR = (
    "io_error",
    "the disk failed to read or write; check the system log, then start the daemon again",
)
_CORRUPT = (
    "corrupt",
    "the file is damaged or no ledger; move it away with its -wal and restore a backup",
)
_UNUSABLE = ("state_unusable", "it can't be opened; check that its folder is there and belongs to this user")
_LOCKED = ("locked", "another program holds its lock; end that program (it was not tried by force)")

_OF_SQLITE: Mapping[int, tuple[str, str]] = {
    sqlite3.SQLITE_FULL: _DISK_FULL,
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_PERM: _READ_ONLY,
    sqlite3.SQLITE_IOERR: _IO_ERROR,
    sqlite3.SQLITE_CANTOPEN: _UNUSABLE,
    sqlite3.SQLITE_CORRUPT: _CORRUPT,
    sqlite3.SQLITE_NOTADB: _CORRUPT,
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
    sqlite3.SQLITE_PROTOCOL: _LOCKED,
}

_OF_SYSTEM: Mapping[int | None, tuple[str, str]] = {
    errno.ENOSPC: _DISK_FULL,
    errno.EDQUOT: _DISK_FULL,
    errno.EROFS: _READ_ONLY,
    errno.EACCES: _READ_ONLY,
    errno.EPERM: _READ_ONLY,
    errno.EIO: _IO_ERROR,
}


def corrupt(path: Path, what: str) -> StateError:
    """The refusal of a file that is no sound ledger."""
    return StateError(f"ledger {path}: {what}: {_CORRUPT[1]}", reason=_CORRUPT[0])


def of_system(path: Path, error: OSError) -> StateError:
    """A fault of the file system."""
    reason, step = _OF_SYSTEM.get(error.errno, _UNUSABLE)
    return StateError(f"{path}: {error.strerror or error}: {step}", reason=reason)


def _of_sqlite(path: Path, error: BaseException | None) -> StateError | None:
    """A fault of the database's surroundings; None where the statement itself is at fault."""
    code = getattr(error, "sqlite_errorcode", None)
    found = None if code is None else _OF_SQLITE.get(code & 0xFF)  # the low byte is the primary code
    return None if found is None else StateError(f"ledger {path}: {error}: {found[1]}", reason=found[0])


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn faults of SQLite inside the block into `StateError`; faults of a statement (ours) pass as they are."""
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        fault = _of_sqlite(path, error.orig if isinstance(error, DBAPIError) else error)
        if fault is None:
            raise
        raise fault from error
