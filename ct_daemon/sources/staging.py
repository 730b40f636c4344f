"""Copy one file out of a folder that others write to: nothing there is trusted, and nothing is left half done here.

Faults of the file (`RefusedError`), faults that pass (`WaitsError`) and faults of our own disk (`StateError`) are
kept apart: a full disk of ours or a share that stumbles must never put somebody's good file into quarantine.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ct_daemon.errors import StateError
from ct_daemon.types import FileStamp

CHUNK_BYTES = 1024 * 1024
FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""Not to follow a link, and not to wait for the writer of a pipe that took the file's place."""

_NOT_A_FILE = frozenset({errno.ELOOP, errno.ENOTDIR, errno.ENXIO, errno.ENODEV})
_OUR_LIMITS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
_OF_A_SHARE = frozenset({errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.ECONNRESET, errno.EHOSTDOWN})
_OF_THE_NET = frozenset({errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH})
_OF_THE_MOMENT = frozenset({errno.EIO, errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR, errno.EBUSY})
_PASSING = _OF_A_SHARE | _OF_THE_NET | _OF_THE_MOMENT | _OUR_LIMITS
"""A disk or a server in trouble, somebody's lock: not the file's fault, and gone another day."""
_SUFFIX = re.compile(r"(?:\.[A-Za-z0-9]{1,10}){1,2}$")


class _NotTakenError(Exception):
    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


class RefusedError(_NotTakenError):
    """This file can't be taken as it is; the reason is a quarantine code."""


class WaitsError(_NotTakenError):
    """This file can't be taken now, and nothing is known against it: `changed_while_reading`, `vanished`, or
    `read_failed`."""


def passes(error: OSError) -> bool:
    """Whether what failed may well succeed later, with nobody changing the file."""
    return error.errno in _PASSING


def stamp_of(status: os.stat_result) -> FileStamp:
    """What tells that a file has not changed."""
    return FileStamp(size_bytes=status.st_size, mtime_ns=status.st_mtime_ns, inode=status.st_ino)


def open_below(root: int, path: str, flags: int) -> int:
    """Open a path relative to an open folder; no part of it may be a symbolic link."""
    *above, last = path.split("/")
    folder = os.dup(root)
    try:
        for part in above:
            inner = os.open(part, FOLDER_FLAGS, dir_fd=folder)
            os.close(folder)
            folder = inner
        return os.open(last, flags, dir_fd=folder)
    finally:
        os.close(folder)


def stage(
    root: int, path: str, stamp: FileStamp, staging: Path, progress: Callable[[], object] = object
) -> tuple[Path, str]:
    """Copy a file into `staging`, hashed on the way.

    The copy need not survive a power cut: until its batch is recorded, the file is taken again from its source.

    Parameters
    ----------
    root : int
        The open folder that `path` is relative to.
    stamp : FileStamp
        As listed. No more bytes than that are copied, and another stamp at the end refuses the copy.
    progress : callable
        Called for every chunk.

    Returns
    -------
    tuple of Path and str
        ``staging/DIGEST-RANDOM.SUFFIX``, absolute (the suffix is the file's own), and the SHA-256 of its bytes.

    Raises
    ------
    RefusedError
        `not_a_regular_file`, `unreadable`.
    WaitsError
        `vanished`, `changed_while_reading`, `read_failed`.
    StateError
        `disk_full`, `staging_unwritable`, `no_resources`.
    """
    source = _open_file(root, path)
    part = staging / f"{secrets.token_hex(8)}.part"
    suffix = _SUFFIX.search(path)
    try:
        with our_side(staging):
            with part.open("xb") as copy:
                digest = _copy(source, copy, stamp, progress)
            staged = part.with_name(f"{digest}-{part.stem}{suffix.group() if suffix else ''}")
            part.rename(staged)
    finally:
        os.close(source)
        part.unlink(missing_ok=True)
    return staged.absolute(), digest


@contextmanager
def our_side(staging: Path) -> Iterator[None]:
    """What fails in here is our own fault and is never blamed on the file."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        next_step = "free some space; nothing was lost" if full else "let this user write there"
        raise StateError(
            f"{staging}: {error.strerror}; {next_step}", reason="disk_full" if full else "staging_unwritable"
        ) from error


def clean_staging(staging: Path) -> int:
    """Remove what a process that died left in `staging` (made if missing); returns how many files that were.

    To be called at start, before any source: all that was not recorded is read again from where it arrived.
    """
    with our_side(staging):
        staging.mkdir(parents=True, exist_ok=True, mode=0o700)
        left = list(staging.iterdir())
        for path in left:
            path.unlink()
    return len(left)


def _open_file(root: int, path: str) -> int:
    try:
        source = open_below(root, path, FILE_FLAGS)
    except FileNotFoundError as error:
        raise WaitsError("vanished") from error
    except OSError as error:
        if error.errno in _OUR_LIMITS:
            raise StateError(
                f"{path} can't be opened: {error.strerror}; raise the limits of this process",
                reason="no_resources",
            ) from error
        raise _swapped() if error.errno in _NOT_A_FILE else _not_read(error) from error
    try:
        if not stat.S_ISREG(_status(source).st_mode):
            raise _swapped()
    except _NotTakenError:
        os.close(source)
        raise
    return source


def _copy(source: int, copy: BinaryIO, stamp: FileStamp, progress: Callable[[], object]) -> str:
    """Copy at most the bytes that were listed (hence within the size limit); the SHA-256 of exactly these."""
    sha256 = hashlib.sha256()
    copied = 0
    while copied <= stamp.size_bytes and (chunk := _read(source)):
        sha256.update(chunk)
        copy.write(chunk)
        copied += len(chunk)
        progress()
    if copied != stamp.size_bytes or stamp_of(_status(source)) != stamp:
        raise WaitsError("changed_while_reading")
    return sha256.hexdigest()


def _read(source: int) -> bytes:
    try:
        return os.read(source, CHUNK_BYTES)
    except OSError as error:  # their disk, not ours
        raise _not_read(error) from error


def _status(source: int) -> os.stat_result:
    try:
        return os.fstat(source)
    except OSError as error:
        raise _not_read(error) from error


def _not_read(error: OSError) -> _NotTakenError:
    if passes(error):
        return WaitsError("read_failed", error.strerror or str(error))
    return RefusedError(
        "unreadable", f"{error.strerror}; let this user read it, then touch it so that it is looked at again"
    )


def _swapped() -> RefusedError:
    return RefusedError("not_a_regular_file", "a link or another thing took its place")
