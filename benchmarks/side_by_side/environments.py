"""An environment of its own for each peer, made at its first use and kept."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

PEERS = Path(__file__).resolve().parents[1] / "peers"
PYTHONS = ("python3.11", "python3.12")
"""The interpreters that all locks of the peers can be installed with, the one that they were made with first."""


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A library of the field: its lock is `peers/NAME.txt`."""

    name: str
    program: Path

    @property
    def lock(self) -> Path:
        return PEERS / f"{self.name}.txt"


EVIDENTLY = Peer(name="evidently", program=PEERS / "run_evidently.py")
NANNYML = Peer(name="nannyml", program=PEERS / "run_nannyml.py")
ALIBI = Peer(name="alibi-detect", program=PEERS / "run_alibi.py")


class MissingPeerError(Exception):
    """A peer can't be installed here; says why."""


def python_of(peer: Peer, folder: Path) -> str:
    """The interpreter of a peer's environment, which is made if it is not there or has another lock."""
    home = folder / peer.name
    python = home / "bin" / "python"
    stamp = home / "lock.sha256"
    wanted = hashlib.sha256(peer.lock.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return str(python)
    print(f"installing {peer.name} into {home} (once)", file=sys.stderr)
    shutil.rmtree(home, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    _call([_interpreter(), "-m", "venv", str(home)])
    _call([str(python), "-m", "pip", "install", "--quiet", "--no-deps", "-r", str(peer.lock)])
    stamp.write_text(wanted, encoding="utf-8")
    return str(python)


def _interpreter() -> str:
    for name in PYTHONS:
        if f"python{sys.version_info.major}.{sys.version_info.minor}" == name:
            return sys.executable
        found = shutil.which(name)
        if found and subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode == 0:
            return found
    raise MissingPeerError(f"none of {', '.join(PYTHONS)} is here")


def _call(words: list[str]) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise MissingPeerError(said[-1] if said else f"{words[0]} ended with {done.returncode}")
