"""`trigger --wait` follows a demand to the end of its run, and its exit code says how that was."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ct_daemon.api import streams
from ct_daemon.cli import follow, operate
from ct_daemon.errors import DaemonUnreachableError, TrainingError
from ct_daemon.testing.fakes import fault
from tests.unit.cli.conftest import Site


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "LOOK_EVERY_S", 0.02)


@pytest.fixture
def working(site: Site) -> Site:
    """Version 1 is live, the executor works, the API answers."""
    site.loop.first_version()
    site.serve()
    return site


def document(site: Site, *arguments: str, code: int = 0) -> Any:
    """The JSON document, without the lines that the daemon of this process logs."""
    said = site.ct(*arguments, "--json", code=code, columns=200)
    return json.loads(said[said.index("{\n") :])


@contextmanager
def meanwhile(work) -> Iterator[None]:
    thread = threading.Thread(target=work)
    thread.start()
    yield
    thread.join(20)
    assert not thread.is_alive()


def test_a_run_that_succeeds_is_exit_0_and_each_step_is_told(working: Site) -> None:
    said = working.ct("trigger", "m", "--wait", "--timeout", "20s", columns=200)
    for step in ("queued", "training", "deploying", "succeeded, version 2 is live"):
        assert step in said


def test_as_json_it_is_one_document_with_the_end(working: Site) -> None:
    found = document(working, "trigger", "m", "--wait", "--timeout", "20")
    assert (found["end"]["state"], found["end"]["version"]) == ("succeeded", 2)
    assert found["run"] == found["end"]["id"]


def test_a_run_that_fails_is_exit_11_with_its_reason(working: Site) -> None:
    working.loop.trainer.errors["train"].append(fault(TrainingError, "timeout"))
    said = working.ct("trigger", "m", "--wait", code=11, columns=200)
    assert "ended failed: timeout" in said


def test_a_candidate_that_is_refused_is_exit_10(working: Site) -> None:
    working.loop.worker.quality = working.loop.worker.quality.__class__(
        metric="accuracy", value=0.1, rows=100, low=0.05, high=0.15
    )
    working.loop.worker.champion = working.loop.worker.quality.__class__(
        metric="accuracy", value=0.9, rows=100, low=0.85, high=0.95
    )
    assert document(working, "trigger", "m", "--wait", code=10)["end"]["state"] == "rejected"


def test_a_run_that_is_cancelled_is_exit_12(working: Site) -> None:
    def cancel() -> None:
        working.loop.control.cancel(working.loop.active().id)

    working.loop.trainer.before["train"] = cancel
    assert document(working, "trigger", "m", "--wait", code=12)["end"]["state"] == "cancelled"


def test_a_hold_is_waited_for_and_told(working: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    working.loop.control.pause("m", "night")
    told, honest = threading.Event(), follow._words

    def words(one: follow.Told) -> str | None:
        if one.kind == "waiting":
            told.set()
        return honest(one)

    def resume() -> None:
        assert told.wait(20)
        working.loop.control.resume("m")
        working.loop.monitor.tick("m")

    monkeypatch.setattr(follow, "_words", words)
    with meanwhile(resume):
        said = working.ct("trigger", "m", "--wait", "--timeout", "20", columns=250)
    assert "it starts when" in said
    assert "waits: the model is paused" in said
    assert "succeeded" in said


def test_a_reply_that_was_lost_is_asked_for_again_and_is_the_same_wish(
    working: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operate, "AGAIN_S", 0.01)
    honest, keys = operate.call, []

    def call(*arguments: Any, **headers: str) -> Any:
        reply = honest(*arguments, **headers)
        keys.append(headers["Idempotency-Key"])
        if len(keys) < 3:
            raise DaemonUnreachableError("it broke off", reason="no_answer")
        return reply

    monkeypatch.setattr(operate, "call", call)
    found = document(working, "trigger", "m", "--wait", "--timeout", "20")
    assert found["end"]["state"] == "succeeded"
    assert len(keys) == 3
    assert len(set(keys)) == 1
    assert len(working.loop.runs()) == 2, "asked three times, served once"


def _when_waiting(site: Site, work, asked: threading.Event) -> None:
    def waits() -> bool:
        with site.loop.store.read() as tx:
            return bool(site.loop.store.demands.pending(tx, "m"))

    site.loop.until(waits, "a demand waits")
    site.loop.woken.append("m")
    asked.set()
    work()


def test_the_time_that_it_waits_is_limited(working: Site) -> None:
    working.loop.control.pause("m")
    said = working.ct("trigger", "m", "--wait", "--timeout", "200ms", code=14, columns=200)
    assert "it goes on" in said


def test_without_a_daemon_the_wish_is_kept_and_there_is_nothing_to_wait_for(site: Site) -> None:
    said = site.ct("trigger", "m", "--wait", code=4, columns=200)
    assert "no daemon is running that could serve it" in said
    assert len(list(site.loop.folders.spool.glob("*.json"))) == 1


def test_a_timeout_without_waiting_is_a_usage_error(site: Site) -> None:
    assert "--timeout goes with --wait" in site.ct("trigger", "m", "--timeout", "3", code=2)
    assert "not a duration" in site.ct("trigger", "m", "--wait", "--timeout", "soon", code=2, columns=200)


def test_a_restart_of_the_api_is_waited_out(working: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "AGAIN_S", 0.05)
    working.loop.control.pause("m")

    def restart() -> None:
        working._server.stop()
        working.serve()
        working.loop.control.resume("m")
        working.loop.monitor.tick("m")

    asked = threading.Event()
    with meanwhile(lambda: _when_waiting(working, restart, asked)):
        found = document(working, "trigger", "m", "--wait", "--timeout", "20")
    assert found["end"]["state"] == "succeeded"
