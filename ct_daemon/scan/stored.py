"""Profiles on disk: one JSON document a file (see `drift.document`)."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from ct_daemon.codec import canonical
from ct_daemon.drift.document import from_document, to_document
from ct_daemon.drift.profile import Baseline, Profile
from ct_daemon.errors import ArtifactError
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
    content = _read(path)
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        raise ArtifactError(
            f"the baseline {path} was altered: its SHA-256 is {found}, recorded is {digest}; "
            "restore it or train again",
            reason="baseline_altered",
        )
    return _parsed(path, content)


def save_profile(profile: Profile, path: Path) -> str:
    """Write a profile as `save_baseline` does.

    Raises
    ------
    ArtifactError
        `baseline_too_large`; `profile_name` when the name does not end in .json.
    OSError
        When the disk does not take it.
    """
    if path.suffix != SUFFIX:
        raise ArtifactError(
            f"{path} can't be the name of a profile; let it end in {SUFFIX}", reason="profile_name"
        )
    return save_baseline(Baseline(blocks=(profile,)), path)


def load_profile(path: Path) -> Profile:
    """Read a saved profile, or a version's baseline as one profile.

    Raises
    ------
    ArtifactError
        `baseline_missing`, `baseline_malformed`, `baseline_version`.
    """
    return _parsed(path, _read(path)).merge()


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ArtifactError(f"{path} is too large for a profile", reason="baseline_malformed")
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(
            f"can't read the baseline {path}: {error.strerror}; restore it or train again",
            reason="baseline_missing",
        ) from error


def _parsed(path: Path, content: bytes) -> Baseline:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(
            f"the baseline {path} is not JSON: {error}; restore it or train again",
            reason="baseline_malformed",
        ) from error
    return from_document(document)
