"""Named places between durable steps at which a test can end the process as a power cut would.

Unarmed, a failpoint is one comparison. Arm one with the environment variable ``CT_DAEMON_FAILPOINT=name`` (the
first pass kills) or ``name:3`` (the third does). Every name stands in `NAMES`, so that the crash suite can walk
all of them and fail when one is never reached.
"""

from __future__ import annotations

import os
import signal

NAMES: tuple[str, ...] = (
    "file.staged",
    "batch.stored",
    "batch.recorded",
    "outcome.recorded",
    "window.recorded",
    "decision.recorded",
    "demand.recorded",
    "demand.answered",
    "run.claimed",
    "snapshot.written",
    "snapshot.recorded",
    "validated.recorded",
    "trained",
    "trained.recorded",
    "evaluated",
    "evaluated.recorded",
    "version.reserved",
    "artifact.copied",
    "artifact.renamed",
    "version.recorded",
    "deployment.recorded",
    "alias.linked",
    "alias.switched",
    "deployed.recorded",
    "verified",
    "verified.recorded",
    "spool.renamed",
    "spool.recorded",
    "rollback.recorded",
    "rollback.switched",
    "retention.recorded",
)

_name, _, _count = os.environ.get("CT_DAEMON_FAILPOINT", "").partition(":")
_left = int(_count or 1)


def failpoint(name: str) -> None:
    """End this process by SIGKILL if `name` is armed and its turn has come."""
    global _left
    if name != _name:
        return
    _left -= 1
    if _left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
