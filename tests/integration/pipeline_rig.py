"""One model under care whose trainers are real processes; the rest of the daemon runs in the test's own process."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa

from ct_daemon.config import ModelSettings
from ct_daemon.control import Control
from ct_daemon.folders import StateFolder
from ct_daemon.monitor.monitor import Monitor
from ct_daemon.monitor.watch import Watch
from ct_daemon.pipeline.executor import Executor, ExecutorSettings
from ct_daemon.pipeline.states import TERMINAL, RunState
from ct_daemon.pipeline.workshop import Workshop
from ct_daemon.policy import Policy
from ct_daemon.predictors.asking import Bounds
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
)
from ct_daemon.scoring.predict import Scorer
from ct_daemon.sources.files import FolderSource
from ct_daemon.store.store import Store
from ct_daemon.testing import MemoryTarget, drop
from ct_daemon.training.runner import ProcessRunner
from ct_daemon.triggers.initial import Initial
from ct_daemon.triggers.on_demand import OnDemand
from ct_daemon.types import BatchKind, DriftReport, Event, Run
from ct_daemon.workers.comparing import Comparer
from ct_daemon.workers.judging import evaluate
from ct_daemon.workers.taking import take
from ct_daemon.workers.validating import validate
from ct_daemon.workers.verifying import verify


class NearWorker:
    """`protocols.Worker` without a process of its own: its operations, called here."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self._scorer = Scorer(bounds=bounds)

    def take(self, request: TakeRequest) -> TakeResult:
        return take(request, self._scorer)

    def compare(self, request: CompareRequest) -> DriftReport:
        return Comparer().compare(request)

    def join(self, request: JoinRequest) -> JoinResult:
        return JoinResult(outcomes=())

    def validate(self, request: ValidateRequest) -> ValidateResult:
        return validate(request)

    def evaluate(self, spec: TrainSpec) -> TrainResult:
        return evaluate(spec, self.bounds)

    def verify(self, request: VerifyRequest) -> VerifyResult:
        return verify(request, self.bounds)


class Site:
    """One model `m`. What a test changes of its training, it changes for the runs that begin after that."""

    def __init__(self, root: Path, **training: Any) -> None:
        self.folder = root
        self.inbox, self.code = root / "inbox", root / "code"
        for folder in (self.inbox, self.code):
            folder.mkdir()
        self.folders = StateFolder(root / "state")
        self.folders.make()
        self.store = Store.open(self.folders.root)
        with self.store.write() as tx:
            self.store.models.ensure(tx, ["m"])
        self.events: list[Event] = []
        self.settings = ModelSettings.model_validate(
            {
                "data": {"target": "y", "row_id": "row_id", "time": "at"},
                "source": {"folder": str(self.inbox), "settle": 0},
                "training": {"min_rows": 100, "refit": False, **training},
                "gate": {"margin": 1.0},
            }
        )
        self.worker = NearWorker(Bounds(time_s=20.0, memory_mb=1000, scratch=self.folders.scratch))
        self.trainer, self.target = ProcessRunner(), MemoryTarget()
        self.shops = {
            "m": Workshop(
                model="m",
                settings=self.settings,
                folders=self.folders,
                store=self.store,
                worker=self.worker,
                trainer=self.trainer,
                target=self.target,
                clock=self._clock,
            )
        }
        watch = Watch(
            model="m",
            settings=self.settings,
            sources=(FolderSource("rows", BatchKind.ROWS, self.settings.source, self.folders.staging),),
            triggers=(OnDemand(), Initial(min_rows=100)),
            policy=Policy(),
        )
        self.monitor = Monitor(
            store=self.store,
            folders=self.folders,
            worker=self.worker,
            watches={"m": watch},
            emit=self.events.append,
            queued=lambda: self.executor.notify(),
            clock=self._clock,
        )
        self.restart()

    def restart(self) -> None:
        """What a new process begins with: the ledger as it is."""
        self.executor = Executor(
            store=self.store,
            folders=self.folders,
            trainer=self.trainer,
            shops=self.shops,
            settings=ExecutorSettings(attempts=2),
            emit=self.events.append,
            ended=lambda model: None,
            clock=self._clock,
        )
        self.control = Control(
            store=self.store,
            shops=self.shops,
            monitor=self.monitor,
            executor=self.executor,
            emit=self.events.append,
            wake=lambda model: None,
            clock=self._clock,
        )
        self.executor.start()

    @staticmethod
    def _clock() -> datetime:
        return datetime.now(UTC)

    def close(self) -> None:
        self.executor.stop(0.0, interrupt=lambda: None)
        self.store.close()

    def train_with(self, *, limits: dict[str, Any] | None = None, **trainer: Any) -> None:
        """From now on."""
        document = {"min_rows": 100, "refit": False, "limits": limits or {}, **trainer}
        training = type(self.settings.training).model_validate(document).anchored(self.folder)
        settings = self.settings.model_copy(update={"training": training})
        self.shops["m"] = replace(self.shops["m"], settings=settings)

    def arrive(self, name: str, table: pa.Table) -> None:
        drop(self.inbox, name, table)
        self.monitor.tick("m")

    def retrain(self) -> str:
        """The id of a run that a person asked for."""
        ticket = self.control.request_run("m", origin="cli", force=True)
        assert ticket.demand.run_id is not None, ticket
        return ticket.demand.run_id

    def run(self, run_id: str) -> Run:
        with self.store.read() as tx:
            return self.store.runs.get(tx, run_id)

    def ended(self, run_id: str | None = None, timeout_s: float = 60.0) -> Run:
        """The run (default: the newest) once it has ended."""
        if run_id is None:
            with self.store.read() as tx:
                run_id = self.store.runs.list(tx, "m", limit=1)[0].id
        chosen = run_id
        self.until(lambda: RunState(self.run(chosen).state) in TERMINAL, f"{chosen} ended", timeout_s)
        self.until(lambda: not self.folders.work(chosen).exists(), "its work folder is gone")
        return self.run(chosen)

    @staticmethod
    def until(condition: Callable[[], Any], what: str, timeout_s: float = 20.0) -> Any:
        end = time.monotonic() + timeout_s
        while not (found := condition()):
            assert time.monotonic() < end, f"after {timeout_s} s still not: {what}"
            time.sleep(0.01)
        return found

    def output(self, run_id: str) -> str:
        """What the run's trainers printed."""
        path = self.folders.run(run_id) / "output.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def live(self) -> tuple[int, str] | None:
        """Version and digest that the target shows, and the folder's own digest with it."""
        found = self.target.shelf.get("m")
        if found is None:
            return None
        manifest = (Path(found.path) / "version.json").read_bytes()
        assert hashlib.sha256(manifest).hexdigest() == found.digest
        return found.version, found.digest


def carrying(run_id: str) -> list[str]:
    """Command lines of living processes that carry the run's marker."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("CT_DAEMON_RUN") == run_id and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.cmdline()))
        except (psutil.NoSuchProcess, psutil.AccessDenied):  # gone, or not ours
            continue
    return found
