"""A file whose content was taken before: a duplicate, or taken again where that is wanted, and never a fault."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ct_daemon.config import FilesSource, ModelSettings
from ct_daemon.folders import StateFolder
from ct_daemon.monitor.taking import Taker
from ct_daemon.monitor.watch import Watch
from ct_daemon.policy import Policy
from ct_daemon.protocols import TakeRequest, TakeResult
from ct_daemon.sources.files import FolderSource
from ct_daemon.store.store import Store
from ct_daemon.types import BatchKind, BatchStatus

NOW = datetime(2026, 3, 1, tzinfo=UTC)
FIRST, SECOND = b"a,y\n1,x\n", b"a,y\n2,x\n3,x\n"


class Reader:
    """A worker that takes everything."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def take(self, request: TakeRequest) -> TakeResult:
        self.names.append(request.name)
        Path(request.object_path).write_bytes(b"rows")
        return TakeResult(rows=1, labelled_rows=1)


class Inbox:
    """A watched folder. `poll` tells the status of each file that it took."""

    def __init__(self, root: Path, store: Store, accept_duplicates: bool) -> None:
        self.folder, self.store, self.reader = root / "inbox", store, Reader()
        self.folder.mkdir()
        folders = StateFolder(root)
        folders.make()
        files = FilesSource(folder=self.folder, settle=0.0, accept_duplicates=accept_duplicates)
        settings = ModelSettings(data={"target": "y"}, source=files)  # type: ignore[arg-type]
        self.source = FolderSource("rows", BatchKind.ROWS, files, folders.staging)
        self.watch = Watch(model="m", settings=settings, sources=(), triggers=(), policy=Policy())
        self.taker = Taker(
            store=store,
            folders=folders,
            worker=self.reader,  # type: ignore[arg-type]
            emit=lambda event: None,
            clock=lambda: NOW,
        )

    def write(self, name: str, content: bytes, at_s: float) -> None:
        """Into the file that is there, if one is: its inode stays."""
        path = self.folder / name
        path.write_bytes(content)
        os.utime(path, (at_s, at_s))

    def poll(self) -> list[BatchStatus]:
        taken: list[None] = []
        self.taker.poll(self.watch, self.source, lambda: taken.append(None))
        count = len(taken)
        with self.store.read() as tx:
            return [batch.status for batch in self.store.batches.list(tx, "m")][-count:] if count else []


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[Callable[[bool], Inbox]]:
    with Store.open(tmp_path) as store:
        with store.write() as tx:
            store.models.ensure(tx, ["m"])
        yield lambda accept: Inbox(tmp_path, store, accept)


@pytest.mark.parametrize("accept", [False, True])
def test_content_put_back_with_its_old_time_is_a_duplicate(
    inbox: Callable[[bool], Inbox], accept: bool
) -> None:
    box = inbox(accept)
    box.write("a.csv", FIRST, 1000)
    assert box.poll() == [BatchStatus.ACCEPTED]
    box.write("a.csv", SECOND, 2000)
    assert box.poll() == [BatchStatus.ACCEPTED]
    box.write("a.csv", FIRST, 1000)
    assert box.poll() == [BatchStatus.DUPLICATE]
    assert box.poll() == []
    assert len(box.reader.names) == 2
    with box.store.read() as tx:
        newest = box.store.batches.list(tx, "m", newest_first=True, limit=1)[0]
    assert (newest.reason, newest.detail) == ("duplicate", "the same bytes as a.csv, batch 1")


@pytest.mark.parametrize(("accept", "status"), [(False, BatchStatus.DUPLICATE), (True, BatchStatus.ACCEPTED)])
def test_the_same_content_under_another_name_or_time(
    inbox: Callable[[bool], Inbox], accept: bool, status: BatchStatus
) -> None:
    box = inbox(accept)
    box.write("a.csv", FIRST, 1000)
    assert box.poll() == [BatchStatus.ACCEPTED]
    box.write("b.csv", FIRST, 1000)
    assert box.poll() == [status]
    box.write("a.csv", FIRST, 2000)
    assert box.poll() == [status]
