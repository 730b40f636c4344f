"""A slot of the schedule came."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ct_daemon.times import moment
from ct_daemon.types import Firing, Observation, Quiet, TriggerKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Fires while a slot waits. The key names the slot, so that each is answered by one run.

    `rule` is the schedule in words; the slots themselves are facts of the ledger (`monitor.slots`).
    """

    rule: str

    def evaluate(self, observation: Observation, now: datetime) -> Firing | Quiet:
        """Fire for the slot that waits, or say when the next one comes."""
        slot, following = observation.slot, observation.next_slot
        if slot is None:
            return Quiet(
                trigger=TriggerKind.SCHEDULE,
                reason=f"no slot of the schedule ({self.rule}) is waiting",
                needed="no slot is left" if following is None else f"the slot of {moment(following)}",
                due_at=observation.next_slot_at,
            )
        return Firing(
            model=observation.model,
            trigger=TriggerKind.SCHEDULE,
            dedupe_key=f"schedule:{slot.due_at.isoformat()}",
            reason=f"the slot of {moment(slot.due_at)} is due ({self.rule})",
            evidence={"slot": slot.due_at.isoformat(), "rule": self.rule},
            due_at=observation.next_slot_at,
        )
