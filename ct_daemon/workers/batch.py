"""The worker's program: ``python -m ct_daemon.workers.batch`` answers requests on stdin until it is closed.

The six operations of `protocols.Worker`. Each reads files and writes whole files or none, and nothing is kept
between requests but loaded models: a request can be repeated at any time.
"""

from __future__ import annotations

from functools import partial

from ct_daemon.feedback import join
from ct_daemon.protocols import (
    CompareRequest,
    JoinRequest,
    TakeRequest,
    TrainSpec,
    ValidateRequest,
    VerifyRequest,
)
from ct_daemon.scoring.predict import Scorer
from ct_daemon.workers.comparing import compare
from ct_daemon.workers.judging import evaluate
from ct_daemon.workers.serve import Operations, serve
from ct_daemon.workers.taking import take
from ct_daemon.workers.validating import validate
from ct_daemon.workers.verifying import verify


def operations(scorer: Scorer) -> Operations:
    """What the worker answers, by name."""
    return {
        "take": (TakeRequest, partial(take, scorer=scorer)),
        "compare": (CompareRequest, compare),
        "join": (JoinRequest, join),
        "validate": (ValidateRequest, validate),
        "evaluate": (TrainSpec, evaluate),
        "verify": (VerifyRequest, verify),
    }


if __name__ == "__main__":
    serve(operations(Scorer()))
