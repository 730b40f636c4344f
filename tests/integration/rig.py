"""A state folder, and rows, for the tests of the worker's operations."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ct_daemon.dataset.manifest import make_snapshot, write_snapshot
from ct_daemon.protocols import CompareRequest, TakeRequest, TrainSpec, ValidateRequest, VersionFiles
from ct_daemon.scoring.predict import Scorer
from ct_daemon.types import BatchKind, ColumnKind, Columns, Contract, SnapshotPart, Task
from ct_daemon.workers import trainer
from ct_daemon.workers.taking import take
from ct_daemon.workers.validating import validate

COLUMNS = Columns(target="y", row_id="id", time="at")
CONTRACT = Contract(
    columns={"a": ColumnKind.NUMERIC, "b": ColumnKind.CATEGORICAL, "y": ColumnKind.CATEGORICAL}
)
START = datetime(2026, 1, 1, tzinfo=UTC)


def rows(n=200, *, start=0, seed=0, shift=0.0, labels=True):
    """Rows whose class follows from `a`."""
    a = np.random.default_rng(seed).normal(size=n) + shift
    table = pa.table(
        {
            "id": np.arange(start, start + n),
            "at": pa.array(np.arange(start, start + n) + int(START.timestamp())).cast(pa.timestamp("s")),
            "a": a,
            "b": np.where(np.arange(n) % 3 == 0, "red", "blue"),
            "y": np.where(a > 0, "hi", "lo"),
        }
    )
    return table if labels else table.drop_columns("y")


class Shop:
    """A state folder with a worker's operations on it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.scorer = Scorer()
        self.made = 0

    def path(self, name: str) -> Path:
        return self.root / name

    def request(self, table, **changes) -> TakeRequest:
        self.made += 1
        staged = self.path(f"staged{self.made}")
        if isinstance(table, bytes):
            staged.write_bytes(table)
        else:
            pq.write_table(table, staged)
        asked = TakeRequest(
            staged=str(staged),
            name="in.parquet",
            kind=BatchKind.ROWS,
            columns=COLUMNS,
            task=Task.CLASSIFICATION,
            contract=CONTRACT,
            max_rows=10_000,
            max_columns=100,
            labels_later=True,
            object_path=str(self.path(f"{hashlib.sha256(staged.read_bytes()).hexdigest()}.parquet")),
        )
        return replace(asked, **changes)

    def take(self, table, **changes):
        request = self.request(table, **changes)
        return take(request, self.scorer), request

    def stored(self, table, **changes) -> str:
        result, request = self.take(table, **changes)
        assert result.reason is None, result.detail
        return request.object_path

    def part(self, seq, table, kind=BatchKind.ROWS, **changes) -> SnapshotPart:
        path = Path(self.stored(table, kind=kind, **changes))
        return SnapshotPart(
            seq=seq, kind=kind, path=path.name, digest=path.stem, rows=pq.read_metadata(path).num_rows
        )

    def snapshot(self, *parts, columns=COLUMNS) -> str:
        snapshot = make_snapshot(model="m", columns=columns, window_rows=None, parts=parts)
        path = self.path(f"snapshot-{snapshot.digest}.json")
        write_snapshot(snapshot, path)
        return str(path)

    def publish(self, snapshot: str, task=Task.CLASSIFICATION, contract=CONTRACT) -> VersionFiles:
        """A version as a trainer process makes it."""
        work = self.path("work")
        work.mkdir()
        spec = TrainSpec(
            verb="train",
            model="m",
            run_id="r1",
            snapshot=snapshot,
            state=str(self.root),
            workdir=str(work),
            task=task,
            contract=contract,
            metric="accuracy" if task is Task.CLASSIFICATION else "mae",
            holdout=0.2,
            refit=False,
            trainer={"sklearn": {"estimator": "linear", "parameters": {}, "seed": 0}},
            version=1,
        )
        trainer.run(spec)
        digest = trainer.run(replace(spec, verb="finish")).digest
        return VersionFiles(version=1, path=str(work / "version"), digest=digest)


def without(table, *names):
    return table.drop_columns(list(names))


def with_column(table, name, values):
    place = table.column_names.index(name)
    return table.set_column(place, name, values if isinstance(values, pa.Array) else pa.array(values))


def baseline_digest(files):
    return json.loads((Path(files.path) / "version.json").read_text())["files"]["baseline.json"]["sha256"]


def comparison(trained, *objects, **changes):
    return CompareRequest(
        objects=objects,
        baseline=str(Path(trained.files.path) / "baseline.json"),
        baseline_digest=baseline_digest(trained.files),
        **changes,
    )


def validated(shop, *parts, contract=CONTRACT, columns=COLUMNS, task=Task.CLASSIFICATION, min_rows=20):
    return validate(
        ValidateRequest(
            snapshot=shop.snapshot(*parts, columns=columns),
            state=str(shop.root),
            task=task,
            min_rows=min_rows,
            contract=contract,
        )
    )
