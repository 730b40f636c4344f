"""Profiles on disk: one JSON document a file (see `drift.document`)."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory

from ct_daemon.codec import canonical
from ct_daemon.drift.document import REMEDY, from_document, to_document
from ct_daemon.drift.profile import Baseline, Profile
from ct_daemon.errors import ArtifactError
from ct_daemon.folders import sync
from ct_daemon.manifests import write_durably

SUFFIX = ".json"
"""By this a saved profile is told from files of rows."""
MAX_BYTES = 1 << 30


def save_baseline(baseline: Baseline, path: Path) -> str:
    """Write a baseline as JSON, atomically and durably; returns the SHA-256 of the file in hex.

    Raises
    ------
    ArtifactError
        `baseline_too_large`.
    OSError
        When the disk does not take it.
    """
    content = canonical(to_document(baseline))
    write_durably(path, content)
    return hashlib.sha256(content).hexdigest()


def load_baseline(path: Path, digest: str) -> Baseline:
    """Read a baseline whose file has this SHA-256.

    Raises
    ------
    ArtifactError
        `baseline_missing`, `baseline_altered`, `baseline_malformed`, `baseline_version`.
    """
    content = _read(path, f"the baseline {path}", REMEDY)
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        raise ArtifactError(
            f"the baseline {path} was altered: its SHA-256 is {found}, recorded is {digest}; "
            "restore it or train again",
            reason="baseline_altered",
        )
    return _parsed(content, name=f"the baseline {path}", remedy=REMEDY)


def save_profile(profile: Profile, path: str | os.PathLike[str]) -> str:
    """Write a profile as `save_baseline` does. Several may write one file at the same time: one of them stays, whole.

    Raises
    ------
    ArtifactError
        `baseline_too_large`; `profile_name` when the name does not end in .json; `profile_unwritable` when the disk
        does not take it. Nothing is left behind then, and a file that was there stays as it was.
    """
    target = Path(path)
    check_profile_name(target)
    try:
        with TemporaryDirectory(prefix=".ct-daemon-", dir=target.parent) as folder:
            whole = Path(folder) / target.name
            digest = save_baseline(Baseline(blocks=(profile,)), whole)
            whole.replace(target)
        sync(target.parent)
    except OSError as error:
        raise ArtifactError(
            f"can't write the profile {target}: {error.strerror}; name a place that is there and open to this user",
            reason="profile_unwritable",
        ) from error
    return digest


def check_profile_name(path: Path) -> None:
    """Refuse a name that a profile can't be saved under.

    Raises
    ------
    ArtifactError
        `profile_name`, `profile_unwritable`.
    """
    if path.suffix != SUFFIX:
        raise ArtifactError(
            f"{path} can't be the name of a profile; let it end in {SUFFIX}", reason="profile_name"
        )
    if not path.parent.is_dir():
        raise ArtifactError(
            f"can't write the profile {path}: there is no folder {path.parent}; make it first",
            reason="profile_unwritable",
        )


def load_profile(path: str | os.PathLike[str]) -> Profile:
    """Read a saved profile, or a version's baseline as one profile.

    Raises
    ------
    ArtifactError
        `baseline_missing`, `baseline_malformed`, `baseline_version`.
    """
    named, remedy = f"the profile {os.fspath(path)}", "make it again: ct-daemon profile DATA --out FILE.json"
    content = _read(Path(path), named, remedy)
    return _parsed(content, name=named, remedy=remedy).merge()


def _read(path: Path, name: str, remedy: str) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ArtifactError(f"{name} is too large; {remedy}", reason="baseline_malformed")
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(
            f"can't read {name}: {error.strerror}; check the name, or {remedy}", reason="baseline_missing"
        ) from error


def _parsed(content: bytes, *, name: str, remedy: str) -> Baseline:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{name} is not JSON: {error}; {remedy}", reason="baseline_malformed") from error
    return from_document(document, name=name, remedy=remedy)
