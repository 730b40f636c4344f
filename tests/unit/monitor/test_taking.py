"""Files become batches, whatever happens to the worker that reads them."""

from __future__ import annotations

import pytest

from ct_daemon.errors import StateError
from ct_daemon.monitor.taking import THE_FILE_MAY_BE_AT_FAULT
from ct_daemon.protocols import TakeResult
from ct_daemon.types import BatchStatus
from tests.unit.monitor.rig import Post, ended


@pytest.mark.parametrize("reason", sorted(THE_FILE_MAY_BE_AT_FAULT))
def test_one_bad_end_of_the_worker_is_not_held_against_the_file(post: Post, reason: str) -> None:
    post.put("a.csv")
    post.worker.answers = [ended(reason)]
    assert post.monitor.tick("m").failed is False
    assert post.worker.asked == ["a.csv", "a.csv"]
    assert post.batches()["a.csv"].status is BatchStatus.ACCEPTED
    assert post.error() is None


def test_a_file_that_ends_two_workers_is_put_aside_and_the_next_one_is_taken(post: Post) -> None:
    post.put("a.csv", age_s=70.0)
    post.put("b.csv")
    post.worker.answers = [ended("died"), ended("timeout")]
    post.monitor.tick("m")
    assert post.worker.asked == ["a.csv", "a.csv", "b.csv"]
    found = post.batches()
    assert (found["a.csv"].status, found["a.csv"].reason) == (BatchStatus.QUARANTINED, "reader_timeout")
    assert found["b.csv"].status is BatchStatus.ACCEPTED
    post.monitor.tick("m")
    assert len(post.worker.asked) == 3


def test_what_the_second_worker_says_of_the_file_counts(post: Post) -> None:
    post.put("a.csv")
    post.worker.answers = [ended("died"), TakeResult(reason="unreadable", detail="not a table")]
    post.monitor.tick("m")
    assert post.batches()["a.csv"].reason == "unreadable"


@pytest.mark.parametrize("before", [[], [ended("died")]], ids=["at once", "at the second try"])
def test_a_daemon_that_stops_leaves_the_file_for_its_next_start(
    post: Post, before: list[TakeResult | Exception]
) -> None:
    post.put("a.csv")
    post.worker.answers = [*before, ended("closed")]
    post.monitor.tick("m")
    assert post.batches() == {}
    assert list(post.folders.staging.iterdir()) == []
    post.monitor.tick("m")
    assert post.batches()["a.csv"].status is BatchStatus.ACCEPTED


@pytest.mark.parametrize(
    "error", [ended("not_started"), ended("bad_request"), StateError("full", reason="disk_refused")]
)
def test_a_fault_that_no_file_can_bring_about_is_tried_at_a_later_tick_only(
    post: Post, error: Exception
) -> None:
    post.put("a.csv")
    post.worker.answers = [error]
    post.monitor.tick("m")
    assert (post.worker.asked, post.batches()) == (["a.csv"], {})
    assert post.error() is not None
    post.monitor.tick("m")
    assert post.batches()["a.csv"].status is BatchStatus.ACCEPTED
    assert post.error() is None
