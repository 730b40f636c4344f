"""What the trainers of a run printed, kept after the run's work folder has gone."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import structlog

from ct_daemon.folders import StateFolder, make_folder, sync

OUTPUT = "output.log"
MAX_BYTES = 64 << 20
"""Of one run, all its steps and attempts together."""
CHUNK_BYTES = 1 << 20

log = structlog.get_logger(__name__)


def keep_output(folders: StateFolder, run_id: str, step: str, now: datetime) -> None:
    """Append what a step printed to the log of its run. A log that can't be kept fails no run: it is told."""
    printed, kept = folders.work(run_id) / OUTPUT, folders.run(run_id) / OUTPUT
    try:
        if not printed.is_file() or printed.is_symlink() or printed.stat().st_size == 0:
            return
        make_folder(kept.parent)
        _append(printed, kept, f"--- {step}, {now.isoformat(timespec='seconds')}\n".encode())
        printed.unlink()
    except OSError as error:
        log.warning("output.not_kept", run=run_id, step=step, error=str(error))


def _append(source: Path, target: Path, head: bytes) -> None:
    with source.open("rb") as printed, target.open("ab") as kept:
        left = MAX_BYTES - kept.tell() - len(head)
        if left <= 0:
            return
        kept.write(head)
        while left > 0 and (data := printed.read(min(left, CHUNK_BYTES))):
            kept.write(data)
            left -= len(data)
        kept.flush()
    sync(target)
