"""The whole loop in one process, without processes: the real ledger, monitor, executor and control on fakes."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ct_daemon.config import ModelSettings
from ct_daemon.control import Control
from ct_daemon.errors import SourceError
from ct_daemon.folders import StateFolder
from ct_daemon.monitor.monitor import Monitor, Tick
from ct_daemon.parts import watch_of
from ct_daemon.pipeline import executor
from ct_daemon.pipeline.executor import Executor, ExecutorSettings
from ct_daemon.pipeline.states import TERMINAL, RunState
from ct_daemon.pipeline.workshop import Workshop
from ct_daemon.policy import Policy
from ct_daemon.store.store import Store
from ct_daemon.testing import FakeTrainer, FakeWorker, MemoryTarget
from ct_daemon.types import Arrival, BatchKind, Event, FileStamp, Run


class Inbox:
    """A `protocols.Source` into which a test puts files by name; `fault` makes the next poll fail."""

    name = "rows"

    def __init__(self, staging: Path) -> None:
        self._staging = staging
        self.files: dict[str, bytes] = {}
        self.fault: SourceError | None = None

    def poll(self, known: Mapping[str, FileStamp], now_s: float) -> Iterator[Arrival]:
        if self.fault is not None:
            raise self.fault
        for name, content in self.files.items():
            stamp = FileStamp(size_bytes=len(content), mtime_ns=1, inode=1)
            if known.get(name) == stamp:
                continue
            staged = self._staging / name
            staged.write_bytes(content)
            yield Arrival(
                source=self.name,
                name=name,
                stamp=stamp,
                kind=BatchKind.ROWS,
                staged=str(staged),
                digest=hashlib.sha256(content).hexdigest(),
            )

    def pending_s(self) -> float | None:
        return None


class Loop:
    """One model `m` under care. Time stands still unless a test moves `now`."""

    def __init__(
        self,
        root: Path,
        *,
        policy: Policy | None = None,
        chosen: Mapping[str, Any] | None = None,
        now: datetime = datetime(2026, 3, 1, 12, tzinfo=UTC),
    ) -> None:
        """`chosen`: the section `triggers` of the settings."""
        self.folders = StateFolder(root)
        self.folders.make()
        self.store = Store.open(root)
        with self.store.write() as tx:
            self.store.models.ensure(tx, ["m"])
        self.now = now
        self.worker, self.trainer, self.target = FakeWorker(), FakeTrainer(), MemoryTarget()
        self.events: list[Event] = []
        self.woken: list[str] = []
        self.inbox = Inbox(self.folders.staging)
        self.settings = ModelSettings.model_validate(
            {
                "data": {"target": "y"},
                "source": {"folder": str(root)},
                "training": {"min_rows": 50},
                "drift": {"window_rows": 200},
                "triggers": dict(chosen or {}),
            }
        )
        self.policy = policy or Policy()
        self.shop = Workshop(
            model="m",
            settings=self.settings,
            folders=self.folders,
            store=self.store,
            worker=self.worker,
            trainer=self.trainer,
            target=self.target,
            clock=self._clock,
        )
        self._new_monitor()
        self._new_executor()

    def _clock(self) -> datetime:
        return self.now

    def _new_monitor(self) -> None:
        watch = watch_of("m", self.settings, self.folders)
        self.monitor = Monitor(
            store=self.store,
            folders=self.folders,
            worker=self.worker,
            watches={"m": replace(watch, sources=(self.inbox,), policy=self.policy)},
            emit=self.events.append,
            queued=lambda: self.executor.notify(),
            clock=self._clock,
        )

    def _new_executor(self) -> None:
        self.executor = Executor(
            store=self.store,
            folders=self.folders,
            trainer=self.trainer,
            shops={"m": self.shop},
            settings=ExecutorSettings(attempts=2),
            emit=self.events.append,
            ended=self.woken.append,
            clock=self._clock,
        )
        self.control = Control(
            store=self.store,
            shops={"m": self.shop},
            monitor=self.monitor,
            executor=self.executor,
            emit=self.events.append,
            wake=self.woken.append,
            clock=self._clock,
        )
        self.working = False

    # --- doing ----------------------------------------------------------------------------------------------------

    def work(self) -> None:
        """Start the executor's threads."""
        self.executor.start()
        self.working = True

    def restart(self) -> None:
        """What a new process finds: the ledger as it is, rooms that have just begun."""
        if self.working:
            self.executor.stop(0.0, interrupt=lambda: None)
        self._new_monitor()
        self._new_executor()
        self.work()

    def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def arrive(self, name: str, *, until: datetime | None = None, content: bytes | None = None) -> Tick:
        """A file of 100 labelled rows arrives and is looked at."""
        self.worker.taken = replace(self.worker.taken, event_from_at=until, event_until_at=until)
        self.inbox.files[name] = name.encode() if content is None else content
        return self.monitor.tick("m", only_if_new=True)

    def until(self, condition: Callable[[], Any], what: str) -> Any:
        end = time.monotonic() + 20
        while not (found := condition()):
            assert time.monotonic() < end, f"after 20 s still not: {what}; runs: {self.runs()}"
            time.sleep(0.002)
        return found

    def ended(self, count: int) -> list[Run]:
        """The runs, once `count` have ended and been finished with."""
        self.until(lambda: self.woken.count("m") >= count, f"{count} runs have ended")
        return self.runs()

    def first_version(self) -> None:
        """A model is live: version 1."""
        self.arrive("first")
        if not self.working:
            self.work()
        assert [run.state for run in self.ended(1)] == ["succeeded"]

    # --- looking --------------------------------------------------------------------------------------------------

    def runs(self) -> list[Run]:
        with self.store.read() as tx:
            return list(reversed(self.store.runs.list(tx, "m")))

    def active(self) -> Run | None:
        return next((run for run in self.runs() if RunState(run.state) not in TERMINAL), None)

    def live(self) -> int | None:
        """The champion by the ledger."""
        with self.store.read() as tx:
            deployment = self.store.deployments.live(tx, "m")
        return None if deployment is None else deployment.version

    def shown(self) -> int | None:
        """The champion by the target."""
        found = self.target.shelf.get("m")
        return None if found is None else found.version

    def window_from(self) -> int:
        with self.store.read() as tx:
            return self.store.models.state(tx, "m").window_seq_from


@pytest.fixture
def loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Loop]]:
    """A function that makes loops. What the executor waits seconds for, it waits milliseconds for here."""
    monkeypatch.setattr(executor, "RETRY_S", 0.01)
    monkeypatch.setattr(executor, "LONGEST_RETRY_S", 0.02)
    made: list[Loop] = []

    def make(**options: Any) -> Loop:
        made.append(Loop(tmp_path / "state", **options))
        return made[-1]

    yield make
    for one in made:
        if one.working:
            one.executor.stop(0.0, interrupt=lambda: None)
        one.store.close()
