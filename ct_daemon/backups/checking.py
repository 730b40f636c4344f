"""Checking a backup whole."""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ct_daemon.backups.files import CONTENT, FORMAT, MANIFEST, SEAL, Backup, Entry, safe
from ct_daemon.errors import StateError
from ct_daemon.manifests import file_digest
from ct_daemon.store.copies import look_into, references
from ct_daemon.store.faults import of_system
from ct_daemon.store.store import NAME as LEDGER
from ct_daemon.terminal import printable
from ct_daemon.words import counted


def verify_backup(folder: Path) -> Backup:
    """Check a backup whole, without writing anything: its seal, every byte, the ledger, and that nothing is missing.

    Raises
    ------
    StateError
        `no_backup`; `newer_backup`; `backup_altered` with what differs from what was backed up,
        `backup_incomplete` with what the ledger refers to and was not there; `corrupt` or `newer_schema` from the
        ledger.
    """
    try:
        document, digest = _manifest(folder)
        files = document["files"]
        _refuse(folder, "altered", list(_differences(folder / CONTENT, files)))
        facts = look_into(folder / CONTENT / LEDGER)
        _refuse(folder, "incomplete", list(_missing(folder / CONTENT, files)))
    except OSError as error:
        raise of_system(Path(error.filename or folder), error) from error
    return Backup(
        folder=folder,
        created_at=str(document["created_at"]),
        host=str(document["host"]),
        schema=facts.schema,
        models=facts.models,
        bytes=sum(entry["size"] for entry in files.values()),
        digest=digest,
        files=files,
    )


def _manifest(folder: Path) -> tuple[dict[str, Any], str]:
    """The manifest, once its seal fits; what stands in it is what `_seal` wrote."""
    try:
        data, seal = (folder / MANIFEST).read_bytes(), (folder / SEAL).read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StateError(f"{folder} is no backup: it has no {error.filename}", reason="no_backup") from error
    digest = hashlib.sha256(data).hexdigest()
    if seal != f"{digest}  {MANIFEST}\n".encode():
        raise StateError(
            f"backup {folder}: {MANIFEST} does not fit its seal {SEAL}; take another backup",
            reason="backup_altered",
        )
    try:
        document: dict[str, Any] = json.loads(data)
        made_by, form = str(document["made_by"]), document["format"]
        names = [safe(name) for name in document["files"]]
    except (ValueError, KeyError, TypeError) as error:
        raise StateError(f"{folder / MANIFEST} is no manifest of a backup", reason="no_backup") from error
    if form != FORMAT or LEDGER not in names:
        raise StateError(
            f"backup {folder} has format {form}, this version knows {FORMAT}: use the version that made it "
            f"({printable(made_by)})",
            reason="newer_backup",
        )
    return document, digest


def _differences(content: Path, files: Mapping[str, Entry]) -> Iterator[str]:
    """What differs between the manifest and what lies there."""
    present = {
        p.relative_to(content).as_posix() for p in content.rglob("*") if p.is_symlink() or not p.is_dir()
    }
    for name in sorted(present - files.keys()):
        yield f"{printable(name)} is not listed"
    for name in sorted(files):
        path = content / name
        if name not in present:
            yield f"{name} is missing"
        elif not stat.S_ISREG(path.lstat().st_mode):
            yield f"{name} is not a regular file"
        elif path.stat().st_size != files[name]["size"] or file_digest(path) != files[name]["sha256"]:
            yield f"{name} was altered"


def _missing(content: Path, files: Mapping[str, Entry]) -> Iterator[str]:
    """What the ledger refers to and the manifest does not list as the ledger knows it."""
    for reference in references(content / LEDGER):
        listed = files.get(reference.path, {}).get("sha256")
        if reference.digest is not None:
            if listed == reference.digest:
                yield from _missing_of_version(content, reference.path, files)
            else:
                yield f"{reference.path} is not what was registered"
        elif reference.needed and not reference.is_folder and listed is None:
            yield f"{reference.path} is missing"


def _missing_of_version(content: Path, manifest: str, files: Mapping[str, Entry]) -> Iterator[str]:
    """What a version's own manifest, which is known to be the registered one, names and the backup does not have."""
    folder = PurePosixPath(manifest).parent
    for name, entry in json.loads((content / manifest).read_bytes())["files"].items():
        if files.get(f"{folder / name}", {}).get("sha256") != entry["sha256"]:
            yield f"{folder / name} is not what was registered"


def _refuse(folder: Path, how: str, faults: list[str]) -> None:
    if faults:
        more = f"; and {len(faults) - 10} more" if len(faults) > 10 else ""
        raise StateError(
            f"{folder} is {how}: {counted(len(faults), 'fault')}: {'; '.join(faults[:10])}{more}; another backup is "
            "needed",
            reason=f"backup_{how}",
        )
