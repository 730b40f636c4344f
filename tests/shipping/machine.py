"""What tests of the shipped files need of the machine that they run on, and what they leave behind: nothing."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

CGROUPS = Path("/sys/fs/cgroup")
LONG = "CT_DAEMON_SHIPPING"
"""Set by scripts/shipping: run what takes minutes, too."""
_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))


def need_root(what: str) -> None:
    """Skip if this is not root."""
    if os.geteuid() != 0:
        pytest.skip(f"{what} needs root")


def need_tools(what: str, programs: Mapping[str, str]) -> None:
    """Skip if a program is missing; `programs` maps each to the Debian package that has it."""
    missing = {package for name, package in programs.items() if shutil.which(name, path=_PATH) is None}
    if missing:
        pytest.skip(f"{what} needs more programs (Debian: {', '.join(sorted(missing))})")


def has_time() -> bool:
    """Whether this is the long form, in which nothing else runs beside a test."""
    return bool(os.environ.get(LONG))


def need_time() -> None:
    """Skip what takes minutes, unless it is asked for."""
    if not has_time():
        pytest.skip("takes minutes; scripts/shipping runs it")


def hierarchies() -> Iterator[Path]:
    """The roots of the mounted cgroup trees, one or several."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if kind in ("cgroup", "cgroup2") and Path(place).is_relative_to(CGROUPS):
            yield Path(place)


def remove_cgroups(name: str) -> None:
    """Take away the cgroups of that name, wherever they are, with all below them; nobody may live in them."""
    for root in hierarchies():
        for top in [path for path in (root / name, *root.glob(f"*/**/{name}")) if path.is_dir()]:
            for folder in sorted((path for path in top.rglob("*") if path.is_dir()), reverse=True):
                _remove(folder)
            _remove(top)


def _remove(folder: Path) -> None:
    """A cgroup stays busy for a moment after its last process has ended."""
    end = time.monotonic() + 5.0
    while True:
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
        else:
            return
