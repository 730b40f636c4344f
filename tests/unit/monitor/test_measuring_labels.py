"""Labels meet predictions: every one counts once, whenever it came, and no work is done for nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ct_daemon import feedback
from ct_daemon.config import ModelSettings
from ct_daemon.errors import WorkerError
from ct_daemon.folders import StateFolder
from ct_daemon.monitor import measuring
from ct_daemon.monitor.measuring import Measurer
from ct_daemon.monitor.watch import Watch
from ct_daemon.policy import Policy
from ct_daemon.protocols import JoinRequest, JoinResult
from ct_daemon.store.store import Store
from ct_daemon.types import (
    Arrival,
    BatchKind,
    BatchStatus,
    Event,
    FileStamp,
    Outcome,
    Predictions,
    QualityMeasured,
)

NOW = datetime(2026, 3, 1, tzinfo=UTC)


class Joiner:
    """A worker that only joins, in this process, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[JoinRequest] = []
        self.dead = False

    def join(self, request: JoinRequest) -> JoinResult:
        self.asked.append(request)
        if self.dead:
            raise WorkerError("the worker died", reason="died")
        return feedback.join(request)

    @property
    def batches(self) -> list[list[int]]:
        """The scored batches of every request."""
        return [[one.batch_seq for one in request.scored] for request in self.asked]


class Site:
    """One model with version 1 live; every row is predicted to be "x"."""

    def __init__(self, root: Path, store: Store) -> None:
        self.folders, self.store = StateFolder(root), store
        self.worker, self.events = Joiner(), list[Event]()
        settings = ModelSettings.model_validate(
            {
                "data": {"target": "y", "row_id": "id"},
                "source": {"folder": "in"},
                "labels": {"folder": "labels"},
            }
        )
        self.watch = Watch(model="m", settings=settings, sources=(), triggers=(), policy=Policy())
        self.now = NOW
        self.start()

    def start(self) -> None:
        """As a new process would."""
        self.measurer = Measurer(
            store=self.store,
            folders=self.folders,
            worker=self.worker,  # type: ignore[arg-type]
            emit=self.events.append,
            clock=lambda: self.now,
        )

    def tick(self) -> None:
        self.measurer.join_labels(self.watch)

    def rows(self, ids: str, labels: str = "") -> int:
        """Rows arrive, with the labels given ("-" is none), and are scored."""
        own = [None if label == "-" else label for label in labels.ljust(len(ids), "-")]
        seq = self._taken(BatchKind.ROWS, ids, own)
        path = self.folders.predictions("m", 1, str(seq))
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"row_id": list(ids), "prediction": ["x"] * len(ids)}), path)
        made = Predictions(batch_seq=seq, version=1, path=self.folders.relative(path), rows=len(ids))
        with self.store.write() as tx:
            self.store.feedback.add_predictions(tx, "m", made)
            known = [label for label in own if label is not None]
            if known:
                self.store.feedback.put_outcome(tx, "m", outcome(seq, len(known), wrong(known)))
        return seq

    def labels(self, ids: str, labels: str) -> int:
        return self._taken(BatchKind.LABELS, ids, [None if label == "-" else label for label in labels])

    def _taken(self, kind: BatchKind, ids: str, labels: list[str | None]) -> int:
        with self.store.write() as tx:
            last = self.store.batches.totals(tx, "m").last_seq
            name = f"{kind.value}-{last + 1}"
            digest = hashlib.sha256(name.encode()).hexdigest()
            path = self.folders.object_path("m", kind, digest)
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.table({"id": list(ids), "y": pa.array(labels, pa.string())}), path)
            stamp = FileStamp(size_bytes=1, mtime_ns=1, inode=last + 1)
            arrival = Arrival(source="s", name=name, stamp=stamp, kind=kind, staged="/s", digest=digest)
            return self.store.batches.add(
                tx,
                arrival=arrival,
                model="m",
                kind=kind,
                status=BatchStatus.ACCEPTED,
                dedupe_key=digest,
                rows=len(ids),
                labelled_rows=sum(label is not None for label in labels),
                object_path=self.folders.relative(path),
                arrived_at=NOW,
            ).seq

    def outcomes(self) -> tuple[Outcome, ...]:
        with self.store.read() as tx:
            return self.store.feedback.outcomes(tx, "m")


def wrong(labels: list[str]) -> float:
    return float(sum(label != "x" for label in labels))


def outcome(seq: int, rows: int, errors: float) -> Outcome:
    return Outcome(batch_seq=seq, version=1, rows=rows, error_sum=errors, squared_sum=errors)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Store.open(tmp_path) as store:
        with store.write() as tx:
            store.models.ensure(tx, ["m"])
        yield Site(tmp_path, store)


def test_late_labels_add_to_those_that_came_along(site: Site) -> None:
    rows = site.rows("abcd", "xy--")
    site.labels("c", "y")
    site.tick()
    assert site.outcomes() == (outcome(rows, 3, 2.0),)
    site.labels("d", "x")
    site.now = NOW + timedelta(hours=1)
    site.tick()
    assert site.outcomes() == (outcome(rows, 4, 2.0),)
    assert site.events == [
        QualityMeasured(model="m", outcomes=(outcome(rows, 3, 2.0),), new_rows=1, delay_s=0.0),
        QualityMeasured(model="m", outcomes=(outcome(rows, 4, 2.0),), new_rows=1, delay_s=3600.0),
    ]


