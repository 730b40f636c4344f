"""Snapshots as documents: which stored batches a training is made of. Imported by the daemon, so it stays light.

The manifest is canonical JSON and the snapshot is named by its digest: the same parts are the same snapshot.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ct_daemon.codec import canonical, decode, digest_of, plain
from ct_daemon.errors import ArtifactError
from ct_daemon.manifests import write_durably
from ct_daemon.types import Columns, Snapshot, SnapshotPart


def make_snapshot(
    *, model: str, columns: Columns, window_rows: int | None, parts: Iterable[SnapshotPart]
) -> Snapshot:
    """The snapshot of these parts, in arrival order, named by its digest.

    Raises
    ------
    ValueError
        If there is no part, or two with the same `seq`.
    """
    ordered = tuple(sorted(parts, key=lambda part: part.seq))
    if not ordered or len({part.seq for part in ordered}) != len(ordered):
        raise ValueError("a snapshot is made of one or more batches, each once")
    draft = Snapshot(digest="", model=model, columns=columns, window_rows=window_rows, parts=ordered)
    return Snapshot(
        digest=_digest(draft), model=model, columns=columns, window_rows=window_rows, parts=ordered
    )


def manifest_of(snapshot: Snapshot) -> dict[str, Any]:
    """The snapshot as a plain document."""
    document: dict[str, Any] = plain(snapshot)
    return document


def write_snapshot(snapshot: Snapshot, path: Path) -> None:
    """Put the manifest in place, durably. The same one twice is harmless."""
    write_durably(path, canonical(manifest_of(snapshot)))


def read_snapshot(path: Path) -> Snapshot:
    """The snapshot that `write_snapshot` wrote.

    Raises
    ------
    ArtifactError
        `file_missing`; `digest_mismatch` if the content does not bear the digest that it states.
    """
    try:
        snapshot = decode(Snapshot, path.read_bytes())
    except OSError as error:
        raise ArtifactError(
            f"the snapshot {path} can't be read: {error.strerror}; start another run", reason="file_missing"
        ) from error
    except ValidationError as error:
        raise _altered(path) from error
    if _digest(snapshot) != snapshot.digest:
        raise _altered(path)
    return snapshot


def _digest(snapshot: Snapshot) -> str:
    """Of everything but the digest itself."""
    return digest_of({name: value for name, value in manifest_of(snapshot).items() if name != "digest"})


def _altered(path: Path) -> ArtifactError:
    return ArtifactError(
        f"the snapshot {path} is not what was written; start another run", reason="digest_mismatch"
    )
