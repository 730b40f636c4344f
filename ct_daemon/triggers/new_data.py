"""Enough new rows or files since the last training, or the live version has grown too old."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from ct_daemon.times import span
from ct_daemon.types import Firing, Observation, Quiet, TriggerKind
from ct_daemon.words import counted

TENTHS = 10
"""A ceiling that a run has not brought down is claimed again after each tenth of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Count:
    """What is counted, of how much."""

    have: float
    limit: float
    noun: str
    ceiling: bool

    @property
    def share(self) -> float:
        return self.have / self.limit

    @property
    def is_reached(self) -> bool:
        # A moment that was worked out as "age reaches it" must do so in spite of rounding.
        return self.share >= 1 - 1e-9

    @property
    def times(self) -> str:
        """How often the limit has been reached; a ceiling counts each further tenth."""
        letter = self.noun[0].upper() if self.ceiling else self.noun[0]
        if not self.ceiling:
            return f"{letter}{int(self.share)}"
        return f"{letter}{math.floor((self.share - 1) * TENTHS + 1e-6)}" if self.is_reached else f"{letter}-"

    @property
    def so_far(self) -> str:
        if self.noun == "age":
            return f"{span(round(self.have))} of {span(self.limit)}"
        return f"{int(self.have):,} of {counted(int(self.limit), self.noun)}"

    @property
    def missing(self) -> str:
        if self.noun == "age":
            return f"{span(math.ceil(self.limit - self.have))} more"
        return counted(int(self.limit - self.have), f"more {self.noun}")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewData:
    """Fires when the labelled rows or the files since the last training reach their limit, or at a ceiling.

    Ceilings are `max_rows` rows of any kind since the last training, and `max_age_s` seconds of model time since the
    training of the live version. None is no limit. For what doesn't hold a ceiling see `policy`.

    The key names the live version, the labelled rows that were on hand at the last training, and how many times
    each limit has been reached since. So a count that a run has answered (one that failed, say, which does not reset
    the count) fires again when the limit has been reached once more, not with every file.
    """

    rows: int | None = None
    files: int | None = None
    max_rows: int | None = None
    max_age_s: float | None = None

    def evaluate(self, observation: Observation, now: datetime) -> Firing | Quiet:
        """Fire or count what is missing."""
        if observation.champion is None:
            return Quiet(
                trigger=TriggerKind.NEW_DATA,
                reason="no version is live; the first training comes first",
                needed="a live version",
            )
        counts = self._counts(observation, now)
        reached = [count for count in counts if count.is_reached]
        since = " since the last training"
        if not reached:
            more = " or ".join(count.missing for count in counts)
            so_far = " and ".join(count.so_far for count in counts)
            return Quiet(
                trigger=TriggerKind.NEW_DATA,
                reason=(so_far or "nothing is counted") + since,
                needed=more or "a limit of rows or files",
                progress=max((count.share for count in counts), default=None),
                due_at=self._due_at(observation, now),
            )
        known = observation.labelled_rows - observation.new_labelled_rows
        times = "".join(count.times for count in counts)
        return Firing(
            model=observation.model,
            trigger=TriggerKind.NEW_DATA,
            dedupe_key=f"new_data:v{observation.champion}:{known}:{times}",
            reason=" and ".join(count.so_far for count in counts) + since,
            evidence={
                "new_labelled_rows": observation.new_labelled_rows,
                "new_files": observation.new_files,
                "new_rows": observation.new_rows,
                "rows": self.rows,
                "files": self.files,
                "max_rows": self.max_rows,
                "max_age_s": self.max_age_s,
                "share": max(count.share for count in counts),
            },
            ceiling=any(count.ceiling for count in reached),
            due_at=self._due_at(observation, now),
        )

    def _counts(self, observation: Observation, now: datetime) -> list[_Count]:
        age_s = None
        if observation.trained_at is not None:
            age_s = max((now - observation.trained_at).total_seconds(), 0.0)
        found = (
            (observation.new_labelled_rows, self.rows, "labelled row", False),
            (observation.new_files, self.files, "file", False),
            (observation.new_rows, self.max_rows, "row", True),
            (age_s, self.max_age_s, "age", True),
        )
        return [
            _Count(have=have, limit=limit, noun=noun, ceiling=ceiling)
            for have, limit, noun, ceiling in found
            if limit is not None and have is not None
        ]

    def _due_at(self, observation: Observation, now: datetime) -> datetime | None:
        """When the age reaches the ceiling, or its next tenth beyond it."""
        if self.max_age_s is None or observation.trained_at is None:
            return None
        share = (now - observation.trained_at).total_seconds() / self.max_age_s
        tenths = max(math.floor((share - 1) * TENTHS + 1e-6) + 1, 0)
        return observation.trained_at + timedelta(seconds=self.max_age_s * (1 + tenths / TENTHS))
