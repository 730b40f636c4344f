"""Enough new rows or files since the last training."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ct_daemon.types import Firing, Observation, Quiet, TriggerKind
from ct_daemon.words import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class NewData:
    """Fires when the labelled rows or the files since the last training reach their limit. None is no limit.

    The key names the live version, the labelled rows that were on hand at the last training, and how many times
    each limit has been reached since. So a count that a run has answered (one that failed, say, which does not reset
    the count) fires again when the limit has been reached once more, not with every file.
    """

    rows: int | None = None
    files: int | None = None

    def evaluate(self, observation: Observation, now: datetime) -> Firing | Quiet:
        """Fire or count what is missing."""
        if observation.champion is None:
            return Quiet(
                trigger=TriggerKind.NEW_DATA,
                reason="no version is live; the first training comes first",
                needed="a live version",
            )
        counts = [
            (have, limit, noun)
            for have, limit, noun in (
                (observation.new_labelled_rows, self.rows, "labelled row"),
                (observation.new_files, self.files, "file"),
            )
            if limit is not None
        ]
        so_far = " and ".join(f"{have:,} of {counted(limit, noun)}" for have, limit, noun in counts)
        share = max((have / limit for have, limit, _ in counts), default=None)
        if share is None or share < 1:
            more = " or ".join(counted(limit - have, f"more {noun}") for have, limit, noun in counts)
            return Quiet(
                trigger=TriggerKind.NEW_DATA,
                reason=f"{so_far or 'nothing is counted'} since the last training",
                needed=more or "a limit of rows or files",
                progress=share,
            )
        known = observation.labelled_rows - observation.new_labelled_rows
        times = "".join(f"{noun[0]}{have // limit}" for have, limit, noun in counts)
        return Firing(
            model=observation.model,
            trigger=TriggerKind.NEW_DATA,
            dedupe_key=f"new_data:v{observation.champion}:{known}:{times}",
            reason=f"{so_far} since the last training",
            evidence={
                "new_labelled_rows": observation.new_labelled_rows,
                "new_files": observation.new_files,
                "rows": self.rows,
                "files": self.files,
                "share": share,
            },
        )
