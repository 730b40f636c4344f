"""One daemon a state folder, by a lock that the kernel drops when its holder dies."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from ct_daemon.clock import wall
from ct_daemon.errors import StateError
from ct_daemon.processes.kin import identity
from ct_daemon.store.faults import of_system

_NOTE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Holder:
    """The daemon that says it works on a state folder."""

    pid: int
    host: str
    started_at: str
    """When it took the lock, in ISO 8601."""

    def __str__(self) -> str:
        return f"pid {self.pid} on {self.host}, since {self.started_at[:19].replace('T', ' ')} UTC"


def holder(state: Path) -> Holder | None:
    """Who holds the lock, for people to read; None if nobody does. Does not touch the lock itself, so that asking
    never keeps a daemon from starting."""
    try:
        text = (state / "lock").read_bytes()[:_NOTE_BYTES]
    except OSError:
        return None
    named = _named(text)
    if named is None:
        return None
    found, known = named
    elsewhere = found.host != socket.gethostname()
    return found if elsewhere or identity(found.pid) == known else None


def _named(text: bytes) -> tuple[Holder, object] | None:
    """The holder that a note names, and the identity of its process there; None if it names nobody."""
    try:
        note = json.loads(text or b"null")
        found = Holder(pid=int(note["pid"]), host=str(note["host"]), started_at=str(note["started_at"]))
        return found, note.get("identity")
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


class StateLock:
    """The right to work on a state folder: `flock` on its file `lock`, held from `acquire` to `release`.

    The file stays when the lock is released; only the lock counts, so a file left by a killed daemon is harmless.
    A local file system is needed.

    Parameters
    ----------
    state : Path
        The state folder.
    clock : callable
        Gives the start time that is written into the file for people to read.
    """

    def __init__(self, state: Path, *, clock: Callable[[], datetime] = wall) -> None:
        self.path = state / "lock"
        self._clock = clock
        self._handle: int | None = None

    def acquire(self) -> None:
        """Take the lock without waiting.

        Raises
        ------
        StateError
            `state_in_use`, naming the process that holds it.
        """
        try:
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                self._take(handle)
            except BaseException:
                os.close(handle)
                raise
        except OSError as error:
            raise of_system(self.path, error) from error
        self._handle = handle

    def _take(self, handle: int) -> None:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            named = _named(os.pread(handle, _NOTE_BYTES, 0))
            who = "not yet named" if named is None else str(named[0])
            raise StateError(
                f"{self.path.parent} is in use by another daemon ({who}): stop that one, or give this one a "
                "state folder of its own",
                reason="state_in_use",
            ) from error
        note = {
            "pid": os.getpid(),
            "identity": identity(os.getpid()),
            "host": socket.gethostname(),
            "started_at": self._clock().isoformat(),
        }
        os.ftruncate(handle, 0)
        os.pwrite(handle, (json.dumps(note) + "\n").encode(), 0)

    def release(self) -> None:
        """Give the lock back. Doing it twice is harmless."""
        if self._handle is not None:
            with suppress(OSError):  # a note left by a broken disk says less than the error that ended us
                os.ftruncate(self._handle, 0)
            os.close(self._handle)
            self._handle = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
