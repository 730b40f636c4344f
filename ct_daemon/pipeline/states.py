"""The states of a run, what may follow what, and what a crash in each means.

The state is written *before* its side effect, so a state says "this is being done". The tables here are data: the
diagram in the documentation is generated from them, and the executor follows them.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType


class RunState(StrEnum):
    """Where a run is."""

    QUEUED = "queued"
    """Decided and recorded; no process works on it yet."""
    SNAPSHOTTING = "snapshotting"
    """The data set version is being written down."""
    VALIDATING = "validating"
    """The snapshot is being looked at as a whole."""
    TRAINING = "training"
    """A trainer process fits the candidate on the older part."""
    EVALUATING = "evaluating"
    """Candidate and champion are judged on the newest part, then the gate speaks."""
    REGISTERING = "registering"
    """The version is completed (refit, baseline) and published."""
    DEPLOYING = "deploying"
    """The target is being switched to the version."""
    VERIFYING = "verifying"
    """The live version is read back and tried."""
    SUCCEEDED = "succeeded"
    """Live and verified."""
    REJECTED = "rejected"
    """Bad data or a candidate that is not good enough: a normal result, the champion stays."""
    ROLLED_BACK = "rolled_back"
    """Went live but did not verify; the version before was put back."""
    CANCELLED = "cancelled"
    """A person ended it before it went live."""
    FAILED = "failed"
    """Something broke; the reason says what. The champion stays."""


S = RunState

TERMINAL = frozenset({S.SUCCEEDED, S.REJECTED, S.ROLLED_BACK, S.CANCELLED, S.FAILED})
"""A run in one of these never changes again."""

JOINABLE = frozenset({S.QUEUED})
"""A run in one of these has not yet read its data, so a later demand is served by it."""

ALLOWED = MappingProxyType(
    {
        S.QUEUED: (S.SNAPSHOTTING, S.CANCELLED, S.FAILED),
        S.SNAPSHOTTING: (S.VALIDATING, S.CANCELLED, S.FAILED),
        S.VALIDATING: (S.TRAINING, S.REJECTED, S.CANCELLED, S.FAILED),
        S.TRAINING: (S.EVALUATING, S.REJECTED, S.CANCELLED, S.FAILED),
        S.EVALUATING: (S.REGISTERING, S.REJECTED, S.CANCELLED, S.FAILED),
        S.REGISTERING: (S.DEPLOYING, S.CANCELLED, S.FAILED),
        S.DEPLOYING: (S.VERIFYING, S.ROLLED_BACK, S.FAILED),
        S.VERIFYING: (S.SUCCEEDED, S.ROLLED_BACK, S.FAILED),
        S.SUCCEEDED: (),
        S.REJECTED: (),
        S.ROLLED_BACK: (),
        S.CANCELLED: (),
        S.FAILED: (),
    }
)
"""What may follow what."""

AFTER_CRASH = MappingProxyType(
    {
        S.QUEUED: "claimed as if nothing had happened",
        S.SNAPSHOTTING: "repeated; the snapshot is named by its content",
        S.VALIDATING: "repeated; it only reads",
        S.TRAINING: "repeated in an empty work folder; the old trainer is dead",
        S.EVALUATING: "repeated; the candidate's file is still there, else training is the reason of failure",
        S.REGISTERING: "repeated; the number is reserved for the run, the folder is renamed into place whole",
        S.DEPLOYING: "repeated; the deployment is recorded once for the run, the switch is atomic",
        S.VERIFYING: "repeated; it only reads",
    }
)
"""What taking up a run again does in each state; attempts are limited by `limits.attempts`."""


def mermaid() -> str:
    """The state diagram as Mermaid text."""
    lines = ["stateDiagram-v2", "    [*] --> queued"]
    for state, following in ALLOWED.items():
        lines += [f"    {state.value} --> {after.value}" for after in following]
        if state in TERMINAL:
            lines.append(f"    {state.value} --> [*]")
    return "\n".join(lines)
