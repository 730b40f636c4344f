"""A rollback puts a whole version back, or nothing changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ct_daemon.errors import ConflictError, DeployError, StateError, WorkerError
from ct_daemon.recovery import reconcile
from ct_daemon.store.deployments import Deployments
from ct_daemon.testing.fakes import fault
from ct_daemon.types import DeploymentState

Make = Callable[..., Any]


def two_versions(one: Any) -> None:
    one.first_version()
    one.arrive("second")
    one.control.request_run("m", origin="cli")
    one.ended(2)
    assert (one.live(), one.shown()) == (2, 2)


def test_the_version_before_is_put_back_and_the_answer_says_that_it_is_live(loop: Make) -> None:
    one = loop()
    two_versions(one)
    deployment = one.control.rollback("m")
    assert (deployment.version, deployment.previous, deployment.state) == (1, 2, DeploymentState.LIVE)
    assert (one.live(), one.shown()) == (1, 1)


def test_one_rollback_after_another_goes_further_back_and_never_forth(loop: Make) -> None:
    one = loop()
    two_versions(one)
    one.arrive("third")
    one.control.request_run("m", origin="cli")
    one.ended(3)
    assert [one.control.rollback("m").version for _ in range(2)] == [2, 1]
    with pytest.raises(ConflictError) as caught:
        one.control.rollback("m")
    assert caught.value.reason == "no_version_before"
    assert one.control.rollback("m", 3).version == 3, "by its number it comes back"
    assert one.control.rollback("m").version == 2


def test_a_version_that_was_altered_is_not_put_back(loop: Make) -> None:
    one = loop()
    two_versions(one)
    (one.folders.version("m", 1) / "model.skops").write_bytes(b"altered")
    with pytest.raises(DeployError) as caught:
        one.control.rollback("m")
    assert caught.value.reason == "digest_mismatch"
    assert (one.live(), one.shown()) == (2, 2)


def test_a_target_that_refuses_leaves_what_was_live_in_ledger_and_target(loop: Make) -> None:
    one = loop()
    two_versions(one)
    one.target.errors["deploy"] = [fault(DeployError, "alias_not_switched")]
    with pytest.raises(DeployError) as caught:
        one.control.rollback("m")
    assert caught.value.reason == "alias_not_switched"
    assert (one.live(), one.shown()) == (2, 2)
    assert one.control.rollback("m").version == 1


def test_a_rollback_that_is_recorded_is_promised_though_its_end_could_not_be_noted(
    loop: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = loop()
    two_versions(one)
    honest = Deployments.set_state
    failures = [fault(StateError, "locked")]

    def set_state(self: Deployments, *arguments: Any) -> Any:
        if failures:
            raise failures.pop()
        return honest(self, *arguments)

    monkeypatch.setattr(Deployments, "set_state", set_state)
    deployment = one.control.rollback("m")
    assert (deployment.version, deployment.state) == (1, DeploymentState.SWITCHING)
    assert (one.live(), one.shown()) == (1, 1)
    reconcile({"m": one.shop})
    with one.store.read() as tx:
        assert one.store.deployments.live(tx, "m").state is DeploymentState.LIVE
    assert one.live() == 1


def test_a_target_that_does_not_follow_the_ledger_is_put_right(loop: Make) -> None:
    one = loop()
    two_versions(one)
    first = one.folders.version("m", 1)
    del one.target.shelf["m"]
    reconcile({"m": one.shop})
    assert one.shown() == 2
    assert first.is_dir()


def test_a_version_that_nothing_stands_behind_is_withdrawn(loop: Make) -> None:
    one = loop()
    one.worker.before["verify"] = lambda: (
        one.shown() and one.worker.errors["verify"].append(fault(WorkerError, "died"))
    )
    one.target.errors["withdraw"] = [fault(DeployError, "alias_not_switched")]
    one.arrive("first")
    one.work()
    assert one.ended(1)[0].state == "rolled_back"
    assert (one.live(), one.shown()) == (None, 1)
    reconcile({"m": one.shop})
    assert one.shown() is None


def test_there_is_nothing_to_go_back_to(loop: Make) -> None:
    one = loop()
    with pytest.raises(ConflictError) as caught:
        one.control.rollback("m")
    assert caught.value.reason == "nothing_live"
    one.first_version()
    with pytest.raises(ConflictError) as caught:
        one.control.rollback("m")
    assert caught.value.reason == "no_version_before"
    with pytest.raises(ConflictError) as caught:
        one.control.rollback("m", 1)
    assert caught.value.reason == "already_live"
