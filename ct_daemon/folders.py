"""Where everything lies under the state folder. Paths are built from slugs, numbers and digests only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ct_daemon.errors import StateError
from ct_daemon.types import BatchKind

OUTPUT, METRICS = "output.log", "metrics.jsonl"
"""What a run's trainers printed and measured, in the run's folder."""


@dataclass(frozen=True, slots=True)
class StateFolder:
    """The layout of one daemon's state.

    ``ct-daemon.db`` the ledger · ``lock`` · ``control.sock`` · ``staging/`` copies being read · ``batches/`` accepted
    rows and labels · ``predictions/`` · ``profiles/`` of windows · ``samples/`` of rows trained on · ``snapshots/``
    manifests · ``work/`` a folder a run · ``runs/`` what runs printed and logged · ``scratch/`` of the worker ·
    ``adopted/`` copies for a run that adopts · ``versions/`` published versions · ``deploy/`` the alias · ``spool/``
    demands made while the daemon was down · ``quarantine/`` optional copies.
    """

    root: Path

    @property
    def staging(self) -> Path:
        """Copies of files that are being taken."""
        return self.root / "staging"

    @property
    def spool(self) -> Path:
        """Demands written while no daemon ran."""
        return self.root / "spool"

    @property
    def socket(self) -> Path:
        """The control socket."""
        return self.root / "control.sock"

    def object_path(self, model: str, kind: BatchKind, digest: str) -> Path:
        """Accepted rows or labels, named by the digest of the file they came in."""
        return self.root / "batches" / model / kind.value / f"{digest}.parquet"

    def predictions(self, model: str, version: int, batch: str) -> Path:
        """Predictions of one version for one batch (named by its digest)."""
        return self.root / "predictions" / model / f"v{version:06d}" / f"{batch}.parquet"

    def profile(self, model: str, baseline: str, last_batch_seq: int) -> Path:
        """The profile of one window on the cells of one baseline."""
        return self.root / "profiles" / model / f"{baseline[:16]}-{last_batch_seq}.json"

    def sample(self, model: str, version_digest: str) -> Path:
        """Some of the rows that a version was fitted on; drawn anew when it is not there."""
        return self.root / "samples" / model / f"{version_digest[:16]}.parquet"

    def snapshot(self, digest: str) -> Path:
        """A snapshot's manifest."""
        return self.root / "snapshots" / f"{digest}.json"

    def work(self, run_id: str) -> Path:
        """Where a run's trainers write."""
        return self.root / "work" / run_id

    def run(self, run_id: str) -> Path:
        """What a run printed and logged; stays when its work folder goes."""
        return self.root / "runs" / run_id

    @property
    def scratch(self) -> Path:
        """The worker's own; nothing in it outlives a request."""
        return self.root / "scratch"

    @property
    def adopted(self) -> Path:
        """Copies of models made elsewhere, with their reference rows, until a run has taken them."""
        return self.root / "adopted"

    def version(self, model: str, version: int) -> Path:
        """A published version."""
        return self.root / "versions" / model / f"v{version:06d}"

    @property
    def deploy(self) -> Path:
        """Default place of the alias folders."""
        return self.root / "deploy"

    @property
    def quarantine(self) -> Path:
        """Copies of refused files, where wanted."""
        return self.root / "quarantine"

    def relative(self, path: Path) -> str:
        """As the ledger keeps it."""
        return str(path.relative_to(self.root))

    def make(self) -> None:
        """Make the state folder and those that must exist before work starts, for nobody else's eyes.

        Raises
        ------
        StateError
            `state_unusable` if the file system refuses.
        """
        try:
            for folder in (self.root, self.staging, self.spool, self.root / "snapshots", self.root / "work"):
                make_folder(folder)
        except OSError as error:
            raise StateError(
                f"the state folder {self.root} can't be made: {error.strerror} ({error.filename}); correct 'state' "
                "in the configuration, or let this user write there",
                reason="state_unusable",
            ) from error


def why_unusable(root: Path) -> str | None:
    """Why a state folder can't be here; None if it is a folder or could be made one."""
    try:
        if root.exists() and not root.is_dir():
            return f"{root} is a file, not a folder"
        there = next(place for place in (root, *root.parents) if place.exists())
    except OSError as error:
        return f"{root} can't be reached: {error.strerror}"
    if not there.is_dir():
        return f"{root} can't be made: {there} is a file, not a folder"
    if not os.access(there, os.W_OK | os.X_OK):
        verb = "written" if there == root else "made"
        return f"{root} can't be {verb}: this user may not write in {there}"
    return None


def make_folder(path: Path, mode: int = 0o700) -> None:
    """Make a folder and those above it that are missing, so that a power cut can't take it back."""
    if path.is_dir():
        return
    make_folder(path.parent, mode)
    path.mkdir(exist_ok=True, mode=mode)
    sync(path.parent)


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on the disk."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def short_path(path: Path) -> Iterator[str]:
    """A name for a socket that fits into the 108 bytes that the kernel allows, however deep its folder lies."""
    if len(os.fsencode(path)) < 100 or not Path("/proc/self/fd").is_dir():
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
