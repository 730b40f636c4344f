"""What is forgotten, and above all what is not."""

from __future__ import annotations

import pytest

from ct_daemon.store.retention import expired, forget
from ct_daemon.types import (
    BatchKind,
    BatchStatus,
    Columns,
    DeploymentState,
    DriftReport,
    Predictions,
    Rule,
    Situation,
    Snapshot,
    SnapshotPart,
    Verdict,
)

KEEP_ALL = {"decisions": 1000, "windows": 1000, "versions": 1000, "rows": None, "window_rows": None}


def _gone(store, tx, model="m", **keep):
    return expired(tx, model, **(KEEP_ALL | keep))


@pytest.fixture
def deploy(store, at):
    def make(tx, version):
        return store.deployments.add(
            tx, model="m", version=version, baseline_digest="b", kind="deploy", at=at(0), decided_at=at(0)
        )

    return make


def _names(batches):
    return [batch.name for batch in batches]


def test_with_room_for_all_nothing_goes(store, take, publish, begin):
    with store.write() as tx:
        take(tx, "a")
        take(tx, "bad", status=BatchStatus.QUARANTINED)
        publish(tx, "a")
        begin(tx, "r1")
        assert _gone(store, tx).nothing
        assert _gone(store, tx, rows=1, window_rows=1, quarantined=1).nothing


def test_old_decisions_go_but_those_that_began_a_run_stay(store, decide, begin, at):
    with store.write() as tx:
        begin(tx, "r1")
        for number in range(4):
            hold = decide(Verdict.HOLD, Rule.COOLDOWN, (str(number),))
            store.decisions.record(tx, hold, Situation(model="m"), {}, at(0))
        other = decide(Verdict.HOLD, Rule.COOLDOWN, ("x",), "other")
        store.decisions.record(tx, other, Situation(model="other"), {}, at(0))
        gone = _gone(store, tx, decisions=2)
        assert len(gone.decisions) == 2
        forget(tx, "m", gone)
        left = [found.decision.firings[0].dedupe_key for found in store.decisions.list(tx)]
        assert left == ["x", "3", "2", "r1"]
        assert _gone(store, tx, decisions=2).nothing


def test_old_windows_go_with_their_profiles(store, at):
    with store.write() as tx:
        for last in range(1, 5):
            store.windows.add(
                tx,
                model="m",
                version=1,
                baseline_digest="b",
                first_batch_seq=last,
                last_batch_seq=last,
                report=DriftReport(baseline_rows=1, window_rows=1, columns=()),
                measured_at=at(0),
            )
        gone = _gone(store, tx, windows=3)
        assert gone.profiles == (("b", 1),)
        forget(tx, "m", gone)
        assert [window.last_batch_seq for window in store.windows.list(tx, "m")] == [2, 3, 4]


def test_old_versions_go_but_never_one_in_use(store, take, publish, begin, deploy, at):
    with store.write() as tx:
        batch = take(tx, "a")
        for number in range(1, 8):
            publish(tx, f"v{number}")
            made = Predictions(batch_seq=batch.seq, version=number, path="p", rows=1)
            store.feedback.add_predictions(tx, "m", made)
        deploy(tx, 2)
        bad = deploy(tx, 4)
        store.deployments.set_state(tx, bad.seq, DeploymentState.UNDONE)
        deploy(tx, 3)
        begin(tx, "r1")
        run, _ = store.runs.claim(tx, "r1", "deploying", at(1))
        store.runs.move(tx, run, "verifying", at(2), candidate=1)
        gone = _gone(store, tx, versions=2)
        assert [version.version for version in gone.versions] == [
            5,
            4,
        ]  # 7 6 new, 3 live, 2 before, 1 in a run
        forget(tx, "m", gone)
        assert [version.version for version in store.versions.list(tx, "m")] == [7, 6, 3, 2, 1]
        assert [made.version for made in store.feedback.predictions(tx, "m")] == [1, 2, 3, 6, 7]
        assert _gone(store, tx, versions=2).nothing


def _snapshot(store, tx, digest, *batches):
    parts = tuple(
        SnapshotPart(seq=batch.seq, kind=batch.kind, path="p", digest=batch.digest, rows=batch.rows)
        for batch in batches
    )
    snapshot = Snapshot(digest=digest, model="m", columns=Columns(target="y"), window_rows=10, parts=parts)
    store.versions.snapshot_add(tx, snapshot, 10)


