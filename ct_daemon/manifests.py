"""The folder of a published version: a manifest that names every file by digest, checked before anything is read.

Imported by the daemon, so standard library only (and the codec). Models are loaded in `artifacts`.

A version folder holds regular files and one ``version.json``, the manifest: a plain document with the key
``files``, ``{"model.skops": {"sha256": ..., "size": ...}, ...}``. The manifest is canonical JSON and its SHA-256
is the digest of the version: whoever knows that one digest can tell any changed byte in the folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ct_daemon.codec import canonical
from ct_daemon.errors import ArtifactError, RegistryError
from ct_daemon.failpoints import failpoint
from ct_daemon.folders import sync
from ct_daemon.protocols import VersionFiles

MANIFEST = "version.json"


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- writing ---------------------------------------------------------------------------------------------


def write_durably(path: Path, data: bytes) -> None:
    """Put a file in place whole or not at all, so that it survives a power cut once this returns.

    Written beside its place, synced, renamed, and the folder synced. A file that is there is replaced.
    """
    temporary = path.with_name(f".{path.name}.part")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync(path.parent)


def write_manifest(folder: Path, document: Mapping[str, Any]) -> str:
    """Seal a folder: list its files in ``version.json`` beside the entries of `document`.

    Returns
    -------
    str
        The digest of the manifest, which names this very content of the folder.

    Raises
    ------
    ArtifactError
        `path_refused` if the folder holds anything but regular files and folders.
    """
    files = {}
    for path in sorted(_walk(folder)):
        name = path.relative_to(folder).as_posix()
        if name == MANIFEST or stat.S_ISDIR(path.lstat().st_mode):
            continue
        if not stat.S_ISREG(path.lstat().st_mode):
            raise ArtifactError(
                f"{path} is not a regular file; a version holds only such", reason="path_refused"
            )
        files[name] = {"sha256": file_digest(path), "size": path.stat().st_size}
    data = canonical({**document, "files": files})
    write_durably(folder / MANIFEST, data)
    return hashlib.sha256(data).hexdigest()


def publish(source: Path, target: Path) -> None:
    """Move a sealed folder to its final place, whole and durable. Doing it again is harmless.

    Everything in `source` is synced, then it is renamed (same file system) and the parent synced; only after
    that may the ledger speak of it. If `target` holds the same version already, `source` is removed.

    Raises
    ------
    RegistryError
        `version_exists` if `target` holds something else; `publish_failed` if the file system refuses.
    """
    try:
        if target.exists():
            _accept_existing(source, target)
        else:
            for path in _walk(source):
                sync(path)
            sync(source)
            failpoint("artifact.copied")
            source.rename(target)
        failpoint("artifact.renamed")
        sync(target.parent)
    except OSError as error:
        raise RegistryError(
            f"can't publish {source} as {target}: {error.strerror}; check space and permissions there",
            reason="publish_failed",
        ) from error


def _accept_existing(source: Path, target: Path) -> None:
    """`target` may stay only if it is the very folder that was to be put there."""
    if not source.exists():
        return
    if (source / MANIFEST).read_bytes() != (target / MANIFEST).read_bytes():
        raise RegistryError(
            f"{target} holds another version than {source}; move it away if nothing refers to it",
            reason="version_exists",
        )
    shutil.rmtree(source)


# --- checking --------------------------------------------------------------------------------------------


def check_version(files: VersionFiles) -> dict[str, Any]:
    """The manifest of a version, after every byte of the folder was found to be as recorded.

    Raises
    ------
    ArtifactError
        `file_missing`; `digest_mismatch` if anything was altered; `path_refused` if the manifest names a path
        outside the folder or a link stands in it.
    """
    # The manifest itself first: nothing in it is believed, nor any path of it followed, before it is known.
    return _checked(Path(files.path), files.digest)[0]


def read_manifest(files: VersionFiles) -> dict[str, Any]:
    """The manifest of a version, itself checked; its files are not (`file_digest`).

    Raises
    ------
    ArtifactError
        `file_missing`, `path_refused`, `digest_mismatch`.
    """
    data = read_within(Path(files.path), MANIFEST)
    if hashlib.sha256(data).hexdigest() != files.digest:
        raise _altered(Path(files.path) / MANIFEST)
    document: dict[str, Any] = json.loads(data)
    return document


def check_folder(folder: Path) -> tuple[dict[str, Any], str]:
    """Like `check_version` where no digest is known yet: (manifest, its digest)."""
    return _checked(folder, None)


def _checked(folder: Path, expected: str | None) -> tuple[dict[str, Any], str]:
    data = read_within(folder, MANIFEST)
    found = hashlib.sha256(data).hexdigest()
    if expected not in (None, found):
        raise _altered(folder / MANIFEST)
    try:
        document = json.loads(data)
        entries = document["files"].items()
        files = {str(name): (str(entry["sha256"]), int(entry["size"])) for name, entry in entries}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _altered(folder / MANIFEST) from error
    for name, (digest, size) in files.items():
        path = _within(folder, name)
        if path.stat().st_size != size or file_digest(path) != digest:
            raise _altered(path)
    return document, found


def read_within(folder: Path, name: str) -> bytes:
    """Bytes of a file of the folder; errors as `check_version`."""
    return _within(folder, name).read_bytes()


def _within(folder: Path, name: str) -> Path:
    """The path of a regular file below `folder`, reached without ``..`` and without a link."""
    parts = PurePosixPath(name).parts
    path = folder
    try:
        if not parts or name.startswith("/") or ".." in parts or "\0" in name:
            raise ArtifactError(
                f"{folder}: the manifest names {name!r}, outside the folder", reason="path_refused"
            )
        for part in parts:
            path = path / part
            if stat.S_ISLNK(path.lstat().st_mode):
                raise ArtifactError(
                    f"{path} is a link; a version holds only plain files", reason="path_refused"
                )
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ArtifactError(
            f"{path} is missing; put it back from a backup or roll back to another version",
            reason="file_missing",
        ) from error
    if not path.is_file():
        raise ArtifactError(f"{path} is not a regular file", reason="path_refused")
    return path


def _altered(path: Path) -> ArtifactError:
    return ArtifactError(
        f"{path} is not what was published; put it back from a backup or roll back to another version",
        reason="digest_mismatch",
    )


def _walk(folder: Path) -> Iterator[Path]:
    """Everything below a folder, contents before the folder that holds them; links are not followed."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path)
            yield path
        else:
            yield path
