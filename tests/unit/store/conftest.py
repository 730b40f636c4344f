"""A fresh ledger for each test, and short ways to put facts into it."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection

from ct_daemon.store.store import NAME, Store
from ct_daemon.types import (
    Arrival,
    Batch,
    BatchKind,
    BatchStatus,
    Decision,
    FileStamp,
    Firing,
    ModelVersion,
    Rule,
    Run,
    Situation,
    TriggerKind,
    Verdict,
)

START = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)


@pytest.fixture(scope="session")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger that knows the models `m` and `other`, to be copied."""
    folder = tmp_path_factory.mktemp("blank")
    with Store.open(folder) as opened, opened.write() as tx:
        opened.models.ensure(tx, ["m", "other"])
    return folder / NAME


@pytest.fixture
def store(tmp_path: Path, blank: Path) -> Iterator[Store]:
    shutil.copy(blank, tmp_path / NAME)
    with Store.open(tmp_path) as opened:
        yield opened


@pytest.fixture
def at() -> Callable[[float], datetime]:
    """The time so many seconds after the start."""
    return lambda seconds: START + timedelta(seconds=seconds)


@pytest.fixture
def arrive() -> Callable[..., Arrival]:
    def make(name: str, kind: BatchKind = BatchKind.ROWS, inode: int = 7) -> Arrival:
        stamp = FileStamp(size_bytes=100, mtime_ns=1_700_000_000_123_456_789, inode=inode)
        digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()
        return Arrival(source="rows", name=name, stamp=stamp, kind=kind, staged="/s", digest=digest)

    return make


@pytest.fixture
def take(store: Store, arrive: Callable[..., Arrival]) -> Callable[..., Batch]:
    """Record a file; its rows are stored unless it is not accepted."""

    def add(
        tx: Connection,
        name: str,
        rows: int = 10,
        labelled: int | None = None,
        kind: BatchKind = BatchKind.ROWS,
        status: BatchStatus = BatchStatus.ACCEPTED,
        model: str = "m",
        copy: bool = True,
    ) -> Batch:
        arrival = arrive(name, kind)
        return store.batches.add(
            tx,
            arrival=arrival,
            model=model,
            kind=kind,
            status=status,
            dedupe_key=arrival.digest,
            rows=rows,
            labelled_rows=rows if labelled is None else labelled,
            object_path=f"batches/{name}" if copy else None,
            arrived_at=START,
        )

    return add


@pytest.fixture
def decide() -> Callable[..., Decision]:
    def make(
        verdict: Verdict = Verdict.IGNORE,
        rule: Rule = Rule.NOTHING_FIRED,
        fired: tuple[str, ...] = (),
        model: str = "m",
        now: datetime = START,
    ) -> Decision:
        firings = tuple(
            Firing(model=model, trigger=TriggerKind.NEW_DATA, dedupe_key=key, reason="rows") for key in fired
        )
        return Decision(
            model=model, now=now, verdict=verdict, rule=rule, reason="r", would_change="w", firings=firings
        )

    return make


@pytest.fixture
def begin(store: Store, decide: Callable[..., Decision]) -> Callable[..., Run]:
    """Decide to start and queue a run."""

    def make(tx: Connection, id: str, model: str = "m", decided_at: datetime = START) -> Run:
        decision = decide(Verdict.START, Rule.FIRED, (id,), model)
        recorded, _ = store.decisions.record(tx, decision, Situation(model=model), {}, START)
        run = store.runs.create(
            tx,
            id=id,
            model=model,
            decision_seq=recorded.seq,
            decided_at=decided_at,
            trigger="new_data",
            at=START,
        )
        store.decisions.attach_run(tx, recorded.seq, id)
        return run

    return make


@pytest.fixture
def publish(store: Store) -> Callable[..., ModelVersion]:
    """Reserve the next number and publish it."""

    def make(tx: Connection, run_id: str, model: str = "m", snapshot: str = "s") -> ModelVersion:
        number = store.versions.reserve(tx, model, run_id)
        version = ModelVersion(
            model=model,
            version=number,
            run_id=run_id,
            path=f"versions/{model}/v{number:06d}",
            digest=f"d{number}",
            baseline_digest=f"b{number}",
            snapshot=snapshot,
            created_at=START,
        )
        return store.versions.publish(tx, version)

    return make
