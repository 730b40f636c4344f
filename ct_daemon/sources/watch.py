"""Hear at once that something happened in a folder, and which files were renamed into place.

Why inotify itself and not a library: `watchfiles` reports a rename into place and the start of a slow write alike
(both are "added"), so it can't tell a complete file from a half one. The kernel can: ``IN_MOVED_TO`` names a file
that arrived whole. ``IN_CREATE`` and ``IN_CLOSE_WRITE`` only say that it is worth looking (a writer may open and
close a file many times); such a file settles.

A watcher can be deaf: on network file systems, when the kernel's queue overflows, when the limit of watches is
reached, on systems without inotify. So a folder must also be listed now and then; nothing is lost, only later.
"""

from __future__ import annotations

import ctypes
import os
import select
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import structlog

OnChange = Callable[[Path, frozenset[str]], None]

# <sys/inotify.h>; the same numbers on every architecture.
IN_CLOSE_WRITE = 0x8
IN_MOVED_TO = 0x80
IN_CREATE = 0x100
IN_MOVE_SELF = 0x800
IN_Q_OVERFLOW = 0x4000
IN_IGNORED = 0x8000
IN_ONLYDIR = 0x01000000
IN_ISDIR = 0x40000000

_MASK = IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_MOVE_SELF | IN_ONLYDIR
_EVENT = struct.Struct("iIII")  # watch, mask, cookie, length of the name that follows

log = structlog.get_logger(__name__)


