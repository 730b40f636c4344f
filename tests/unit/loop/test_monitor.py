"""Ticks: a part that fails costs only itself, nothing is forgotten, and evidence is answered once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ct_daemon.errors import ArtifactError, DeployError, SourceError, StateError, WorkerError
from ct_daemon.policy import Policy
from ct_daemon.store.decisions import Decisions
from ct_daemon.testing.fakes import fault
from ct_daemon.types import DeploymentState, Rule, TickFailed, Verdict

Make = Callable[..., Any]


def rule_of(tick: Any) -> Rule:
    return tick.decision.decision.rule


def failing_record(monkeypatch: pytest.MonkeyPatch, times: int, reason: str = "locked") -> None:
    """The next `times` decisions can't be recorded."""
    honest, failures = Decisions.record, [fault(StateError, reason) for _ in range(times)]

    def record(self: Decisions, *arguments: Any) -> Any:
        if failures:
            raise failures.pop()
        return honest(self, *arguments)

    monkeypatch.setattr(Decisions, "record", record)


# --- ticks ---------------------------------------------------------------------------------------------------------


def test_a_decision_that_could_not_be_recorded_is_made_by_the_next_look_though_nothing_came(
    loop: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = loop()
    failing_record(monkeypatch, 1)
    tick = one.arrive("first")
    assert tick.failed
    assert not one.runs()
    assert one.control.health() == ("m",)
    tick = one.monitor.tick("m", only_if_new=True)
    assert not tick.failed
    assert len(one.runs()) == 1
    assert one.control.health() == ()
    assert one.monitor.tick("m", only_if_new=True).decision is None, "nothing is owed any more"


def test_a_folder_that_is_gone_stops_no_decision_and_is_told_once(loop: Make) -> None:
    one = loop()
    one.arrive("first")
    one.inbox.fault = SourceError("the folder is gone", reason="folder_missing")
    tick = one.monitor.tick("m")
    assert tick.decision is not None
    assert not tick.failed, "the next listing looks anyway"
    one.monitor.tick("m", only_if_new=True)
    told = [event for event in one.events if isinstance(event, TickFailed)]
    assert [event.reason for event in told] == ["folder_missing"]
    with one.store.read() as tx:
        assert "folder_missing" in (one.store.models.state(tx, "m").last_error or "")
    one.inbox.fault = None
    one.monitor.tick("m", only_if_new=True)
    with one.store.read() as tx:
        assert one.store.models.state(tx, "m").last_error is None


@pytest.mark.parametrize(
    "error", [fault(ArtifactError, "digest_mismatch"), fault(WorkerError, "died"), RuntimeError("a bug")]
)
def test_a_comparison_that_fails_stops_no_decision_and_is_tried_again(loop: Make, error: Exception) -> None:
    one = loop(chosen={"new_data": {"rows": 300}})
    one.first_version()
    one.worker.errors["compare"] = [error, error]
    one.arrive("second")
    tick = one.arrive("third")
    assert tick.failed
    assert tick.decision is not None
    tick = one.arrive("fourth")
    assert (tick.failed, rule_of(tick)) == (True, Rule.FIRED), "new_data needs no comparison"
    assert not one.monitor.tick("m").failed
    with one.store.read() as tx:
        assert len(one.store.windows.list(tx, "m")) == 1


def test_a_file_whose_reader_is_busy_dying_for_other_reasons_waits(loop: Make) -> None:
    one = loop()
    one.worker.errors["take"] = [fault(WorkerError, "closed")]
    one.arrive("first")
    with one.store.read() as tx:
        assert not one.store.batches.list(tx, "m")
    one.monitor.tick("m", only_if_new=True)
    with one.store.read() as tx:
        assert [batch.status.value for batch in one.store.batches.list(tx, "m")] == ["accepted"]


# --- demands -------------------------------------------------------------------------------------------------------


def test_a_demand_that_could_not_be_decided_is_recorded_and_answered_by_the_next_look(
    loop: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = loop()
    one.first_version()
    failing_record(monkeypatch, 1)
    ticket = one.control.request_run("m", origin="http", key="key:k")
    assert (ticket.verdict, ticket.decision) == ("recorded", None)
    one.monitor.tick("m", only_if_new=True)
    again = one.control.request_run("m", origin="http", key="key:k")
    assert (again.is_new, again.verdict) == (False, "start")
    assert again.demand.id == ticket.demand.id


def test_a_signal_that_could_not_be_recorded_is_one_wish_when_it_is_repeated(
    loop: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = loop()
    one.first_version()
    first = one.control.request_by_signal("w1")
    assert first[0].demand.run_id is not None
    again = one.control.request_by_signal("w1")
    assert [ticket.demand.id for ticket in again] == [ticket.demand.id for ticket in first]
    other = one.control.request_by_signal("w2")
    assert other[0].demand.id != first[0].demand.id


# --- what fired, what was answered ---------------------------------------------------------------------------------


def test_a_run_that_has_not_read_its_data_answers_what_fires_meanwhile(loop: Make) -> None:
    one = loop(chosen={"new_data": {"rows": 200}})
    one.first_version()
    one.executor.stop(0.0, interrupt=lambda: None)
    one.working = False
    one.control.request_run("m", origin="cli")
    one.arrive("second")
    one.arrive("third")  # 200 new rows: new_data fires, the queued run will see them
    one.restart()
    assert one.ended(2)[1].state == "succeeded"
    assert one.monitor.tick("m").decision.decision.verdict is Verdict.IGNORE
    assert len(one.runs()) == 2


def test_answered_evidence_does_not_start_again_because_other_evidence_waited_once(loop: Make) -> None:
    """A claim that went away unanswered must not wake one that a failed run has answered."""
    one = loop(
        chosen={"new_data": {"rows": 200}}, policy=Policy(back_off_first_s=100.0, back_off_longest_s=100.0)
    )
    one.first_version()
    one.trainer.errors["train"] = [RuntimeError("a bug")]
    one.arrive("second")
    one.arrive("third")
    assert one.ended(2)[1].state == "failed"
    with one.store.write() as tx:
        drift = next(f.firing for f in one.store.firings.list(tx, "m"))
        one.store.firings.add(tx, replace(drift, dedupe_key="gone by now"), one.now)
    one.pass_time(1000)
    tick = one.monitor.tick("m")
    assert (rule_of(tick), len(one.runs())) == (Rule.NOTHING_FIRED, 2)


# --- time ----------------------------------------------------------------------------------------------------------


def test_a_cooldown_ends_though_no_data_come(loop: Make) -> None:
    one = loop(chosen={"new_data": {"rows": 100}}, policy=Policy(cooldown_s=3600.0))
    night = one.now - timedelta(hours=9)
    one.arrive("first", until=night)
    one.work()
    one.ended(1)
    tick = one.arrive("second", until=night + timedelta(minutes=1))
    assert rule_of(tick) is Rule.COOLDOWN
    assert tick.decision.decision.retry_at == night + timedelta(hours=1)
    one.pass_time(1800)
    assert rule_of(one.monitor.tick("m")) is Rule.COOLDOWN
    one.pass_time(1801)
    assert rule_of(one.monitor.tick("m")) is Rule.FIRED


# --- windows -------------------------------------------------------------------------------------------------------


def test_after_a_deployment_that_was_taken_back_no_row_is_measured_twice_nor_left_out(loop: Make) -> None:
    """v2, back to v1, then v3 fails: v1's windows go on where its rollback began."""
    one = loop()
    one.first_version()
    one.arrive("second")
    one.control.request_run("m", origin="cli")
    one.ended(2)
    one.control.rollback("m")
    begun = one.window_from()
    one.target.errors["deploy"] = [fault(DeployError, "alias_not_switched")]
    one.arrive("third")
    one.control.request_run("m", origin="cli")
    one.ended(3)
    assert (one.live(), one.window_from()) == (1, begun)


def test_nothing_is_measured_while_a_deployment_is_being_switched(loop: Make) -> None:
    one = loop()
    one.first_version()
    with one.store.write() as tx:
        live = one.store.deployments.live(tx, "m")
        one.store.deployments.set_state(tx, live.seq, DeploymentState.SWITCHING)
    one.arrive("second")
    one.arrive("third")
    assert "compare" not in one.worker.calls
    with one.store.write() as tx:
        one.store.deployments.set_state(tx, live.seq, DeploymentState.LIVE)
    one.monitor.tick("m")
    assert "compare" in one.worker.calls


def test_rows_of_a_window_that_a_deployment_overtook_are_not_measured_twice(loop: Make) -> None:
    one = loop()
    one.first_version()
    one.arrive("second")
    with one.store.read() as tx:
        newest = one.store.batches.totals(tx, "m").last_seq

    def overtaken() -> None:
        with one.store.write() as tx:
            one.store.models.set_window_from(tx, "m", newest + 1)

    one.worker.before["compare"] = overtaken
    one.arrive("third")
    assert one.window_from() == newest + 1
    with one.store.read() as tx:
        assert not one.store.windows.list(tx, "m")
