"""Nothing is deleted from a state folder while it is being backed up."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def holding(state: Path) -> Iterator[None]:
    """While the block runs, nobody may delete; what is being deleted now is waited for."""
    with _flock(state / "hold", fcntl.LOCK_SH):
        yield


@contextmanager
def deleting(state: Path) -> Iterator[bool]:
    """Whether files may be deleted during the block: not while a backup is being made."""
    try:
        with _flock(state / "hold", fcntl.LOCK_EX | fcntl.LOCK_NB):
            yield True
    except BlockingIOError:
        yield False


@contextmanager
def _flock(path: Path, how: int) -> Iterator[None]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(handle, how)
        yield
    finally:
        os.close(handle)