class FolderWatcher:
    """One thread that watches many folders.

    Parameters
    ----------
    on_change : callable
        Called from the watcher's thread with a folder and the names (relative, with ``/``) that were renamed into
        it; the set is empty when files were made otherwise or when nobody can say. Must be quick.
    gather_s : float
        What happens within so long after the first event is reported together.
    retry_s : float
        A folder that is missing is looked for this often.
    """

    def __init__(self, on_change: OnChange, *, gather_s: float = 0.05, retry_s: float = 1.0) -> None:
        self._on_change = on_change
        self._gather_s = gather_s
        self._retry_s = retry_s
        self._recursive: dict[Path, bool] = {}
        self._places: dict[int, dict[Path, str]] = {}
        """Watch → the folders it serves, each with the prefix of names (one directory may be in two of them)."""
        self._missing: set[Path] = set()
        self._complained: set[Path] = set()
        self._changes: dict[Path, set[str]] = {}
        self._report_at = 0.0
        self._thread: threading.Thread | None = None

    def start(self, folders: Iterable[tuple[Path, bool]]) -> bool:
        """Watch these (folder, with those below it); what happens after this returns is heard.

        Returns
        -------
        bool
            False when this system can't watch; then folders are only listed from time to time.
        """
        for folder, recursive in folders:
            self._recursive[folder] = recursive or self._recursive.get(folder, False)
        try:
            self._inotify = _Inotify()
        except OSError as error:
            log.warning("folders.not_watched", error=error.strerror, effect="listed from time to time")
            return False
        self._wake = os.eventfd(0, os.EFD_CLOEXEC)
        self._missing = set(self._recursive)
        self._look_for_missing()
        self._changes.clear()  # that they are there is no news at the start
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()
        return True

    def close(self) -> None:
        """End the thread. Harmless when it never started or has ended."""
        if self._thread is None:
            return
        os.eventfd_write(self._wake, 1)
        self._thread.join()
        self._thread = None
        self._inotify.close()
        os.close(self._wake)

    # --- the thread --------------------------------------------------------------------------------------

    def _run(self) -> None:
        poller = select.poll()
        poller.register(self._inotify.fd, select.POLLIN)
        poller.register(self._wake, select.POLLIN)
        while all(fd != self._wake for fd, _ in poller.poll(self._wait_ms())):
            for watch, mask, name in self._inotify.read():
                self._hear(watch, mask, name)
            if self._missing:
                self._look_for_missing()
            if self._changes and time.monotonic() >= self._report_at:
                self._report()

    def _wait_ms(self) -> float | None:
        if self._changes:
            return max(0.0, self._report_at - time.monotonic()) * 1000 + 1
        return self._retry_s * 1000 if self._missing else None

    def _hear(self, watch: int, mask: int, name: str) -> None:
        if mask & IN_Q_OVERFLOW:
            for folder in self._recursive:
                self._changed(folder)
        elif mask & IN_IGNORED:  # removed, unmounted, or dropped by us
            self._lost(watch)
        elif mask & IN_MOVE_SELF:
            if "" in self._places.get(watch, {}).values():  # another folder may take its place
                self._inotify.remove(watch)
        else:
            for folder, prefix in tuple(self._places.get(watch, {}).items()):
                self._changed_within(folder, prefix + name, mask)

    def _changed_within(self, folder: Path, name: str, mask: int) -> None:
        names = self._changed(folder)
        if mask & IN_ISDIR:
            if self._recursive[folder]:
                self._add(folder, f"{name}/")
        elif mask & IN_MOVED_TO:
            names.add(name)
        elif mask & IN_CLOSE_WRITE:  # after the rename: it was not complete then
            names.discard(name)

    def _changed(self, folder: Path) -> set[str]:
        if not self._changes:
            self._report_at = time.monotonic() + self._gather_s
        return self._changes.setdefault(folder, set())

    def _report(self) -> None:
        changes, self._changes = self._changes, {}
        for folder, names in changes.items():
            try:
                self._on_change(folder, frozenset(names))
            except Exception:
                log.exception("watch.listener_failed", folder=str(folder))

    # --- watches -----------------------------------------------------------------------------------------

    def _look_for_missing(self) -> None:
        for folder in tuple(self._missing):
            if self._add(folder, ""):
                self._missing.discard(folder)
                self._changed(folder)

    def _lost(self, watch: int) -> None:
        for folder, prefix in self._places.pop(watch, {}).items():
            if not prefix:
                self._missing.add(folder)
                self._changed(folder)

    def _add(self, folder: Path, prefix: str) -> bool:
        """Watch ``folder/prefix`` and, if wanted, all below; False if not even the former can be watched now."""
        prefixes = [prefix]
        watched = 0
        while prefixes:
            prefix = prefixes.pop()
            try:
                watch = self._inotify.add(folder / prefix)
            except OSError as error:
                self._complain(folder, error)
                continue
            watched += 1
            self._places.setdefault(watch, {})[folder] = prefix
            if self._recursive[folder]:
                prefixes += [f"{prefix}{below}/" for below in _folders_in(folder / prefix)]
        return watched > 0

    def _complain(self, folder: Path, error: OSError) -> None:
        """Once a folder. That it is missing is the source's to say."""
        if isinstance(error, FileNotFoundError | NotADirectoryError) or folder in self._complained:
            return
        self._complained.add(folder)
        log.warning(
            "folder.not_watched", folder=str(folder), error=error.strerror, effect="listed from time to time"
        )


def _folders_in(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:  # gone, or closed to this user: the source's listing says which
        return []


class _Inotify:
    """The calls of inotify(7) that are needed.

    Raises
    ------
    OSError
        Where there is no inotify, or the limits of this user are reached.
    """

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        if not hasattr(self._libc, "inotify_init1") or not hasattr(os, "eventfd"):
            raise OSError(0, "this system has no inotify")
        self.fd = self._checked(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))

    def add(self, folder: Path) -> int:
        return self._checked(self._libc.inotify_add_watch(self.fd, os.fsencode(folder), _MASK))

    def remove(self, watch: int) -> None:
        self._libc.inotify_rm_watch(self.fd, watch)  # fails only if the watch is gone, which is what we want

    def read(self) -> Iterator[tuple[int, int, str]]:
        """All events that are there: (watch, mask, name)."""
        try:
            data = os.read(self.fd, 256 * 1024)
        except BlockingIOError:
            return
        at = 0
        while at < len(data):
            watch, mask, _, length = _EVENT.unpack_from(data, at)
            at += _EVENT.size + length
            yield watch, mask, os.fsdecode(data[at - length : at].rstrip(b"\0"))

    def close(self) -> None:
        os.close(self.fd)

    def _checked(self, result: int) -> int:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result
