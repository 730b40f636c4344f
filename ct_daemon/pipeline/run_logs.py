"""What the trainers of a run printed, kept after the run's work folder has gone."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import structlog

from ct_daemon.folders import OUTPUT, StateFolder, make_folder, sync

MAX_BYTES = 64 << 20
"""Of one run, all its steps and attempts together."""
CHUNK_BYTES = 1 << 20

log = structlog.get_logger(__name__)


def head_output(folders: StateFolder, run_id: str, step: str, now: datetime) -> None:
    """Begin a step in the log of its run.

    What is kept, and behind it what the step prints into the work folder, is one text that only grows: a reader who
    goes on from an offset misses nothing.
    """
    kept = folders.run(run_id) / OUTPUT
    try:
        make_folder(kept.parent)
        with kept.open("ab") as file:
            file.write(f"--- {step}, {now.isoformat(timespec='seconds')}\n".encode())
    except OSError as error:
        log.warning("output.not_kept", run=run_id, step=step, error=str(error))


def keep_output(folders: StateFolder, run_id: str, step: str) -> None:
    """Append what a step printed to the log of its run. A log that can't be kept fails no run: it is told."""
    printed, kept = folders.work(run_id) / OUTPUT, folders.run(run_id) / OUTPUT
    taken = printed.with_suffix(".kept")
    try:
        if not printed.is_file() or printed.is_symlink():
            return
        printed.replace(taken)  # so that no reader sees it in both places
        _append(taken, kept)
        taken.unlink()
    except OSError as error:
        log.warning("output.not_kept", run=run_id, step=step, error=str(error))


def _append(source: Path, target: Path) -> None:
    with source.open("rb") as printed, target.open("ab") as kept:
        left = MAX_BYTES - kept.tell()
        while left > 0 and (data := printed.read(min(left, CHUNK_BYTES))):
            kept.write(data)
            left -= len(data)
        kept.flush()
    sync(target)
