"""What every source must do (`protocols.Source`). A new source adds a maker to `MAKERS` and passes all of this."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from ct_daemon.config import FilesSource
from ct_daemon.protocols import Source
from ct_daemon.sources.files import FolderSource
from ct_daemon.types import Arrival, BatchKind, FileStamp

NOW = 1_700_000_000.0
LATER = NOW + 3600.0


@dataclass(frozen=True)
class Place:
    """A source, and a way to make something arrive in it at a time (epoch seconds)."""

    source: Source
    put: Callable[[str, bytes, float], None]
    remove: Callable[[str], None]

    def poll(self, known: dict[str, FileStamp] | None = None, now_s: float = LATER) -> list[Arrival]:
        return list(self.source.poll({} if known is None else known, now_s))


def _folder(root: Path) -> Place:
    inbox, staging = root / "inbox", root / "staging"
    inbox.mkdir()
    staging.mkdir()

    def put(name: str, data: bytes, at_s: float) -> None:
        (inbox / name).write_bytes(data)
        os.utime(inbox / name, (at_s, at_s))

    source = FolderSource("there", BatchKind.LABELS, FilesSource(folder=inbox), staging)
    return Place(source, put, lambda name: (inbox / name).unlink())


MAKERS = {"folder": _folder}


@pytest.fixture(params=MAKERS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return MAKERS[request.param](tmp_path)


def test_nothing_there_is_nothing_and_nothing_pending(place: Place) -> None:
    assert place.poll() == []
    assert place.source.pending_s() is None


def test_an_arrival_carries_its_source_kind_stamp_and_digest(place: Place) -> None:
    place.put("a.csv", b"a\n1\n", NOW)
    [arrival] = place.poll()
    assert (arrival.source, arrival.kind, arrival.name) == (place.source.name, BatchKind.LABELS, "a.csv")
    assert arrival.stamp.size_bytes == 4
    assert arrival.digest == hashlib.sha256(b"a\n1\n").hexdigest()
    assert arrival.reason is None


def test_the_staged_copy_is_our_own(place: Place) -> None:
    place.put("a.csv", b"a\n1\n", NOW)
    [arrival] = place.poll()
    place.remove("a.csv")
    staged = Path(arrival.staged or "")
    assert staged.is_absolute()
    assert staged.read_bytes() == b"a\n1\n"
    assert staged.suffix == ".csv"


def test_polling_changes_nothing_at_the_source(place: Place) -> None:
    place.put("a.csv", b"a\n1\n", NOW)
    [first] = place.poll()
    [second] = place.poll()
    assert (first.name, first.stamp, first.digest) == (second.name, second.stamp, second.digest)
    assert first.staged != second.staged


def test_what_is_known_does_not_come_until_it_changes(place: Place) -> None:
    place.put("a.csv", b"a\n1\n", NOW)
    known = {arrival.name: arrival.stamp for arrival in place.poll()}
    assert place.poll(known) == []
    place.put("a.csv", b"a\n1\n2\n", NOW + 1)
    assert [arrival.name for arrival in place.poll(known)] == ["a.csv"]


def test_the_oldest_comes_first(place: Place) -> None:
    for name, at_s in (("b.csv", NOW + 2), ("c.csv", NOW), ("a.csv", NOW + 1)):
        place.put(name, name.encode(), at_s)
    assert [arrival.name for arrival in place.poll()] == ["c.csv", "a.csv", "b.csv"]


def test_the_same_bytes_under_two_names_both_come(place: Place) -> None:
    place.put("a.csv", b"same", NOW)
    place.put("b.csv", b"same", NOW)
    first, second = place.poll()
    assert first.digest == second.digest


def test_what_is_not_complete_yet_is_pending(place: Place) -> None:
    place.put("a.csv", b"half", NOW)
    assert place.poll(now_s=NOW + 0.1) == []
    wait_s = place.source.pending_s()
    assert wait_s is not None
    assert wait_s > 0
    assert [arrival.name for arrival in place.poll(now_s=NOW + 0.1 + wait_s)] == ["a.csv"]
    assert place.source.pending_s() is None


def test_what_is_refused_says_why_and_has_no_copy(place: Place) -> None:
    place.put("a.csv", b"", NOW)
    [arrival] = place.poll()
    assert arrival.reason == "empty_file"
    assert (arrival.staged, arrival.digest) == (None, "")
    assert place.poll({arrival.name: arrival.stamp}) == []


def test_a_poll_that_is_not_read_to_its_end_loses_nothing(place: Place) -> None:
    for name in ("a.csv", "b.csv", "c.csv"):
        place.put(name, name.encode(), NOW)
    arrivals = iter(place.source.poll({}, LATER))
    first = next(arrivals)
    del arrivals
    assert [arrival.name for arrival in place.poll({first.name: first.stamp})] == ["b.csv", "c.csv"]
