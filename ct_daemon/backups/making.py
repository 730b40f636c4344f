"""Making a backup."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from ct_daemon import __version__, spool
from ct_daemon.backups.checking import verify_backup
from ct_daemon.backups.files import (
    CONTENT,
    FORMAT,
    MANIFEST,
    SEAL,
    Backup,
    Entry,
    copy_file,
    safe,
    sync_folders,
)
from ct_daemon.backups.hold import holding
from ct_daemon.codec import canonical
from ct_daemon.errors import StateError
from ct_daemon.folders import sync
from ct_daemon.manifests import file_digest, write_durably
from ct_daemon.store.copies import Reference, copy_ledger, look_into, references
from ct_daemon.store.faults import of_system
from ct_daemon.store.store import NAME as LEDGER

TRIES = 3
"""So often the ledger is copied anew when a file of a run that has ended meanwhile was gone."""


class _VanishedError(Exception):
    """A file that the ledger's copy speaks of was there and is gone."""


def make_backup(state: Path, target: Path, *, now: datetime) -> Backup:
    """Back a state folder up, whether its daemon runs or not.

    Parameters
    ----------
    target : Path
        Does not exist yet; the folder above it does.

    Raises
    ------
    StateError
        `backup_exists`, `backup_running`, `file_missing` if the state folder is not whole, `backup_refused` for
        a place inside the state folder, or as the file systems and the ledger say. Then there is no backup.
    """
    target = target.absolute()
    if target.resolve().is_relative_to(state.resolve()):
        raise StateError(
            f"{target} lies in the state folder; a backup lies elsewhere", reason="backup_refused"
        )
    if os.path.lexists(target):
        raise StateError(f"{target} exists; a backup is never overwritten", reason="backup_exists")
    part = target.with_name(f".{target.name}.part")
    try:
        with _alone_in(part), holding(state):
            files = _copied(state, part / CONTENT)
            _seal(part, files, now)
            found = _whole(part, state)
            part.rename(target)
        sync(target.parent)
    except OSError as error:
        raise of_system(Path(error.filename or part), error) from error
    return replace(found, folder=target)


@contextmanager
def _alone_in(part: Path) -> Iterator[None]:
    """A fresh folder that nobody else works in; it is gone after an error, and so is what a crash left."""
    part.mkdir(mode=0o700, exist_ok=True)
    handle = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StateError(f"another backup is being made in {part}", reason="backup_running") from error
        _emptied(part)
        try:
            yield
        except BaseException:
            shutil.rmtree(part)
            raise
    finally:
        os.close(handle)


def _copied(state: Path, content: Path) -> dict[str, Entry]:
    """Everything that belongs to one state of the ledger, copied and synced: path → digest and size."""
    for _ in range(TRIES):
        content.mkdir(mode=0o700)
        try:
            files = dict(_copy_all(state, content))
        except _VanishedError as error:
            gone = str(error)
            shutil.rmtree(content)
            continue
        sync_folders(content)
        return files
    raise _not_whole(state, f"the ledger speaks of {gone}, which is not there")


def _copy_all(state: Path, content: Path) -> Iterator[tuple[str, Entry]]:
    # Wishes first: one that the daemon takes meanwhile is in the ledger's copy too, where its key makes it one.
    wanted: list[Reference] = []
    for path, wish in spool.waiting(state / "spool"):
        name = f"spool/{path.name}"
        try:
            yield name, copy_file(path, content / name)
        except FileNotFoundError:
            continue  # taken
        if wish is not None and wish.adopt is not None:
            wanted.append(Reference(path=f"adopted/{wish.adopt}", is_folder=True))
    ledger = content / LEDGER
    copy_ledger(state / LEDGER, ledger)
    yield LEDGER, {"sha256": file_digest(ledger), "size": ledger.stat().st_size}
    for reference in (*references(ledger), *wanted):
        for name in _files_of(state, reference):
            if not (content / name).exists():
                try:
                    yield name, copy_file(state / name, content / name)
                except FileNotFoundError as error:
                    raise _VanishedError(name) from error


def _files_of(state: Path, reference: Reference) -> Iterator[str]:
    """The files behind a reference that are there; `_VanishedError` if it is needed and nothing is."""
    name = safe(reference.path)
    place = state / name
    if reference.is_folder:
        found = sorted(path for path in place.rglob("*") if not path.is_dir() or path.is_symlink())
    else:
        found = [place] if os.path.lexists(place) else []
    if reference.needed and not found:
        raise _VanishedError(name)
    for path in found:
        yield path.relative_to(state).as_posix()


def _seal(part: Path, files: dict[str, Entry], now: datetime) -> None:
    facts = look_into(part / CONTENT / LEDGER)
    document = {
        "format": FORMAT,
        "made_by": f"ct-daemon {__version__}",
        "created_at": now.isoformat(),
        "host": socket.gethostname(),
        "schema": facts.schema,
        "models": list(facts.models),
        "files": files,
    }
    data = canonical(document)
    write_durably(part / MANIFEST, data)
    write_durably(part / SEAL, f"{hashlib.sha256(data).hexdigest()}  {MANIFEST}\n".encode())


def _whole(part: Path, state: Path) -> Backup:
    """Read it all once more: what is wrong with it now was wrong before."""
    try:
        return verify_backup(part)
    except StateError as error:
        if error.reason != "backup_incomplete":
            raise
        detail = str(error).removeprefix(f"{part} is incomplete: ").removesuffix("; another backup is needed")
        raise _not_whole(state, detail) from error


def _not_whole(state: Path, detail: str) -> StateError:
    return StateError(
        f"{state} is not whole, so it is not backed up: {detail}; 'ct-daemon doctor' looks deeper",
        reason="file_missing",
    )


def _emptied(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
