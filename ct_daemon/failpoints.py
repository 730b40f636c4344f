"""Named places between durable steps at which a test can end the process as a power cut would, or let it hang.

Unarmed, a failpoint is one comparison. Arm one with the environment variable ``CT_DAEMON_FAILPOINT=name`` (the
first pass kills), ``name:3`` (the third does) or ``name:3:hang`` (the third never returns, as in a deadlock). Every
name stands in `NAMES`, so that the crash suite can walk all of them and fail when one is never reached.
"""

from __future__ import annotations

import os
import signal
import time
from typing import NoReturn

NAMES: tuple[str, ...] = (
    "tick.begin",
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

_name, _count, _action = [*os.environ.get("CT_DAEMON_FAILPOINT", "").split(":"), "", ""][:3]
_left = int(_count or 1)


def failpoint(name: str) -> None:
    """End this process by SIGKILL, or hang, if `name` is armed and its turn has come."""
    global _left
    if name != _name:
        return
    _left -= 1
    if _left == 0:
        _ACTIONS[_action]()


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _hang() -> NoReturn:
    while True:
        time.sleep(3600.0)


_ACTIONS = {"": _kill, "kill": _kill, "hang": _hang}
if _action not in _ACTIONS:
    raise ValueError(f"CT_DAEMON_FAILPOINT: {_action!r} is no action; there are: kill, hang")
