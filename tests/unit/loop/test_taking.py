"""What becomes of files that change after they were taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ct_daemon.errors import WorkerError
from ct_daemon.protocols import TakeRequest
from ct_daemon.testing.fakes import fault
from ct_daemon.types import TickFailed

Make = Callable[..., Any]


def found(one: Any) -> list[tuple[str, str | None]]:
    with one.store.read() as tx:
        return [(batch.status.value, batch.reason) for batch in one.store.batches.list(tx, "m")]


def test_a_file_that_grows_after_it_was_taken_is_put_aside_each_time_and_counts_once(loop: Make) -> None:
    one = loop()
    one.arrive("slow.csv", content=b"a,y\n1,0\n")
    one.arrive("slow.csv", content=b"a,y\n1,0\n2,1\n")
    one.arrive("slow.csv", content=b"a,y\n1,0\n2,1\n3,0\n")
    assert found(one) == [
        ("accepted", None),
        ("quarantined", "grown_after_taken"),
        ("quarantined", "grown_after_taken"),
    ]
    with one.store.read() as tx:
        assert one.store.batches.totals(tx, "m").rows == 100


@pytest.mark.parametrize("content", [b"a,y\n9,1\n8,0\n", b"a,y\n"])
def test_a_name_that_is_used_again_for_other_rows_is_another_batch(loop: Make, content: bytes) -> None:
    one = loop()
    one.arrive("latest.csv", content=b"a,y\n1,0\n")
    one.arrive("latest.csv", content=content)
    assert found(one) == [("accepted", None), ("accepted", None)]


def test_a_champion_that_ends_its_worker_puts_no_file_into_quarantine(loop: Make) -> None:
    one = loop()
    one.first_version()
    one.worker.errors["take"] = [fault(WorkerError, "died"), fault(WorkerError, "out_of_memory")]
    asked: list[TakeRequest] = []
    take = one.worker.take
    one.worker.take = lambda request: asked.append(request) or take(request)
    one.arrive("second")
    assert found(one)[-1] == ("accepted", None)
    assert [request.champion is None for request in asked] == [False, False, True]
    (told,) = [event for event in one.events if isinstance(event, TickFailed)]
    assert (told.reason, "could not score second" in told.message) == ("scorer_out_of_memory", True)


def test_a_file_that_ends_its_worker_even_when_it_is_not_scored_is_put_aside(loop: Make) -> None:
    one = loop()
    one.first_version()
    one.worker.errors["take"] = [fault(WorkerError, "died") for _ in range(3)]
    one.arrive("second")
    assert found(one)[-1] == ("quarantined", "reader_died")
    assert one.worker.calls.count("take") == 4


def test_without_a_champion_a_file_gets_two_readers(loop: Make) -> None:
    one = loop()
    one.worker.errors["take"] = [fault(WorkerError, "died") for _ in range(2)]
    one.arrive("first")
    assert found(one) == [("quarantined", "reader_died")]
