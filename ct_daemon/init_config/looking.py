"""A look at a file of rows. A process of its own reads it: this one stays light, and a hostile file can't harm it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from ct_daemon.errors import SourceError
from ct_daemon.init_config.proposals import Look, look_of
from ct_daemon.processes.children import describe_end
from ct_daemon.terminal import printable

SUFFIXES = (".parquet", ".csv", ".jsonl", ".ndjson")
LONGEST_S = 120.0


def file_to_look_at(place: Path) -> Path | None:
    """The file itself, or the newest file of rows in a folder; none if the folder has none.

    Raises
    ------
    SourceError
        `file_missing` if there is nothing at that place.
    """
    if place.is_file():
        return place
    if not place.is_dir():
        raise SourceError(f"there is no file or folder {place}; check the name", reason="file_missing")
    try:
        files = [
            (path.stat().st_mtime_ns, path)
            for path in sorted(place.iterdir())
            if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
        ]
    except OSError as error:
        raise SourceError(
            f"{place} can't be read: {error.strerror}; give read access", reason="unreadable"
        ) from error
    return max(files)[1] if files else None


def look(path: Path) -> Look:
    """What the first rows of a file say.

    Raises
    ------
    SourceError
        With the reason of the reader, or `reader_ended`, `timeout`.
    """
    program = [sys.executable, "-P", "-m", "ct_daemon.workers.first_look", str(path.absolute())]
    try:
        done = subprocess.run(
            program, stdin=subprocess.DEVNULL, capture_output=True, timeout=LONGEST_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise SourceError(
            f"{path} could not be read in {LONGEST_S:.0f} s; let a smaller file be looked at",
            reason="timeout",
        ) from error
    try:
        document = json.loads(done.stdout)
    except ValueError as error:
        last = printable(done.stderr.decode(errors="replace").strip().rpartition("\n")[2])
        raise SourceError(
            f"the process that read {path} {describe_end(done.returncode)}: {last}; let another file be looked at",
            reason="reader_ended",
        ) from error
    if "error" in document:
        raise SourceError(document["error"]["detail"], reason=document["error"]["reason"])
    return look_of(path.name, document)
