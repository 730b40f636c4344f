"""A worker whose calls are waits that the pulse of the loop knows the limit of."""

from __future__ import annotations

from ct_daemon.protocols import (
    CompareRequest,
    JoinRequest,
    JoinResult,
    TakeRequest,
    TakeResult,
    TrainResult,
    TrainSpec,
    ValidateRequest,
    ValidateResult,
    VerifyRequest,
    VerifyResult,
    Worker,
)
from ct_daemon.pulse import Pulse
from ct_daemon.types import DriftReport


class PatientWorker:
    """Implements `protocols.Worker` by another one.

    Parameters
    ----------
    limit_s : float
        Longest time for one call, waiting for its turn included. The worker ends what takes longer; a call that even
        so does not come back is a fault of the daemon's own, and the pulse stands still.
    """

    def __init__(self, worker: Worker, pulse: Pulse, limit_s: float) -> None:
        self._worker, self._pulse, self._limit_s = worker, pulse, limit_s

    def take(self, request: TakeRequest) -> TakeResult:
        """As the worker's own."""
        with self._pulse.waiting(self._limit_s):
            return self._worker.take(request)

    def compare(self, request: CompareRequest) -> DriftReport:
        """As the worker's own."""
        with self._pulse.waiting(self._limit_s):
            return self._worker.compare(request)

    def join(self, request: JoinRequest) -> JoinResult:
        """As the worker's own."""
        with self._pulse.waiting(self._limit_s):
            return self._worker.join(request)

    def validate(self, request: ValidateRequest) -> ValidateResult:
        """As the worker's own."""
        with self._pulse.waiting(self._limit_s):
            return self._worker.validate(request)

    def evaluate(self, spec: TrainSpec) -> TrainResult:
        """As the worker's own."""
        with self._pulse.waiting(self._limit_s):
            return self._worker.evaluate(spec)

    def verify(self, request: VerifyRequest) -> VerifyResult:
        """As the worker's own."""
        with self._pulse.waiting(self._limit_s):
            return self._worker.verify(request)
