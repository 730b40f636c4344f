"""A tick does what it can, and says what it can't."""

from __future__ import annotations

import errno
import os

import pytest

from ct_daemon.sources import staging
from ct_daemon.types import BatchStatus, TickFailed
from tests.unit.monitor.rig import TAKEN, Post, ended


def test_a_file_that_can_not_be_read_for_now_keeps_no_other_from_being_taken_and_decided_on(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    post.monitor.tick("m")
    post.put("a.csv", age_s=70.0)
    post.put("b.csv")
    read = staging._read

    def stumble(source: int) -> bytes:
        data = read(source)
        if data == b"a.csv":
            raise staging.WaitsError("read_failed", os.strerror(errno.EIO))
        return data

    monkeypatch.setattr(staging, "_read", stumble)
    tick = post.monitor.tick("m", only_if_new=True)
    assert {name: batch.status for name, batch in post.batches().items()} == {"b.csv": BatchStatus.ACCEPTED}
    assert tick.decision is not None
    assert post.monitor.failing == ("m",)
    assert "a.csv (Input/output error)" in (post.error() or "")
    post.monitor.tick("m", only_if_new=True)
    failed = [event for event in post.events if isinstance(event, TickFailed)]
    assert [event.reason for event in failed] == ["read_failed"]
    monkeypatch.undo()
    post.monitor.tick("m", only_if_new=True)
    assert set(post.batches()) == {"a.csv", "b.csv"}
    assert post.error() is None


def test_files_taken_before_a_poll_broke_are_decided_on_at_once(post: Post) -> None:
    post.monitor.tick("m")
    post.put("a.csv", age_s=70.0)
    post.put("b.csv")
    post.worker.answers = [TAKEN, ended("not_started")]
    tick = post.monitor.tick("m", only_if_new=True)
    assert set(post.batches()) == {"a.csv"}
    assert tick.decision is not None
