"""Versions, snapshots, deployments."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ct_daemon.errors import ConflictError, UnknownNameError
from ct_daemon.types import BatchKind, Columns, DeploymentState, Quality, Snapshot, SnapshotPart

LIVE, UNDONE = DeploymentState.LIVE, DeploymentState.UNDONE


def test_a_number_is_the_runs_own_and_never_comes_again(store, publish):
    with store.write() as tx:
        assert [store.versions.reserve(tx, "m", run) for run in ("a", "b", "a")] == [1, 2, 1]
        assert store.versions.reserve(tx, "other", "a") == 1
        publish(tx, "b")
        store.versions.delete(tx, "m", 2)
        with pytest.raises(UnknownNameError):
            store.versions.get(tx, "m", 2)
        assert store.versions.reserve(tx, "m", "c") == 3


def test_publishing_again_keeps_the_first_record_and_other_files_are_refused(store, publish, at):
    with store.write() as tx:
        first = publish(tx, "a")
        again = replace(first, created_at=at(9))
        assert store.versions.publish(tx, again) == first
        with pytest.raises(ConflictError) as caught:
            store.versions.publish(tx, replace(first, digest="altered"))
        assert caught.value.reason == "version_differs"
        assert store.versions.get(tx, "m", first.version) == first
        second = publish(tx, "b")
        assert store.versions.list(tx, "m") == (second, first)
        quality = Quality(metric="accuracy", value=0.9, rows=100, low=0.85, high=0.95)
        third = replace(second, version=7, run_id="c", quality=quality)
        assert store.versions.publish(tx, third) == third
        assert store.versions.reserve(tx, "m", "d") == 8


def test_a_snapshot_is_kept_by_its_digest(store):
    part = SnapshotPart(seq=3, kind=BatchKind.ROWS, path="p", digest="d", rows=10)
    columns = Columns(target="y", row_id="id", ignore=("a", "b"))
    snapshot = Snapshot(digest="s", model="m", columns=columns, window_rows=None, parts=(part,))
    with store.write() as tx:
        store.versions.snapshot_add(tx, snapshot, 10)
        store.versions.snapshot_add(tx, snapshot, 10)
        assert store.versions.snapshot_get(tx, "s") == snapshot
        assert store.versions.snapshot_get(tx, "none") is None


@pytest.fixture
def deploy(store, at):
    def make(tx, version, run_id=None, model="m", kind="deploy"):
        return store.deployments.add(
            tx,
            model=model,
            version=version,
            baseline_digest=f"b{version}",
            kind=kind,
            at=at(1),
            decided_at=at(0),
            run_id=run_id,
        )

    return make


def test_the_newest_deployment_that_is_not_undone_is_live(store, deploy):
    with store.write() as tx:
        assert store.deployments.live(tx, "m") is None
        one = deploy(tx, 1)
        assert (one.state, one.previous, one.kind) == (DeploymentState.SWITCHING, None, "deploy")
        assert store.deployments.set_state(tx, one.seq, LIVE).state is LIVE
        two = deploy(tx, 2, "r2")
        assert two.previous == 1
        assert store.deployments.live(tx, "m") == two
        store.deployments.set_state(tx, two.seq, UNDONE)
        assert store.deployments.live(tx, "m").version == 1
        three = deploy(tx, 3)
        assert three.previous == 1
        assert [found.version for found in store.deployments.list(tx, "m")] == [3, 2, 1]
        assert store.deployments.list(tx, "m", limit=1) == (three,)
        assert store.deployments.live(tx, "other") is None
        with pytest.raises(UnknownNameError):
            store.deployments.set_state(tx, 999, LIVE)


def test_a_run_deploys_once_but_people_may_roll_back_often(store, deploy):
    with store.write() as tx:
        first = deploy(tx, 1, "r1")
        store.deployments.set_state(tx, first.seq, LIVE)
        assert deploy(tx, 1, "r1") == replace(first, state=LIVE)
        assert deploy(tx, 2).seq != deploy(tx, 2).seq
        assert len(store.deployments.list(tx, "m")) == 3


def test_a_rollback_goes_to_the_newest_other_version_that_worked_and_still_exists(store, deploy, publish):
    with store.write() as tx:
        for run in ("a", "b", "c", "d"):
            publish(tx, run)
        assert store.deployments.before(tx, "m", 1) is None
        deploy(tx, 1)
        assert store.deployments.before(tx, "m", 1) is None
        deploy(tx, 2)
        undone = deploy(tx, 3)
        store.deployments.set_state(tx, undone.seq, UNDONE)
        deploy(tx, 4)
        deploy(tx, 4)
        assert store.deployments.before(tx, "m", 4).version == 2
        store.versions.delete(tx, "m", 2)
        assert store.deployments.before(tx, "m", 4).version == 1
        assert store.deployments.before(tx, "m", 1) is None  # 4 is live, 3 undone, 2 gone
