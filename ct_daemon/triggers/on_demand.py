"""A person asks for a run, by signal, HTTP or command."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from ct_daemon.types import Demand, Firing, Observation, Quiet, TriggerKind

KEY_LENGTH = 200
"""A key is no longer than this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnDemand:
    """Fires while a demand waits."""

    def evaluate(self, observation: Observation, now: datetime) -> Firing | Quiet:
        """Fire for all waiting demands together, in the order in which they were asked."""
        demands = sorted(observation.demands, key=lambda d: (d.asked_at, d.id))
        if not demands:
            return Quiet(
                trigger=TriggerKind.ON_DEMAND,
                reason="nobody asked for a run",
                needed="somebody asks for a run (signal, HTTP or command)",
            )
        origins = ", ".join(sorted({d.origin for d in demands}))
        return Firing(
            model=observation.model,
            trigger=TriggerKind.ON_DEMAND,
            dedupe_key=_key([d.id for d in demands]),
            reason=f"asked for by {origins} ({len(demands)} waiting)",
            evidence={
                "demands": [
                    {"id": d.id, "origin": d.origin, "force": d.force, "asked_at": d.asked_at.isoformat()}
                    | ({} if d.adopt is None else {"adopt": dict(d.adopt)})
                    for d in demands
                ]
            },
        )


def demands_of(firing: Firing) -> tuple[Demand, ...]:
    """The demands that an `OnDemand` firing lists, as far as the policy looks at them.

    Their `dedupe_key` and `note` are not part of the evidence; the key is the id here.
    """
    return tuple(
        Demand(
            id=entry["id"],
            model=firing.model,
            origin=entry["origin"],
            dedupe_key=entry["id"],
            force=entry["force"],
            asked_at=datetime.fromisoformat(entry["asked_at"]),
            adopt=entry.get("adopt"),
        )
        for entry in firing.evidence["demands"]
    )


def _key(ids: list[str]) -> str:
    """The ids themselves where they fit, else their number and digest."""
    spelt = "on_demand:" + "+".join(ids)
    if len(spelt) <= KEY_LENGTH:
        return spelt
    return f"on_demand:{len(ids)}:{hashlib.sha256(spelt.encode()).hexdigest()}"
