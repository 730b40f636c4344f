"""What a backup consists of, and copying its files."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from ct_daemon.errors import StateError
from ct_daemon.folders import make_folder, sync
from ct_daemon.store.store import NAME as LEDGER
from ct_daemon.terminal import printable

MANIFEST, SEAL, CONTENT = "backup.json", "backup.json.sha256", "state"
FORMAT = 1
CHUNK_BYTES = 1 << 20
PARTS = (
    LEDGER,
    "adopted",
    "batches",
    "predictions",
    "profiles",
    "quarantine",
    "runs",
    "snapshots",
    "spool",
    "versions",
    "work",
)
"""What of a state folder may lie in a backup. The rest is made anew: staging, lock, socket, the alias."""

Entry = dict[str, Any]
"""What a manifest says of a file: `sha256` and `size`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """A backup that was made, or found whole."""

    folder: Path
    created_at: str
    host: str
    schema: str
    models: tuple[str, ...]
    bytes: int
    digest: str
    """SHA-256 of its manifest, which names every byte of it."""
    files: Mapping[str, Entry] = field(repr=False)
    """Path below the state folder → `sha256` and `size`."""


def safe(name: str) -> str:
    """A path below the state folder that can't lead out of it."""
    path = PurePosixPath(name)
    if (
        path.is_absolute()
        or ".." in path.parts
        or not path.parts
        or path.parts[0] not in PARTS
        or "\0" in name
    ):
        raise StateError(f"{printable(name)!r} is no path of a state folder", reason="path_refused")
    return name


def copy_file(source: Path, target: Path) -> Entry:
    """Copy one regular file, synced; its digest and size as copied."""
    digest, size = hashlib.sha256(), 0
    make_folder(target.parent)
    reading = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(reading, "rb") as original, target.open("xb") as copy:  # noqa: PTH123  (a handle, not a path)
        status = os.fstat(reading)
        if not stat.S_ISREG(status.st_mode):
            raise StateError(f"{source} is not a regular file", reason="path_refused")
        while chunk := original.read(CHUNK_BYTES):
            digest.update(chunk)
            copy.write(chunk)
            size += len(chunk)
        copy.flush()
        os.fchmod(copy.fileno(), stat.S_IMODE(status.st_mode) & 0o777)
        os.fsync(copy.fileno())
    return {"sha256": digest.hexdigest(), "size": size}


def sync_folders(root: Path) -> None:
    """Wait until the names in a folder and in all below it are on the disk."""
    for path in (root, *root.rglob("*")):
        if path.is_dir():
            sync(path)
