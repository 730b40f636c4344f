"""What an error in a step means for its run."""

from __future__ import annotations

import errno

from ct_daemon.errors import ContractError, CtDaemonError, TrainingError, WorkerError
from ct_daemon.pipeline.states import RunState
from ct_daemon.pipeline.workshop import Move

DATA_REASONS = frozenset(
    {"too_few_rows", "too_many_classes", "single_class", "no_features", "contract_broken", "columns_missing"}
)
"""Reasons of a trainer that speak of the data, not of a fault: the run is rejected, not failed."""
STOPPED_ON_PURPOSE = frozenset({(TrainingError, "stopped"), (WorkerError, "closed")})
"""The step ended because somebody cancelled the run or the daemon stops."""
SIGNALLED = frozenset({(TrainingError, reason) for reason in ("crashed", "killed", "exit_code")})
"""How a trainer ends that somebody sent a signal to."""
CANCELLED = Move(to=RunState.CANCELLED, reason="cancelled", detail="a person cancelled it")


WAITED_FOR = frozenset({"locked", "disk_full"})
"""States of ledger and disk that pass: nothing is wrong with the run."""


class PassingError(Exception):
    """The ledger is locked or the disk is full."""


def passes(error: Exception) -> bool:
    """Whether it is one of `WAITED_FOR`, whoever says it: the ledger, the file system, or a trainer."""
    return any(
        getattr(cause, "reason", None) in WAITED_FOR
        or getattr(cause, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
        for cause in (error, error.__cause__)
    )


def on_purpose(error: CtDaemonError, *, stopping: bool) -> bool:
    """Whether the step ended because somebody cancelled the run or the daemon stops.

    A service manager that stops the daemon may signal its trainers at the same moment.
    """
    known = (type(error), error.reason)
    return known in STOPPED_ON_PURPOSE or (stopping and known in SIGNALLED)


def end_of(error: CtDaemonError, state: RunState) -> Move:
    """The end that an error makes: rejected for data that don't do, rolled back for what is live already."""
    end = RunState.FAILED
    if isinstance(error, TrainingError | ContractError) and error.reason in DATA_REASONS:
        end = RunState.REJECTED
    elif state is RunState.VERIFYING:
        end = RunState.ROLLED_BACK
    return Move(to=end, reason=error.reason, detail=str(error))