def test_a_later_label_corrects_an_earlier_one(site: Site) -> None:
    rows = site.rows("ab", "x-")
    site.labels("a", "y")
    site.tick()
    assert site.outcomes() == (outcome(rows, 1, 1.0),)


@pytest.mark.parametrize("looked_in_between", [False, True])
def test_labels_that_came_before_their_rows_count(site: Site, looked_in_between: bool) -> None:
    site.labels("abz", "yyy")
    if looked_in_between:
        site.tick()
    rows = site.rows("abc", "x--")
    site.tick()
    assert site.outcomes() == (outcome(rows, 2, 1.0),)


def test_a_tick_in_which_nothing_came_asks_nothing(site: Site) -> None:
    site.rows("ab")
    site.labels("a", "x")
    site.tick()
    site.tick()
    assert len(site.worker.asked) == 1


def test_rows_alone_and_labels_alone_ask_nothing(site: Site) -> None:
    site.rows("ab")
    site.tick()
    assert site.worker.asked == []
    with site.store.write() as tx:
        tx.exec_driver_sql("DELETE FROM predictions")
    site.labels("a", "x")
    site.tick()
    assert site.worker.asked == []


def test_new_rows_are_looked_at_alone_and_new_labels_make_all_be_looked_at(site: Site) -> None:
    site.labels("z", "x")
    one = site.rows("ab")
    site.tick()
    two = site.rows("cd")
    site.tick()
    site.labels("a", "x")
    site.tick()
    assert site.worker.batches == [[one], [two], [one, two]]


def test_what_is_labelled_in_full_is_not_looked_at_again(site: Site) -> None:
    site.rows("ab", "xx")
    site.labels("z", "x")
    site.tick()
    assert site.worker.asked == []
    late = site.rows("c")
    site.labels("c", "x")
    site.tick()
    site.labels("c", "y")
    site.tick()
    assert site.worker.batches == [[late]]


def test_after_a_start_everything_that_waits_is_looked_at(site: Site) -> None:
    one = site.rows("ab")
    site.labels("a", "y")
    site.worker.dead = True
    with pytest.raises(WorkerError):
        site.tick()
    site.worker.dead = False
    site.start()
    site.tick()
    assert site.outcomes() == (outcome(one, 1, 1.0),)


def test_a_join_that_failed_is_done_at_the_next_tick(site: Site) -> None:
    one = site.rows("ab")
    site.labels("a", "y")
    site.worker.dead = True
    with pytest.raises(WorkerError):
        site.tick()
    site.worker.dead = False
    site.tick()
    assert site.outcomes() == (outcome(one, 1, 1.0),)


def test_a_start_with_nothing_new_changes_and_tells_nothing(site: Site) -> None:
    site.rows("abc", "xy-")
    site.labels("a", "y")
    site.tick()
    before = site.outcomes()
    site.events.clear()
    site.start()
    site.tick()
    assert site.outcomes() == before
    assert site.events == []


def test_only_the_newest_labels_are_read_and_what_is_known_of_older_ones_stays(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "RECENT_LABELS", 3)
    rows = site.rows("abcdef")
    site.labels("abc", "yyy")
    site.tick()
    newer = [site.labels("d", "x"), site.labels("e", "x")]
    site.tick()
    assert [[file.batch_seq for file in request.labels] for request in site.worker.asked] == [
        [rows + 1],
        [rows + 1, *newer],
    ]
    assert site.outcomes() == (outcome(rows, 5, 3.0),)
    monkeypatch.setattr(measuring, "RECENT_LABEL_FILES", 1)
    site.labels("f", "x")
    site.tick()
    assert [file.batch_seq for file in site.worker.asked[-1].labels] == [newer[-1] + 1]
    assert site.outcomes() == (outcome(rows, 5, 3.0),)


def test_rows_and_labels_that_are_no_longer_stored_are_passed_over(site: Site) -> None:
    gone = site.rows("ab", "y-")
    old = site.labels("a", "x")
    with site.store.write() as tx:
        tx.exec_driver_sql("UPDATE batches SET object_path = NULL WHERE seq IN (?, ?)", (gone, old))
    here = site.rows("a")
    site.tick()
    assert site.worker.asked == []
    site.labels("b", "x")
    site.tick()
    assert site.worker.batches == [[here]]
    assert site.outcomes() == (outcome(gone, 1, 1.0),)


def test_only_the_newest_of_those_that_wait_are_looked_at(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "RECENT_PREDICTIONS", 2)
    site.rows("a")
    two = site.rows("b")
    site.rows("c", "x")
    three = site.rows("d")
    site.labels("abd", "yyy")
    site.tick()
    assert site.worker.batches == [[two, three]]


def test_without_a_labels_folder_nothing_is_joined(site: Site) -> None:
    settings = site.watch.settings.model_copy(update={"labels": None})
    site.watch = Watch(model="m", settings=settings, sources=(), triggers=(), policy=Policy())
    site.rows("a")
    site.labels("a", "x")
    site.tick()
    assert site.worker.asked == []
