"""Triggers that look at nothing: what a detector must be better than, to be worth its name."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ct_daemon.types import Firing, Observation, Quiet, TriggerKind
from ct_daemon.words import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Never:
    """Never fires: the first version stays for ever."""

    def evaluate(self, observation: Observation, now: datetime) -> Firing | Quiet:
        """Say so."""
        return Quiet(
            trigger=TriggerKind.CONTROL, reason="the control never fires", needed="another trigger to fire"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EveryN:
    """Fires with every n-th file of rows since the last training, whatever is in it; `n` 1 is *always*.

    The key names the newest batch: a run that failed is followed by another one with the next file.
    """

    n: int = 1

    def evaluate(self, observation: Observation, now: datetime) -> Firing | Quiet:
        """Fire or count the files that are missing."""
        have = observation.new_files
        so_far = f"{have:,} of {counted(self.n, 'file')} since the last training"
        if have < self.n:
            return Quiet(
                trigger=TriggerKind.CONTROL,
                reason=so_far,
                needed=counted(self.n - have, "more file"),
                progress=have / self.n,
            )
        return Firing(
            model=observation.model,
            trigger=TriggerKind.CONTROL,
            dedupe_key=f"every_n:{observation.last_batch_seq}",
            reason=so_far,
            evidence={"n": self.n, "new_files": have, "share": have / self.n},
        )
