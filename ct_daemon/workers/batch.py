"""The worker's program: ``python -m ct_daemon.workers.batch [SCRATCH TIME_S MEMORY_MB]`` answers requests on stdin
until it is closed. The arguments are what it may use for one request, and a folder for files that go to and fro
between it and models that are asked in a process of their own.

The six operations of `protocols.Worker`. Each reads files and writes whole files or none, and nothing is kept
between requests but loaded models and baselines: a request can be repeated at any time.
"""

from __future__ import annotations

import shutil
import sys
from functools import partial
from pathlib import Path

from ct_daemon.feedback import join
from ct_daemon.predictors.asking import Bounds
from ct_daemon.protocols import (
    CompareRequest,
    JoinRequest,
    TakeRequest,
    TrainSpec,
    ValidateRequest,
    VerifyRequest,
)
from ct_daemon.scoring.predict import Scorer
from ct_daemon.workers.comparing import Comparer
from ct_daemon.workers.judging import evaluate
from ct_daemon.workers.serve import Operations, serve
from ct_daemon.workers.taking import take
from ct_daemon.workers.validating import validate
from ct_daemon.workers.verifying import verify

SHARE_OF_TIME, SHARE_OF_MEMORY = 0.4, 0.6
"""Of what a request may use, so much for one question to a model: a model that hangs or grows is ended before the
worker is, so that no file is blamed for it. A request asks two models at most."""


def bounds_of(scratch: str, time_s: str, memory_mb: str) -> Bounds:
    """What a model may use that is asked in a process of its own. `scratch` is emptied: there is one worker only."""
    folder = Path(scratch)
    if folder.exists():
        shutil.rmtree(folder)
    return Bounds(
        time_s=SHARE_OF_TIME * float(time_s),
        memory_mb=int(SHARE_OF_MEMORY * int(memory_mb)),
        scratch=folder,
    )


def operations(bounds: Bounds) -> Operations:
    """What the worker answers, by name."""
    scorer = Scorer(bounds=bounds)
    return {
        "take": (TakeRequest, partial(take, scorer=scorer)),
        "compare": (CompareRequest, Comparer(patience_s=bounds.time_s).compare),
        "join": (JoinRequest, join),
        "validate": (ValidateRequest, validate),
        "evaluate": (TrainSpec, partial(evaluate, bounds=bounds)),
        "verify": (VerifyRequest, partial(verify, bounds=bounds)),
    }


if __name__ == "__main__":
    serve(operations(bounds_of(*sys.argv[1:]) if sys.argv[1:] else Bounds()))
