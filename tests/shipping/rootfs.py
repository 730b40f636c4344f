"""Images without a registry: root folders made from this machine's own Debian packages, to stand for those that
Dockerfile and compose.yaml name.

What is under test is our image and how the services fit together; the base is only what they stand on. So a base made
here has the same system and the same layout (Python below /usr/local, Prometheus in /bin) as the real one.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

SYSTEM = (
    "apt",
    "base-files",
    "base-passwd",
    "bash",
    "ca-certificates",
    "coreutils",
    "dash",
    "grep",
    "libc-bin",
    "login",
    "passwd",
    "procps",
    "sed",
    "tini",
    "tzdata",
    "util-linux",
)
"""Debian packages of every root folder."""
LIBRARIES = (
    "libbz2-1.0",
    "libexpat1",
    "libffi8",
    "liblzma5",
    "libncursesw6",
    "libreadline8",
    "libsqlite3-0",
    "libssl3",
    "libuuid1",
    "zlib1g",
)
"""What a CPython that was built here is linked with."""
_MERGED = ("bin", "lib", "lib64", "sbin")
_NOT_NEEDED = re.compile(r"^/usr/share/(doc|man|locale|info|bash-completion|lintian)/")


def python_home() -> Path | None:
    """The folder of a CPython that can be copied elsewhere, 3.12 if there is one; None if there is none."""
    known = sorted(Path.home().glob(".pyenv/versions/3.12.*"))
    named = os.environ.get("CT_DAEMON_PYTHON_HOME")
    own = Path(sys.base_prefix)
    candidates = [Path(named)] if named else [*known, *([own] if own != Path("/usr") else [])]
    return next((home for home in candidates if (home / "bin/python3").exists()), None)


def make_root(root: Path, packages: Iterable[str]) -> Path:
    """A root folder with those packages of this machine and all that they need."""
    root.mkdir(parents=True)
    for name in _MERGED:
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    for package in sorted(_with_needs((*SYSTEM, *packages))):
        for path in _files(package):
            _copy(path, root)
    for name, mode in (("tmp", 0o1777), ("proc", 0o555), ("sys", 0o555), ("dev", 0o755), ("root", 0o700)):
        (root / name).mkdir(exist_ok=True)
        (root / name).chmod(mode)
    for name in ("passwd", "group"):
        shutil.copy(root / f"usr/share/base-passwd/{name}.master", root / "etc" / name)
    (root / "etc/shadow").write_text("")
    (root / "etc/gshadow").write_text("")
    subprocess.run(["/sbin/ldconfig", "-r", str(root)], check=True, timeout=60)
    return root


def add_python(root: Path, home: Path) -> None:
    """CPython below /usr/local, as the official images have it."""
    for name in ("bin", "include", "lib"):
        shutil.copytree(
            home / name,
            root / "usr/local" / name,
            symlinks=True,
            dirs_exist_ok=True,
            ignore=shutil.ignore_patterns("__pycache__", "test", "idlelib", "tkinter", "*.pth", "*.a"),
        )
    python = root / "usr/local/bin/python"
    if not python.exists():
        python.symlink_to("python3")
    subprocess.run(["/sbin/ldconfig", "-r", str(root)], check=True, timeout=60)


def _with_needs(packages: Iterable[str]) -> set[str]:
    """The packages and all that they depend on, as far as installed."""
    told = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Package}\t${db:Status-Status}\t${Pre-Depends}, ${Depends}\n"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    needs = {}
    for line in told.splitlines():
        name, status, depends = line.split("\t")
        if status == "installed":
            needs[name] = {
                word.split()[0].split(":")[0] for word in re.split(r"[,|]", depends) if word.strip()
            }
    found: set[str] = set()
    waiting = list(packages)
    while waiting:
        name = waiting.pop()
        if name not in found and name in needs:
            found.add(name)
            waiting.extend(needs[name])
    return found


def _files(package: str) -> Iterator[Path]:
    told = subprocess.run(
        ["dpkg-query", "-L", package], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    for line in told.splitlines():
        if line.startswith("/") and not _NOT_NEEDED.match(line):
            yield Path(line)


def _copy(path: Path, root: Path) -> None:
    """One file, link or folder, at the place where the merged /usr has it."""
    place = path.parent.resolve() / path.name
    target = root / place.relative_to("/")
    if place.is_symlink():
        if not target.is_symlink() and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(place.readlink())
    elif place.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    elif place.exists() and not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(place, target)
