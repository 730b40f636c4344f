"""Runs end as they should, whatever happens around them."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ct_daemon.config import SklearnTrainer
from ct_daemon.errors import ConflictError, DeployError, StateError, TrainingError, WorkerError
from ct_daemon.pipeline import executor
from ct_daemon.protocols import VerifyResult
from ct_daemon.store.runs import Runs
from ct_daemon.testing.fakes import fault
from ct_daemon.types import DeploymentState

Make = Callable[..., Any]


def test_a_run_goes_from_the_queue_to_the_target(loop: Make) -> None:
    one = loop()
    one.first_version()
    assert (one.live(), one.shown()) == (1, 1)
    assert not list((one.folders.root / "work").iterdir())


@pytest.mark.parametrize("reason", ["locked", "disk_full"])
def test_a_claim_that_can_not_be_recorded_is_made_later(
    loop: Make, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    one, honest = loop(), Runs.claim
    failures = [fault(StateError, reason), fault(StateError, reason)]

    def claim(self: Runs, *arguments: Any) -> Any:
        if failures:
            raise failures.pop()
        return honest(self, *arguments)

    monkeypatch.setattr(Runs, "claim", claim)
    one.first_version()
    assert not failures
    assert one.runs()[0].attempt == 1


def test_a_move_that_can_not_be_recorded_is_recorded_later_and_its_step_not_done_again(
    loop: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, honest = loop(), Runs.move
    failures = [fault(StateError, "locked") for _ in range(5)]

    def move(self: Runs, tx: Any, run: Any, to: str, *more: Any, **options: Any) -> Any:
        if failures and to == "evaluating":
            raise failures.pop()
        return honest(self, tx, run, to, *more, **options)

    monkeypatch.setattr(Runs, "move", move)
    one.first_version()
    assert not failures
    assert one.trainer.calls == ["train", "finish"]
    assert one.runs()[0].attempt == 1


@pytest.mark.parametrize(
    "full",
    [
        fault(TrainingError, "disk_full"),
        fault(StateError, "disk_full"),
        fault(StateError, "locked"),
        OSError(errno.ENOSPC, "no space"),
        OSError(errno.EDQUOT, "no quota"),
    ],
    ids=["trainer", "ledger", "lock", "space", "quota"],
)
def test_what_passes_is_waited_for(loop: Make, full: Exception) -> None:
    one = loop()
    one.trainer.errors["train"] = [full, full]
    one.first_version()
    assert one.trainer.calls == ["train", "train", "train", "finish"]


def test_a_run_that_is_put_down_on_purpose_again_and_again_is_not_given_up(loop: Make) -> None:
    one = loop()
    one.trainer.hold = {"train"}
    one.arrive("first")
    one.work()
    for count in range(1, 6):
        one.until(lambda count=count: len(one.trainer.calls) == count, "it trains")
        one.restart()
    one.trainer.release.set()
    (run,) = one.ended(1)
    assert (run.state, run.attempt) == ("succeeded", 6)


def test_any_other_error_of_a_trainer_fails_the_run(loop: Make) -> None:
    one = loop()
    one.trainer.errors["train"] = [fault(TrainingError, "timeout")]
    one.arrive("first")
    one.work()
    (run,) = one.ended(1)
    assert (run.state, run.reason) == ("failed", "timeout")


def test_a_bug_fails_the_run_and_the_next_one_is_carried_on(loop: Make) -> None:
    one = loop()
    one.trainer.errors["train"] = [RuntimeError("a bug")]
    one.arrive("first")
    one.work()
    (run,) = one.ended(1)
    assert (run.state, run.reason, run.detail) == ("failed", "internal_error", "RuntimeError: a bug")
    one.arrive("second")
    assert one.ended(2)[1].state == "succeeded"


# --- a deployment that can't be completed ---------------------------------------------------------------------------


def second_run(one: Any) -> Any:
    """A run for version 2, ended in whatever way the test has prepared."""
    one.arrive("second")
    one.control.request_run("m", origin="cli")
    return one.ended(2)[1]


def test_a_target_that_refuses_the_first_version_shows_nothing(loop: Make) -> None:
    one = loop()
    one.target.errors["deploy"] = [fault(DeployError, "alias_not_switched")]
    one.arrive("first")
    one.work()
    (run,) = one.ended(1)
    assert (run.state, run.reason) == ("failed", "alias_not_switched")
    assert (one.live(), one.shown()) == (None, None)
    assert "withdraw" in one.target.calls


def test_a_target_that_refuses_a_version_leaves_the_one_before_in_ledger_and_target(loop: Make) -> None:
    one = loop()
    one.first_version()
    begun = one.window_from()
    one.target.errors["deploy"] = [fault(DeployError, "alias_not_switched")]
    run = second_run(one)
    assert (run.state, run.reason) == ("failed", "alias_not_switched")
    assert (one.live(), one.shown()) == (1, 1)
    assert one.window_from() == begun, "rows go on being compared with the first version's baseline"
    with one.store.read() as tx:
        states = [d.state for d in one.store.deployments.list(tx, "m")]
    assert states == [DeploymentState.UNDONE, DeploymentState.LIVE]


@pytest.mark.parametrize("how", ["verdict", "error", "another version is shown"])
def test_a_version_that_does_not_verify_is_rolled_back(loop: Make, how: str) -> None:
    one = loop()
    one.first_version()

    def when_live() -> None:
        if one.shown() != 2:
            return
        if how == "verdict":
            one.worker.verified = VerifyResult(rows=1, reason="golden_rows_differ", detail="all of them")
        elif how == "error":
            one.worker.errors["verify"].append(fault(WorkerError, "out_of_memory"))

    if how == "another version is shown":
        first = one.target.shelf["m"]
        one.target.before["current"] = lambda: one.target.shelf.update(m=first)
    one.worker.before["verify"] = when_live
    run = second_run(one)
    assert run.state == "rolled_back"
    assert run.reason in ("golden_rows_differ", "out_of_memory", "other_version_live")
    assert (one.live(), one.shown()) == (1, 1)


def test_a_run_interrupted_too_often_while_it_deploys_is_taken_back(loop: Make) -> None:
    one = loop()
    one.first_version()
    stuck = fault(StateError, "io_error")  # the process would end here
    one.target.errors["current"] = [stuck] * 2
    one.arrive("second")
    one.control.request_run("m", origin="cli")
    for _ in range(2):
        one.until(lambda: len(one.target.errors["current"]) < 2 and one.active(), "it got stuck")
        one.restart()
    one.until(lambda: one.runs()[1].state == "failed", "it is given up")
    assert one.runs()[1].reason == "interrupted_too_often"
    assert (one.live(), one.shown()) == (1, 1)


# --- cancel -----------------------------------------------------------------------------------------------------


def test_a_queued_run_is_cancelled_at_once_and_nothing_joins_it(loop: Make) -> None:
    one = loop()
    one.first_version()
    one.executor.stop(0.0, interrupt=lambda: None)
    one.working = False
    ticket = one.control.request_run("m", origin="cli")
    assert one.control.cancel(ticket.demand.run_id).state == "cancelled"
    later = one.control.request_run("m", origin="cli")
    assert later.verdict == "start"
    assert later.demand.run_id != ticket.demand.run_id


def test_nothing_joins_a_queued_run_whose_cancel_is_only_noted(loop: Make) -> None:
    one = loop()
    one.arrive("first")
    (run,) = one.runs()
    with one.store.write() as tx:
        one.store.runs.request_cancel(tx, run.id)
    ticket = one.control.request_run("m", origin="cli")
    assert (ticket.verdict, ticket.demand.run_id) == ("hold", None)
    one.work()
    one.until(lambda: one.runs()[0].state == "cancelled", "it is cancelled")
    one.monitor.tick("m")
    with one.store.read() as tx:
        assert one.store.demands.get(tx, ticket.demand.id).run_id == one.runs()[1].id


@pytest.mark.parametrize("verb", ["train", "finish"])
def test_a_cancel_holds_until_the_last_moment_before_it_goes_live(loop: Make, verb: str) -> None:
    one = loop()
    one.first_version()
    one.trainer.hold = {verb}
    one.arrive("second")
    one.control.request_run("m", origin="cli")
    run = one.until(lambda: one.trainer.calls[2:].count(verb) and one.active(), f"it is in {verb}")
    with one.store.write() as tx:
        one.store.runs.request_cancel(tx, run.id)  # noted, but nobody stops the step
    one.trainer.release.set()
    assert one.ended(2)[1].state == "cancelled"
    assert (one.live(), one.shown()) == (1, 1)


def test_what_is_live_or_has_ended_can_not_be_cancelled(loop: Make) -> None:
    one = loop()
    one.first_version()
    with pytest.raises(ConflictError) as caught:
        one.control.cancel(one.runs()[0].id)
    assert caught.value.reason == "run_ended"


def test_a_demand_during_a_run_waits_and_is_served_after_it(loop: Make) -> None:
    one = loop()
    one.first_version()
    one.trainer.hold = {"train"}
    first = one.control.request_run("m", origin="cli")
    one.until(lambda: one.trainer.calls.count("train") == 2, "the run has read its data")
    second = one.control.request_run("m", origin="cli")
    assert (second.verdict, second.demand.run_id) == ("hold", None)
    one.trainer.release.set()
    one.ended(2)
    one.monitor.tick("m")
    done = one.ended(3)
    assert done[1].id == first.demand.run_id
    with one.store.read() as tx:
        assert one.store.demands.get(tx, second.demand.id).run_id == done[2].id


# --- stopping -----------------------------------------------------------------------------------------------------


def test_a_trainer_that_a_service_manager_ends_with_the_daemon_does_not_fail_its_run(loop: Make) -> None:
    one = loop()
    one.trainer.hold = {"train"}
    one.trainer.reason_of_stop = "crashed"
    one.arrive("first")
    one.work()
    one.until(lambda: one.trainer.calls, "it trains")
    one.executor.stop(0.0, interrupt=lambda: None)
    assert one.runs()[0].state == "training"
    one.trainer.hold.clear()
    one.restart()
    assert one.ended(1)[0].state == "succeeded"


# --- the stop ------------------------------------------------------------------------------------------------------


def stopped(one: Any, drain_s: float, hurry: threading.Event) -> tuple[threading.Thread, list[str]]:
    """A stop in a thread of its own, and what it did in which order."""
    order: list[str] = []
    honest = one.trainer.stop

    def stop(run_id: str, *, grace_s: float) -> bool:
        order.append(f"trainer, grace {grace_s:g}")
        return bool(honest(run_id, grace_s=grace_s))

    one.trainer.stop = stop
    options = {"interrupt": lambda: order.append("worker"), "hurry": hurry.is_set}
    thread = threading.Thread(target=one.executor.stop, args=(drain_s,), kwargs=options)
    thread.start()
    one.working = False
    return thread, order


def test_a_drain_lets_a_step_go_on_and_claims_nothing_more(loop: Make) -> None:
    one = loop()
    one.trainer.hold = {"train"}
    one.arrive("first")
    one.work()
    one.until(lambda: "train" in one.trainer.calls, "it trains")
    thread, order = stopped(one, 3600.0, threading.Event())
    one.trainer.release.set()
    thread.join(20)
    assert not thread.is_alive()
    assert order == [], "nothing had to be ended"
    assert one.runs()[0].state == "evaluating", (
        "the step that was under way is recorded, the next is not begun"
    )


def test_a_stop_in_a_hurry_waits_for_nothing_and_the_run_keeps_its_state(loop: Make) -> None:
    one = loop()
    one.trainer.hold = {"train"}
    one.arrive("first")
    one.work()
    one.until(lambda: "train" in one.trainer.calls, "it trains")
    hurry = threading.Event()
    thread, order = stopped(one, 3600.0, hurry)
    thread.join(0.3)
    assert thread.is_alive(), "without a hurry it drains"
    assert order == []
    hurry.set()
    thread.join(20)
    assert not thread.is_alive()
    assert order[:2] == ["worker", "trainer, grace 0"]
    assert one.runs()[0].state == "training"


def test_a_drain_that_is_over_gives_trainers_their_grace(loop: Make) -> None:
    one = loop()
    one.trainer.hold = {"train"}
    one.arrive("first")
    one.work()
    one.until(lambda: "train" in one.trainer.calls, "it trains")
    thread, order = stopped(one, 0.0, threading.Event())
    thread.join(20)
    assert order[:2] == ["worker", "trainer, grace 2"]
    assert one.runs()[0].state == "training"


def test_a_thread_that_never_comes_back_does_not_keep_the_stop(
    loop: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor, "LAST_S", 0.0)
    one = loop()
    hung = threading.Event()
    one.worker.before["validate"] = lambda: hung.wait(60)
    one.arrive("first")
    one.work()
    one.until(lambda: "validate" in one.worker.calls, "it hangs")
    thread, _ = stopped(one, 0.0, threading.Event())
    thread.join(20)
    assert not thread.is_alive()
    hung.set()
    one.until(lambda: not one.executor._threads[0].is_alive(), "the thread is gone")


def test_what_goes_live_after_a_restart_is_made_by_what_passed_the_gate(loop: Make) -> None:
    """The settings change between two daemons, after the candidate was judged and before it is fitted again."""
    one = loop()
    one.trainer.hold = {"finish"}
    one.arrive("first")
    one.work()
    one.until(lambda: one.trainer.calls == ["train", "finish"], "the version is being finished")
    one.executor.stop(0.0, interrupt=lambda: None)
    training = one.settings.training.model_copy(
        update={"sklearn": SklearnTrainer(estimator="linear", seed=7), "holdout": 0.5}
    )
    one.shop = replace(one.shop, settings=one.settings.model_copy(update={"training": training}))
    specs: list[Any] = []
    honest = one.trainer.run
    one.trainer.run = lambda spec, **limits: specs.append(spec) or honest(spec, **limits)
    one.trainer.hold = set()
    one.restart()
    assert one.ended(1)[0].state == "succeeded"
    [finish] = specs
    assert (finish.verb, finish.holdout) == ("finish", 0.2)
    assert finish.trainer["sklearn"]["estimator"] == "hist_gradient_boosting"
    assert finish.trainer["sklearn"]["seed"] == 0
