"""What a run's trainers printed and measured, read a piece at a time.

What is kept is under ``runs/``; what the step that is under way has printed stands behind it, in the work folder. A
trainer writes there, so nothing is trusted: only regular files are read, never through a link, never more than was
asked for.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from ct_daemon.folders import METRICS, OUTPUT, StateFolder

MAX_LOG_BYTES = 256 * 1024
"""Longest piece of a log in one answer."""
MAX_METRICS_BYTES = 64 * 1024
"""So much of the metrics is looked at in one go; a longer line is passed over."""


def read_piece(folders: StateFolder, run_id: str, name: str, offset: int, limit: int) -> tuple[bytes, int]:
    """At most `limit` bytes from `offset` on, and the size of all there is; nothing and 0 where there is no file."""
    piece, total = b"", 0
    places = [folders.run(run_id)] if name == METRICS else [folders.run(run_id), folders.work(run_id)]
    for folder in places:
        found, size = _read(folder / name, max(offset - total, 0), limit - len(piece))
        piece += found
        total += size
    return piece, total


def _read(path: Path, offset: int, limit: int) -> tuple[bytes, int]:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b"", 0
    with os.fdopen(handle, "rb") as stream:
        about = os.fstat(stream.fileno())
        if not stat.S_ISREG(about.st_mode):
            return b"", 0
        stream.seek(offset)
        return stream.read(max(min(limit, about.st_size - offset), 0)), about.st_size


def log_document(
    folders: StateFolder, run_id: str, *, offset: int, limit: int, ended: bool
) -> dict[str, Any]:
    """A piece of what was printed, cut between two characters, and where the next piece begins.

    `next` is None once the run has ended and all of it was read; before that asking again may give more.
    """
    piece, size = read_piece(folders, run_id, OUTPUT, offset, limit)
    more_to_come = not ended or offset + len(piece) < size
    if more_to_come:
        piece = whole_characters(piece)
    end = offset + len(piece)
    return {
        "run": run_id,
        "offset": offset,
        "text": piece.decode("utf-8", "replace"),
        "size": size,
        "next": end if more_to_come else None,
        "ended": ended,
    }


def whole_characters(piece: bytes) -> bytes:
    """Without the beginning of a character at the end, unless there is nothing else."""
    for back in range(1, min(4, len(piece))):
        byte = piece[-back]
        if byte < 0x80:
            break
        if byte >= 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return piece if back >= length else piece[:-back]
    return piece


def metrics_after(folders: StateFolder, run_id: str, offset: int) -> tuple[list[dict[str, Any]], int]:
    """The measurements written whole after `offset`, and where to go on. Lines that hold none are passed over."""
    piece, _ = read_piece(folders, run_id, METRICS, offset, MAX_METRICS_BYTES)
    end = piece.rfind(b"\n") + 1
    if not end:
        return [], offset + (len(piece) if len(piece) == MAX_METRICS_BYTES else 0)
    found = []
    for line in piece[:end].splitlines():
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            found.append(value)
    return found, offset + end
