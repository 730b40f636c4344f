"""Disks that tests can fill, break and cut the power of: file systems in image files, mounted through loop devices.

A power cut: the file system under test lies in an image file on an XFS that can share blocks. A shared-block copy of
that image, taken while the daemon works, is what would be on the disk if the power had gone at that moment: all that
was synced, and of the rest whatever the kernel had happened to write. A disk that lies about syncing is not modelled.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NEEDED = ("mkfs.ext4", "mkfs.xfs", "mount", "umount")
_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))


def _run(*command: str | Path) -> None:
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"PATH": _PATH},
    )
    if done.returncode != 0:
        raise OSError(f"{command[0]}: {done.stderr.strip()}")


class Disk:
    """A small file system of its own at `place`; `image` is what lies on the disk, `options` are those of mount."""

    def __init__(self, image: Path, place: Path, options: str = "loop") -> None:
        self.image, self.place = image, place
        place.mkdir()
        _run("mount", "-o", options, image, place)

    def break_down(self) -> None:
        """What the kernel does when the disk fails: from now on every write is refused."""
        _run("mount", "-o", "remount,abort", self.place)

    def fill(self) -> Path:
        """Use up the last byte; delete the returned file to have space again."""
        ballast = self.place / "ballast"
        with ballast.open("wb", buffering=0) as file:
            for size in (1 << 20, 1 << 12, 1):
                try:
                    while file.write(bytes(size)) == size:
                        os.fsync(file.fileno())  # space is not really given before
                except OSError:
                    continue
        return ballast

    def close(self) -> None:
        """Unmount it, whatever still uses it."""
        _run("umount", "--lazy", self.place)


class CutDisk(Disk):
    """A disk whose power can be cut while it goes on working."""

    options_of_copy = "loop"

    @contextmanager
    def cut(self) -> Iterator[Path]:
        """The file system as a power cut at this moment leaves it, recovered and mounted."""
        copy, place = self.image.with_name("cut.img"), self.place.with_name("cut")
        _run("cp", "--reflink=always", self.image, copy)
        after = Disk(copy, place, self.options_of_copy)
        try:
            yield place
        finally:
            _run("umount", after.place)
            place.rmdir()
            copy.unlink()


def _image(path: Path, mega: int, *make: str) -> Path:
    with path.open("wb") as file:
        file.truncate(mega << 20)
    _run(*make, path)
    return path


@contextmanager
def disk(folder: Path, mega: int = 24) -> Iterator[Disk]:
    """An ext4 disk of its own; skips, with the reason, where none can be made."""
    with _mounting():
        made = Disk(_image(folder / "disk.img", mega, "mkfs.ext4", "-q", "-m", "0"), folder / "disk")
    try:
        yield made
    finally:
        made.close()


@contextmanager
def cut_disk(folder: Path, mega: int = 200, kind: str = "ext4") -> Iterator[CutDisk]:
    """A disk for power cuts with the file system `kind`; skips, with the reason, where none can be made."""
    with _mounting():
        outer = Disk(
            _image(folder / "outer.img", 3 * mega + 300, "mkfs.xfs", "-q", "-m", "reflink=1"),
            folder / "outer",
        )
    try:
        image = _image(outer.place / "disk.img", mega, f"mkfs.{kind}", "-q")
        made = CutDisk(image, folder / "disk")
        if kind == "xfs":  # refuses to mount a copy beside its original otherwise
            made.options_of_copy = "loop,nouuid"
        try:
            yield made
        finally:
            made.close()
    finally:
        outer.close()


@contextmanager
def _mounting() -> Iterator[None]:
    if os.geteuid() != 0:
        pytest.skip("making a disk needs root")
    missing = [name for name in NEEDED if shutil.which(name, path=_PATH) is None]
    if missing:
        pytest.skip(f"making a disk needs {', '.join(missing)} (Debian: e2fsprogs, xfsprogs, mount)")
    try:
        yield
    except OSError as error:
        pytest.skip(f"this machine makes no disk of its own: {error}")
