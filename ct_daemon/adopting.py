"""A model made elsewhere on its way under care: its artifact and reference rows, copied into the state folder.

``adopted/DIGEST/`` holds ``artifact/NAME`` (a file or folder), ``reference/NUMBER/NAME`` (one file each) and a
manifest that lists every file; the digest of the manifest names it all. Nothing here is loaded: the copies are looked
at in workers and trainers, like all that comes from outside.
"""

from __future__ import annotations

import os
import shutil
import stat
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from ct_daemon.config import TrainingSettings
from ct_daemon.errors import ArtifactError, SourceError, StateError
from ct_daemon.folders import StateFolder, make_folder
from ct_daemon.manifests import check_version, file_digest, publish, write_manifest
from ct_daemon.processes.first import DISK_FULL
from ct_daemon.protocols import VersionFiles
from ct_daemon.types import Arrival, BatchKind, FileStamp

MODEL_FILE = ".skops"
PICKLES = frozenset({".pkl", ".pickle", ".joblib", ".jbl", ".sav", ".dill"})
_PICKLE_HEADS = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))
REFERENCE = "reference"
"""Source of the rows that an adopted model is judged on; they come with their labels."""
KEPT_S = 86400.0
"""Copies that nothing refers to are removed after so long: their wish may be on its way."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Adoption:
    """Checked copies. Paths are absolute."""

    digest: str
    artifact: Path
    reference: tuple[Path, ...]


def refuse_unfit(artifact: Path, training: TrainingSettings) -> None:
    """Refuse an artifact that nothing could ask, before it is copied. It is looked at by name and first bytes only.

    Raises
    ------
    ArtifactError
        `file_missing`; `pickle_refused` for what pickle or joblib wrote, unless a program or function of the user's
        is configured to predict with it; `no_predictor` for any other form where none is.
    """
    if not artifact.exists():
        raise ArtifactError(f"there is no {artifact}; check the name", reason="file_missing")
    if artifact.suffix == MODEL_FILE and artifact.is_file():
        return
    if training.command is not None or (training.python is not None and training.python.predict is not None):
        return
    if artifact.is_file() and (artifact.suffix in PICKLES or _head(artifact).startswith(_PICKLE_HEADS)):
        raise ArtifactError(
            f"{artifact} is a pickle or joblib file, which can run anything when it is loaded, so it never is; where "
            "you trust it, load it yourself and write it anew with skops.io.dump(model, 'model.skops')",
            reason="pickle_refused",
        )
    raise ArtifactError(
        f"{artifact} is no .skops file, and nothing is known that predicts with it; set training.python.predict or "
        "training.command, or write it with skops.io.dump",
        reason="no_predictor",
    )


def stage(folders: StateFolder, artifact: Path, reference: Sequence[Path]) -> str:
    """Copy artifact and reference files into the state folder, durably; the digest that names the copies.

    Raises
    ------
    ArtifactError
        `file_missing`; `path_refused` if the artifact holds anything but plain files and folders.
    SourceError
        `file_missing`, `not_a_regular_file` for a reference file.
    StateError
        `disk_full`, `state_unusable` if the state folder does not take them.
    """
    for path in reference:
        if not path.is_file():
            there = "no plain file" if path.exists() else "not there"
            reason = "not_a_regular_file" if path.exists() else "file_missing"
            raise SourceError(f"the reference {path} is {there}; name a data file", reason=reason)
    owner = folders.root.stat().st_uid if folders.root.exists() else os.geteuid()
    if owner != os.geteuid():
        raise StateError(
            f"the state folder {folders.root} belongs to user {owner}; run this as that user (runuser -u USER -- "
            "ct-daemon adopt ...), else its daemon could not read what is copied",
            reason="other_user",
        )
    draft = folders.adopted / f".{uuid.uuid4().hex}"
    try:
        make_folder(draft / "artifact")
        _copy(artifact.resolve(), draft / "artifact" / artifact.name)
        for number, path in enumerate(reference):
            make_folder(draft / "reference" / str(number))
            _copy(path, draft / "reference" / str(number) / path.name)
        digest = write_manifest(draft, {"format": 1, "artifact": artifact.name})
        publish(draft, folders.adopted / digest)
    except OSError as error:
        full = error.errno in DISK_FULL
        raise StateError(
            f"{error.filename or folders.adopted}: {error.strerror}; check space and permissions of the state folder",
            reason="disk_full" if full else "state_unusable",
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return digest


def staged(folders: StateFolder, digest: str) -> Adoption:
    """The copies that `stage` made, every byte checked.

    Raises
    ------
    ArtifactError
        `file_missing`, `digest_mismatch`, `path_refused`.
    """
    folder = folders.adopted / digest
    manifest = check_version(VersionFiles(version=0, path=str(folder), digest=digest))
    references = sorted((name for name in manifest["files"] if name.startswith("reference/")), key=_number)
    return Adoption(
        digest=digest,
        artifact=folder / "artifact" / str(manifest["artifact"]),
        reference=tuple(folder / name for name in references),
    )


def as_arrival(folders: StateFolder, path: Path) -> Arrival:
    """A reference file as if a source had seen it: whoever takes it gets a copy, which is not kept."""
    digest = file_digest(path)
    name = f"{digest[:12]}-{path.name}"  # another reference of the same name is another file
    copy = folders.staging / f"{uuid.uuid4().hex}-{name}"
    try:
        shutil.copyfile(path, copy)
    except OSError as error:
        raise StateError(
            f"{copy}: {error.strerror}; check space and permissions of the state folder",
            reason="disk_full" if error.errno in DISK_FULL else "staging_unwritable",
        ) from error
    return Arrival(
        source=REFERENCE,
        name=name,
        stamp=FileStamp(size_bytes=path.stat().st_size, mtime_ns=0, inode=0),
        kind=BatchKind.ROWS,
        staged=str(copy),
        digest=digest,
    )


def remove_unused(folders: StateFolder, used: Iterable[str]) -> None:
    """Remove copies that no wish refers to any more."""
    kept, now = frozenset(used), time.time()
    if not folders.adopted.is_dir():
        return
    try:
        found = list(folders.adopted.iterdir())
    except OSError as error:
        log.warning("leftover.stays", path=folders.relative(folders.adopted), error=str(error))
        return
    for path in found:
        try:
            if path.name not in kept and now - path.stat().st_mtime > KEPT_S:
                shutil.rmtree(path)
        except OSError as error:
            log.warning("leftover.stays", path=folders.relative(path), error=str(error))


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(2)


def _number(name: str) -> int:
    return int(name.split("/")[1])


def _copy(source: Path, target: Path) -> None:
    """Plain files and folders; of a link to a file, the file."""
    kind = source.lstat().st_mode
    if stat.S_ISDIR(kind):
        target.mkdir(mode=0o700)
        for entry in sorted(os.scandir(source), key=lambda entry: entry.name):
            _copy(Path(entry.path), target / entry.name)
    elif stat.S_ISREG(source.stat().st_mode):
        shutil.copyfile(source, target)
    else:
        raise ArtifactError(
            f"{source} is neither a plain file nor a folder; a version holds only such", reason="path_refused"
        )
