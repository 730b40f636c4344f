"""A model under watch with a real ledger and real folders, and a worker that does what a test tells it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from ct_daemon.config import ModelSettings
from ct_daemon.errors import WorkerError
from ct_daemon.folders import StateFolder
from ct_daemon.monitor.monitor import Monitor
from ct_daemon.monitor.watch import Watch
from ct_daemon.policy import Policy
from ct_daemon.protocols import TakeRequest, TakeResult
from ct_daemon.sources.files import FolderSource
from ct_daemon.store.store import Store
from ct_daemon.types import Batch, BatchKind, ColumnKind, Contract, Event

NOW = datetime(2026, 11, 24, 6, tzinfo=UTC)
TAKEN = TakeResult(
    rows=10, labelled_rows=10, contract=Contract(columns={"x": ColumnKind.NUMERIC, "y": ColumnKind.NUMERIC})
)


class ScriptedWorker:
    """Answers each take with the next of `answers`, then with `TAKEN`; an error is raised."""

    def __init__(self) -> None:
        self.answers: list[TakeResult | Exception] = []
        self.asked: list[str] = []

    def take(self, request: TakeRequest) -> TakeResult:
        self.asked.append(request.name)
        answer = self.answers.pop(0) if self.answers else TAKEN
        if isinstance(answer, Exception):
            raise answer
        return answer


class Post:
    """One model `m` whose rows arrive in `inbox`."""

    def __init__(self, root: Path, store: Store) -> None:
        self.store = store
        self.inbox = root / "inbox"
        self.inbox.mkdir()
        self.folders = StateFolder(root / "state")
        self.folders.make()
        settings = ModelSettings.model_validate(
            {"data": {"target": "y"}, "source": {"folder": self.inbox, "settle": 0}}
        )
        self.source = FolderSource("rows", BatchKind.ROWS, settings.source, self.folders.staging)
        watch = Watch(model="m", settings=settings, sources=(self.source,), triggers=(), policy=Policy())
        self.worker = ScriptedWorker()
        self.events: list[Event] = []
        self.monitor = Monitor(
            store=store,
            folders=self.folders,
            worker=self.worker,
            watches={"m": watch},
            emit=self.events.append,
            queued=lambda: None,
            clock=lambda: NOW,
        )

    def put(self, name: str, age_s: float = 60.0) -> Path:
        path = self.inbox / name
        path.write_text(name)
        at = NOW.timestamp() - age_s
        os.utime(path, (at, at))
        return path

    def batches(self) -> dict[str, Batch]:
        """What became of the files, by name."""
        with self.store.read() as tx:
            known = self.store.batches.list(tx, "m")
        return {batch.name: batch for batch in known}

    def error(self) -> str | None:
        """What `status` says is wrong with the model."""
        with self.store.read() as tx:
            return self.store.models.state(tx, "m").last_error


@contextmanager
def post(root: Path) -> Iterator[Post]:
    (root / "ledger").mkdir()
    with Store.open(root / "ledger") as store:
        with store.write() as tx:
            store.models.ensure(tx, ["m"])
        yield Post(root, store)


def ended(reason: str) -> WorkerError:
    return WorkerError(f"take: the worker {reason}", reason=reason)
