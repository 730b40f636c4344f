"""Files that arrive in a folder: which of them are new and complete, oldest first, each as a copy of our own.

The folder belongs to others: it is only read, and nothing in it is trusted. No symbolic link is followed below it,
nothing but a regular file is ever opened, and every copy is bounded by the size that was listed.

When is a file complete? A rename into place says so, and the watcher passes that on (`FolderSource.renamed_in`).
Otherwise size and time must have stood still for `settle` seconds. A writer that pauses for longer in the middle of
a file and does not rename can't be told from one that is done; its file comes again, under a new stamp, when it has
grown. (A file lease would tell on a local disk, but network file systems refuse one as if there were a writer.)
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import translate
from pathlib import Path
from threading import Lock

from ct_daemon.config import FilesSource
from ct_daemon.errors import SourceError
from ct_daemon.failpoints import failpoint
from ct_daemon.sources.staging import (
    FOLDER_FLAGS,
    RefusedError,
    WaitsError,
    open_below,
    passes,
    stage,
    stamp_of,
)
from ct_daemon.types import Arrival, BatchKind, FileStamp

MAX_NAME = 255

_UNFINISHED = (".tmp", ".part", ".crdownload", "~")
_HOSTILE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028-\u202e\u2066-\u2069]")
"""Control characters, what is not UTF-8 (as Python spells it), and what breaks lines or turns their direction."""
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """A directory entry that is not known yet. `reason` is set when it need not even be opened."""

    name: str
    """As it is recorded."""
    path: str
    """As it is spelled on disk, relative to the folder."""
    stamp: FileStamp
    reason: str | None = None
    detail: str = ""


class FolderSource:
    """A folder in which complete files appear (implements `protocols.Source`).

    Parameters
    ----------
    name : str
        Written into every `Arrival`.
    kind : BatchKind
        What the files carry.
    settings : FilesSource
        Folder, patterns (matched against the file's own name, case counts), limits. With `recursive`, folders
        whose name starts with ``.`` or ``_`` (Spark's ``_temporary``) are passed over.
    staging : Path
        Existing folder of our own, on a local disk, for the copies.
    progress : callable, optional
        Called for every entry that is looked at and every chunk that is copied.
    """

    def __init__(
        self,
        name: str,
        kind: BatchKind,
        settings: FilesSource,
        staging: Path,
        *,
        progress: Callable[[], object] = object,
    ) -> None:
        self.name = name
        self.folder = settings.folder
        self.recursive = settings.recursive
        self._kind = kind
        self._progress = progress
        self._settle_s = settings.settle
        self._staging = staging
        self._wanted = re.compile("|".join(translate(pattern) for pattern in settings.patterns)).match
        self._max_bytes = int(settings.max_file_mb * 1024 * 1024)
        self._waiting: dict[str, tuple[FileStamp, float]] = {}
        """Path → stamp, and when (by the caller's clock) it was first seen with it."""
        self._pending_s: float | None = None
        self._renamed: dict[str, FileStamp] = {}
        self._lock = Lock()  # guards `_renamed`, which the watcher's thread fills

    def renamed_in(self, name: str) -> None:
        """Note that a file (relative name) was renamed into place: it need not settle.

        The note holds for the file as it is now; one that is written to afterwards has to settle after all. May be
        called from any thread.
        """
        if not self._counts(name.rpartition("/")[2]):
            return
        try:
            stamp = stamp_of((self.folder / name).lstat())
        except OSError:  # gone again, or not ours to see: the listing will tell which
            return
        with self._lock:
            self._renamed[name] = stamp

    def pending_s(self) -> float | None:
        """Seconds until a file seen in the last poll may have settled; None if there is none."""
        return self._pending_s

    def poll(self, known: Mapping[str, FileStamp], now_s: float) -> Iterator[Arrival]:
        """Complete files whose stamp is not the known one, oldest first, each staged as a copy of our own.

        Parameters
        ----------
        known : mapping of str to FileStamp
            Recorded names. The caller records each arrival, a refused one too, or it comes again.
        now_s : float
            Wall clock in seconds.

        Raises
        ------
        SourceError
            `folder_missing`, `folder_unreadable`; `read_failed`, after all other files came, if some could not be
            read for a reason that may pass (a share that stumbles): they wait for a later poll.
        StateError
            `disk_full`, `staging_unwritable`, `no_resources`: our own side failed, the file waits.
        """
        with self._lock:
            renamed = dict(self._renamed)
        with self._opened() as root:
            found = list(self._look(root, known))
        self._forget(renamed, {file.path for file in found})
        ready = self._settled(found, renamed, now_s)
        ready.sort(key=lambda file: (file.stamp.mtime_ns, file.name))
        return self._take(ready)

    # --- looking -----------------------------------------------------------------------------------------

    def _counts(self, own_name: str) -> bool:
        """Hidden and unfinished files never count, whatever the patterns say."""
        return (
            self._wanted(own_name) is not None and own_name[0] != "." and not own_name.endswith(_UNFINISHED)
        )

    @contextmanager
    def _opened(self) -> Iterator[int]:
        try:
            root = os.open(self.folder, FOLDER_FLAGS & ~os.O_NOFOLLOW)  # the folder itself may be a link
        except OSError as error:
            raise self._unlistable(self.folder, error) from error
        try:
            yield root
        finally:
            os.close(root)

    def _unlistable(self, folder: Path, error: OSError) -> SourceError:
        if error.errno in _GONE:
            return SourceError(
                f"{folder}: the folder of {self.name} is not there; create it, mount it, or correct `folder`",
                reason="folder_missing",
            )
        step = (
            "look at the disk or share that it lies on"
            if passes(error)
            else "let this user read and enter it"
        )
        return SourceError(
            f"{folder}: the folder of {self.name} can't be listed: {error.strerror}; {step}",
            reason="folder_unreadable",
        )

    def _look(self, root: int, known: Mapping[str, FileStamp]) -> Iterator[_Found]:
        """Everything new in the folder and, if wanted, below, in no order."""
        prefixes = [""]
        while prefixes:
            prefix = prefixes.pop()
            try:
                folder = open_below(root, prefix[:-1] or ".", FOLDER_FLAGS)
                try:
                    yield from self._look_into(folder, prefix, prefixes, known)
                finally:
                    os.close(folder)
            except OSError as error:
                if error.errno in _GONE:  # since the folder above was listed
                    continue
                if not prefix:
                    raise self._unlistable(self.folder, error) from error
                yield from self._closed_folder(root, prefix[:-1], known, error)

    def _look_into(
        self, folder: int, prefix: str, prefixes: list[str], known: Mapping[str, FileStamp]
    ) -> Iterator[_Found]:
        """The new entries of one folder; those below it that must be looked into are added to `prefixes`."""
        with os.scandir(folder) as entries:
            for entry in entries:
                self._progress()
                path = prefix + entry.name
                below = self.recursive and entry.is_dir(follow_symlinks=False)
                if below and entry.name[0] in "._":
                    continue
                if below and len(path) < MAX_NAME:
                    prefixes.append(f"{path}/")
                elif below or self._counts(entry.name):  # too far below: refused for its name
                    new = self._new(entry, path, known)
                    if new is not None:
                        yield new

    def _closed_folder(
        self, root: int, path: str, known: Mapping[str, FileStamp], error: OSError
    ) -> Iterator[_Found]:
        """A folder below that can't be listed waits, or is refused under its own name; the others go on."""
        if passes(error):
            yield _unread(path, error)
            return
        try:
            stamp = stamp_of(os.stat(path, dir_fd=root, follow_symlinks=False))
        except FileNotFoundError:
            return
        name = _recorded(path)
        if known.get(name) != stamp:
            detail = f"this folder can't be listed: {error.strerror}; let this user read it, then touch it"
            yield _Found(name=name, path=path, stamp=stamp, reason="unreadable", detail=detail)

    def _new(self, entry: os.DirEntry[str], path: str, known: Mapping[str, FileStamp]) -> _Found | None:
        """The entry, judged by what its folder tells about it; None when it is known, or gone."""
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            if not passes(error):
                raise
            return _unread(path, error)
        stamp = stamp_of(status)
        name = _recorded(path)
        if known.get(name) == stamp:
            return None
        reason, detail = None, ""
        if name != path:
            reason, detail = "bad_name", f"control characters, not UTF-8, or more than {MAX_NAME} characters"
        elif not stat.S_ISREG(status.st_mode):
            reason, detail = "not_a_regular_file", "a link, folder, pipe, socket or device; it was not opened"
        elif status.st_size > self._max_bytes:
            reason, detail = "too_large", f"{status.st_size} bytes, max_file_mb allows {self._max_bytes}"
        elif status.st_size == 0:
            reason, detail = "empty_file", "0 bytes"
        return _Found(name=name, path=path, stamp=stamp, reason=reason, detail=detail)

    # --- settling and taking -----------------------------------------------------------------------------

    def _settled(self, found: list[_Found], renamed: Mapping[str, FileStamp], now_s: float) -> list[_Found]:
        """Those that are complete; the others are remembered.

        A file counts once it is `settle` seconds old by its own time, or has been seen unchanged for so long: the
        latter is for times that lie ahead (another machine's clock, or ours set back).
        """
        ready: list[_Found] = []
        waiting: dict[str, tuple[FileStamp, float]] = {}
        waits_s: list[float] = []
        for file in found:
            stamp, seen_s = self._waiting.get(file.path, (file.stamp, now_s))
            seen_s = min(seen_s, now_s) if stamp == file.stamp else now_s
            stood_s = now_s - min(seen_s, file.stamp.mtime_ns / 1e9)
            if stood_s >= self._settle_s or renamed.get(file.path) == file.stamp:
                ready.append(file)
            else:
                waiting[file.path] = (file.stamp, seen_s)
                waits_s.append(self._settle_s - stood_s)
        self._waiting = waiting
        self._pending_s = min(waits_s, default=None)
        return ready

    def _forget(self, renamed: Mapping[str, FileStamp], found: set[str]) -> None:
        """Drop notes, made before the listing, of files that are known by now or gone."""
        with self._lock:
            for path, stamp in renamed.items():
                if path not in found and self._renamed.get(path) == stamp:
                    del self._renamed[path]

    def _take(self, ready: list[_Found]) -> Iterator[Arrival]:
        unread: list[str] = []
        with self._opened() as root:
            for file in ready:
                try:
                    arrival = self._arrival(root, file)
                except WaitsError as waits:
                    if waits.reason == "changed_while_reading":
                        self._pending_s = min(self._settle_s, self._pending_s or self._settle_s)
                    elif waits.reason == "read_failed":
                        unread.append(f"{file.name} ({waits.detail})")
                    continue
                yield arrival
        if unread:
            more = f" and {len(unread) - 3} more" if len(unread) > 3 else ""
            raise SourceError(
                f"{self.folder}: {', '.join(unread[:3])}{more} can't be read now; look at the disk or share that "
                "they lie on (nothing is lost: every listing tries again)",
                reason="read_failed",
            )

    def _arrival(self, root: int, file: _Found) -> Arrival:
        """The file as its copy, or with the reason why it is refused; `WaitsError` if it is to come again."""
        arrival = Arrival(source=self.name, name=file.name, stamp=file.stamp, kind=self._kind)
        if file.reason == "read_failed":
            raise WaitsError(file.reason, file.detail)
        try:
            if file.reason is not None:
                raise RefusedError(file.reason, file.detail)
            staged, digest = stage(root, file.path, file.stamp, self._staging, self._progress)
        except RefusedError as refused:
            return replace(arrival, reason=refused.reason, detail=refused.detail)
        failpoint("file.staged")
        return replace(arrival, staged=str(staged), digest=digest)


def _unread(path: str, error: OSError) -> _Found:
    """An entry that its folder can't tell about now; its stamp is not known, and it is not recorded."""
    unknown = FileStamp(size_bytes=0, mtime_ns=0, inode=0)
    detail = error.strerror or str(error)
    return _Found(name=_recorded(path), path=path, stamp=unknown, reason="read_failed", detail=detail)


def _recorded(path: str) -> str:
    """The name as it is recorded.

    A bad one becomes printable, short and unique, and never that of a file that counts (none ends in ``~``).
    """
    if len(path) <= MAX_NAME and not _HOSTILE.search(path):
        return path
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()
    return f"{_HOSTILE.sub('?', path)[:200]}-{digest[:16]}~"
