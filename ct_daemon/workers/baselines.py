"""Baselines that the worker has read, so that it reads and prepares one only once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path

from ct_daemon.drift.profile import Profile
from ct_daemon.scan.stored import load_baseline

COLUMNS = 1000
"""So many columns are kept, all baselines together; one takes up to about 0.4 MB, with what counting needs."""


class Baselines:
    """The newest used, by digest."""

    def __init__(self, columns: int = COLUMNS) -> None:
        self._columns = columns
        self._kept: OrderedDict[str, Profile] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, path: Path, digest: str) -> Profile:
        """The baseline with this SHA-256, all its blocks as one profile; read from `path` if it isn't kept.

        Raises
        ------
        ArtifactError
            See `load_baseline`.
        """
        with self._lock:
            found = self._kept.pop(digest, None) or load_baseline(path, digest).merge()
            self._kept[digest] = found
            while sum(len(profile.columns) for profile in self._kept.values()) > self._columns:
                self._kept.popitem(last=False)
        return found