def test_snapshots_go_when_no_version_and_not_the_newest_run_needs_them(store, take, publish, begin, at):
    with store.write() as tx:
        batch = take(tx, "a")
        for digest in ("of a version", "of run 1", "of run 2", "of nothing"):
            _snapshot(store, tx, digest, batch)
        publish(tx, "v", snapshot="of a version")

        def run_to_its_end(id, snapshot):
            begin(tx, id)
            run, _ = store.runs.claim(tx, id, "snapshotting", at(1))
            assert (
                "of run 1" not in _gone(store, tx).snapshots or id != "r2"
            )  # r2 may make the same one again
            run, _ = store.runs.move(tx, run, "validating", at(2), snapshot=snapshot)
            assert snapshot not in _gone(store, tx).snapshots
            store.runs.move(tx, run, "rejected", at(3), terminal=True)
            assert snapshot not in _gone(store, tx).snapshots

        run_to_its_end("r1", "of run 1")
        run_to_its_end("r2", "of run 2")
        gone = _gone(store, tx)
        assert sorted(gone.snapshots) == ["of nothing", "of run 1"]
        forget(tx, "m", gone)
        assert store.versions.snapshot_get(tx, "of nothing") is None
        assert store.versions.snapshot_get(tx, "of a version") is not None


def test_stored_rows_go_when_older_than_what_is_kept_beyond_the_window(store, take):
    with store.write() as tx:
        take(tx, "l0", rows=60, kind=BatchKind.LABELS)
        for name in "abcdef":
            take(tx, name, rows=10)
        # All labels came in a file of their own: the window of 20 rows is e and f; 15 rows beyond are d and c.
        gone = _gone(store, tx, rows=15, window_rows=20)
        assert _names(gone.batches) == ["l0", "a", "b"]
        assert [batch.object_path for batch in gone.batches] == ["batches/l0", "batches/a", "batches/b"]
        assert _gone(store, tx, rows=15, window_rows=None).nothing
        assert _gone(store, tx, rows=None, window_rows=20).nothing
        forget(tx, "m", gone)
        assert [part.path[-1] for part in store.batches.training_parts(tx, "m", None)] == ["c", "d", "e", "f"]
        assert len(store.batches.list(tx, "m")) == 7  # the record stays, so no file is taken again
        assert "a" in store.batches.known(tx, "m", "rows")
        assert _gone(store, tx, rows=15, window_rows=20).nothing


def test_stored_rows_stay_while_a_kept_snapshot_is_made_of_them(store, take, publish):
    with store.write() as tx:
        a, *_ = (take(tx, name, rows=10) for name in "abcdef")
        _snapshot(store, tx, "s", a)
        publish(tx, "v", snapshot="s")
        assert _names(_gone(store, tx, rows=10, window_rows=10).batches) == ["b", "c", "d"]


def test_stored_rows_stay_until_they_were_compared_with_the_live_baseline(store, take, publish, deploy):
    with store.write() as tx:
        _, b, *_ = [take(tx, name, rows=10) for name in "abcdef"]
        publish(tx, "v")
        deploy(tx, 1)
        assert _gone(store, tx, rows=10, window_rows=10).nothing
        store.models.set_window_from(tx, "m", b.seq)
        assert _names(_gone(store, tx, rows=10, window_rows=10).batches) == ["a", "b"]


def test_old_copies_of_quarantined_files_go(store, take):
    with store.write() as tx:
        for name in "abc":
            take(tx, name, status=BatchStatus.QUARANTINED)
        take(tx, "not copied", status=BatchStatus.QUARANTINED, copy=False)
        gone = _gone(store, tx, quarantined=1)
        assert _names(gone.quarantined) == ["b", "a"]
        forget(tx, "m", gone)
        assert _gone(store, tx, quarantined=1).nothing
        assert _names(_gone(store, tx, quarantined=0).quarantined) == ["c"]


def test_a_copy_that_several_quarantined_files_share_goes_once_with_the_last_of_them(store, take):
    with store.write() as tx:
        for _ in range(3):
            take(tx, "same", status=BatchStatus.QUARANTINED)
        assert _gone(store, tx, quarantined=1).nothing
        take(tx, "newer", status=BatchStatus.QUARANTINED)
        gone = _gone(store, tx, quarantined=1)
        assert _names(gone.quarantined) == ["same"]
        forget(tx, "m", gone)
        assert _gone(store, tx, quarantined=1).nothing
        assert [batch.object_path for batch in store.batches.list(tx, "m")] == [None] * 3 + ["batches/newer"]
