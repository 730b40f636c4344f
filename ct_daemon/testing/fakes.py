"""Fakes of the seams in `protocols.py`: they do at once, with empty files, what the real ones do with processes."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections import defaultdict
from collections.abc import Callable, MutableMapping
from pathlib import Path

from ct_daemon.codec import canonical
from ct_daemon.errors import CtDaemonError, DeployError, TrainingError
from ct_daemon.manifests import MANIFEST, write_durably, write_manifest
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
    VersionFiles,
)
from ct_daemon.types import ColumnKind, Contract, DriftReport, Quality

CONTRACT = Contract(columns={"a": ColumnKind.NUMERIC, "y": ColumnKind.NUMERIC})


class _Faulty:
    """Calls by name: `errors[call]` are raised first, one a call; `before[call]` runs at the call's beginning."""

    def __init__(self) -> None:
        self.errors: defaultdict[str, list[Exception]] = defaultdict(list)
        self.before: dict[str, Callable[[], object]] = {}
        self.calls: list[str] = []

    def _called(self, call: str) -> None:
        self.calls.append(call)
        if call in self.before:
            self.before[call]()
        if self.errors[call]:
            raise self.errors[call].pop(0)


class FakeWorker(_Faulty):
    """`protocols.Worker` whose answers are attributes. Nothing is read; a file taken is an empty object.

    Parameters
    ----------
    rows : int
        Rows of every batch, all of them labelled.
    """

    def __init__(self, rows: int = 100) -> None:
        super().__init__()
        self.taken = TakeResult(rows=rows, labelled_rows=rows, contract=CONTRACT)
        self.report = DriftReport(baseline_rows=rows, window_rows=rows, columns=())
        self.compared: list[CompareRequest] = []
        """What was asked."""
        self.joined = JoinResult(outcomes=())
        self.validated = ValidateResult(rows=rows, labelled_rows=rows, contract=CONTRACT)
        self.quality = Quality(metric="accuracy", value=0.9, rows=rows, low=0.85, high=0.95)
        self.champion: Quality | None = None
        self.verified = VerifyResult(rows=1)

    def take(self, request: TakeRequest) -> TakeResult:
        """`taken`; the object is there."""
        self._called("take")
        if self.taken.reason is None:
            write_durably(Path(request.object_path), b"")
        return self.taken

    def compare(self, request: CompareRequest) -> DriftReport:
        """`report`; the request is added to `compared`."""
        self.compared.append(request)
        self._called("compare")
        return self.report

    def join(self, request: JoinRequest) -> JoinResult:
        """`joined`."""
        self._called("join")
        return self.joined

    def validate(self, request: ValidateRequest) -> ValidateResult:
        """`validated`."""
        self._called("validate")
        return self.validated

    def evaluate(self, spec: TrainSpec) -> TrainResult:
        """`quality` for the candidate, `champion` for the live version."""
        self._called("evaluate")
        return TrainResult(
            verb="evaluate",
            seconds=0.0,
            train_rows=80,
            holdout_rows=20,
            candidate=self.quality,
            champion=self.champion,
        )

    def verify(self, request: VerifyRequest) -> VerifyResult:
        """`verified`."""
        self._called("verify")
        return self.verified


class FakeTrainer(_Faulty):
    """`protocols.TrainerRunner` that fits nothing: verb `finish` makes a whole version folder of tiny files.

    A call whose verb is in `hold` waits until `release` is set, or until its run is stopped: then it ends with
    `reason_of_stop`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.hold: set[str] = set()
        self.release = threading.Event()
        self.reason_of_stop = "stopped"
        self._stopped: set[str] = set()

    def run(self, spec: TrainSpec, *, time_s: float, memory_mb: int, output_mb: float) -> TrainResult:
        """One step."""
        self._called(spec.verb)
        while spec.verb in self.hold and not self.release.wait(0.005):
            if spec.run_id in self._stopped:
                raise TrainingError(f"run {spec.run_id} was stopped", reason=self.reason_of_stop)
        result = TrainResult(verb=spec.verb, seconds=0.0, train_rows=80, holdout_rows=20)
        return result if spec.verb == "train" else self._finished(spec)

    def stop(self, run_id: str, *, grace_s: float) -> bool:
        """A call that is held for this run ends."""
        self._stopped.add(run_id)
        return True

    def _finished(self, spec: TrainSpec) -> TrainResult:
        folder = Path(spec.workdir) / "version"
        if folder.exists():  # left by a try that a crash cut short
            shutil.rmtree(folder)
        folder.mkdir()
        baseline = canonical({"run": spec.run_id})
        (folder / "model.skops").write_bytes(b"")
        (folder / "baseline.json").write_bytes(baseline)
        digest = write_manifest(folder, {"model": spec.model, "version": spec.version, "run_id": spec.run_id})
        return TrainResult(
            verb="finish",
            seconds=0.0,
            train_rows=100,
            holdout_rows=20,
            digest=digest,
            baseline_digest=hashlib.sha256(baseline).hexdigest(),
        )


class MemoryTarget(_Faulty):
    """`protocols.DeployTarget` that keeps what is live in a dictionary.

    Parameters
    ----------
    shelf : mutable mapping, optional
        Where it is kept: two targets with one shelf are one target.
    """

    def __init__(self, shelf: MutableMapping[str, VersionFiles] | None = None) -> None:
        super().__init__()
        self.shelf: MutableMapping[str, VersionFiles] = {} if shelf is None else shelf

    def current(self, model: str) -> VersionFiles | None:
        """What is on the shelf."""
        self._called("current")
        return self.shelf.get(model)

    def deploy(self, model: str, version: VersionFiles) -> None:
        """Put it on the shelf, if its folder holds it."""
        self._called("deploy")
        try:
            manifest = (Path(version.path) / MANIFEST).read_bytes()
            number = json.loads(manifest)["version"]
        except (OSError, ValueError, KeyError) as error:
            raise DeployError(
                f"{version.path} holds no version: {error}", reason="version_altered"
            ) from error
        if (number, hashlib.sha256(manifest).hexdigest()) != (version.version, version.digest):
            raise DeployError(f"{version.path} holds another version", reason="version_altered")
        self.shelf[model] = version

    def withdraw(self, model: str) -> None:
        """Take it off the shelf."""
        self._called("withdraw")
        self.shelf.pop(model, None)


def fault(kind: type[CtDaemonError], reason: str) -> CtDaemonError:
    """An error to put into `errors`."""
    return kind(f"made up: {reason}", reason=reason)
