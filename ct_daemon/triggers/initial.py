"""The first training: no version is live and there are enough labelled rows for one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ct_daemon.types import Firing, Observation, Quiet, TriggerKind
from ct_daemon.words import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Initial:
    """Fires while no version is live and `min_rows` labelled rows are on hand.

    The key names the labelled rows on hand: a first training that came to nothing is tried again when new labelled
    rows came, not before.
    """

    min_rows: int

    def evaluate(self, observation: Observation, now: datetime) -> Firing | Quiet:
        """Fire or count the labelled rows that are missing."""
        if observation.champion is not None:
            return Quiet(
                trigger=TriggerKind.INITIAL,
                reason=f"version {observation.champion} is live",
                needed="no version is live",
            )
        rows = observation.labelled_rows
        share = rows / self.min_rows
        so_far = f"{rows:,} of {counted(self.min_rows, 'labelled row')} for the first training"
        if rows < self.min_rows:
            return Quiet(
                trigger=TriggerKind.INITIAL,
                reason=so_far,
                needed=counted(self.min_rows - rows, "more labelled row"),
                progress=share,
            )
        return Firing(
            model=observation.model,
            trigger=TriggerKind.INITIAL,
            dedupe_key=f"initial:{rows}",
            reason=f"no version is live, and there are {so_far}",
            evidence={"labelled_rows": rows, "min_rows": self.min_rows, "share": share},
        )
