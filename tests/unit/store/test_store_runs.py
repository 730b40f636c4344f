"""Runs: one active a model, fenced, and unchangeable once ended."""

from __future__ import annotations

import pytest
from sqlalchemy import insert, update
from sqlalchemy.exc import IntegrityError

from ct_daemon.errors import ConflictError, UnknownNameError
from ct_daemon.store import schema
from ct_daemon.store.runs import PUT_DOWN


def _reason(action):
    with pytest.raises(ConflictError) as caught:
        action()
    return caught.value.reason


def test_a_run_goes_its_way_and_every_step_is_noted(store, begin, at):
    with store.write() as tx:
        run = begin(tx, "r1")
        assert (run.state, run.attempt, run.created_at) == ("queued", 0, at(0))
        run, claimed = store.runs.claim(tx, "r1", "snapshotting", at(1))
        assert (run.state, run.attempt, run.updated_at) == ("snapshotting", 1, at(1))
        run, _ = store.runs.move(tx, run, "training", at(2), snapshot="s", results={"a": 1, "b": {"c": [1]}})
        run, _ = store.runs.move(tx, run, "deploying", at(3), candidate=4, detail="passed", results={"a": 2})
        assert (run.snapshot, run.candidate, run.detail) == ("s", 4, "passed")
        assert run.results == {"a": 2, "b": {"c": [1]}}
        run, ended = store.runs.move(
            tx, run, "failed", at(4), terminal=True, reason="broke", detail="it broke"
        )
        assert (run.snapshot, run.candidate, run.reason) == ("s", 4, "broke")
        assert store.runs.get(tx, "r1") == run
        steps = store.runs.transitions(tx, "r1")
        assert [(step.from_state, step.to_state, step.attempt) for step in steps] == [
            (None, "queued", 0),
            ("queued", "snapshotting", 1),
            ("snapshotting", "training", 1),
            ("training", "deploying", 1),
            ("deploying", "failed", 1),
        ]
        assert (steps[1], steps[4]) == (claimed, ended)
        assert (ended.at, ended.reason, ended.detail) == (at(4), "broke", "it broke")


def test_a_model_has_one_active_run(store, begin, at):
    with store.write() as tx:
        begin(tx, "r1")
        begin(tx, "r2", model="other")
        assert _reason(lambda: begin(tx, "r3")) == "run_active"
        assert store.runs.active(tx, "m").id == "r1"
        run, _ = store.runs.claim(tx, "r1", "training", at(1))
        assert _reason(lambda: begin(tx, "r3")) == "run_active"
        store.runs.move(tx, run, "rejected", at(2), terminal=True)
        assert store.runs.active(tx, "m") is None
        begin(tx, "r3")
        assert [run.id for run in store.runs.list(tx)] == ["r3", "r2", "r1"]
        assert [run.id for run in store.runs.list(tx, "m", limit=1)] == ["r3"]


def test_the_database_itself_refuses_a_second_active_run_and_a_run_without_a_decision(store, begin, at):
    with store.write() as tx:
        begin(tx, "r1")
        row = dict(tx.execute(schema.runs.select()).mappings().one())
    for change in ({"id": "r2"}, {"id": "r2", "model": "other", "decision_seq": 999}):
        with pytest.raises(IntegrityError), store.write() as tx:
            tx.execute(insert(schema.runs).values(row | {"seq": None} | change))


def test_a_run_is_claimed_once(store, begin, at):
    with store.write() as tx:
        begin(tx, "r1")
        begin(tx, "r2", model="other")
        assert [run.id for run in store.runs.queued(tx)] == ["r1", "r2"]
        store.runs.claim(tx, "r1", "snapshotting", at(1))
        assert _reason(lambda: store.runs.claim(tx, "r1", "snapshotting", at(2))) == "fenced"
        assert [run.id for run in store.runs.queued(tx)] == ["r2"]
        assert [run.id for run in store.runs.all_active(tx)] == ["r1", "r2"]
        with pytest.raises(UnknownNameError):
            store.runs.claim(tx, "none", "snapshotting", at(1))
        with pytest.raises(UnknownNameError):
            store.runs.get(tx, "none")


def test_who_lost_a_run_to_another_can_change_nothing(store, begin, at):
    with store.write() as tx:
        begin(tx, "r1")
        mine, _ = store.runs.claim(tx, "r1", "training", at(1))
        theirs = store.runs.take_over(tx, "r1", at(2))
        assert (theirs.state, theirs.attempt) == ("training", 2)
        steps = store.runs.transitions(tx, "r1")
        for act in (
            lambda: store.runs.move(tx, mine, "evaluating", at(3)),
            lambda: store.runs.note_child(tx, mine, 1, 1.0),
            lambda: store.runs.put_down(tx, mine),
        ):
            assert _reason(act) == "fenced"
        assert store.runs.get(tx, "r1") == theirs
        assert store.runs.transitions(tx, "r1") == steps
        moved, _ = store.runs.move(tx, theirs, "evaluating", at(3))
        assert _reason(lambda: store.runs.move(tx, theirs, "evaluating", at(4))) == "fenced"
        assert store.runs.get(tx, "r1") == moved


def test_nothing_changes_a_run_that_has_ended(store, begin, at):
    with store.write() as tx:
        begin(tx, "r1")
        run, _ = store.runs.claim(tx, "r1", "training", at(1))
        ended, _ = store.runs.move(tx, run, "failed", at(2), terminal=True)
        for act in (
            lambda: store.runs.move(tx, ended, "succeeded", at(3), terminal=True),
            lambda: store.runs.take_over(tx, "r1", at(3)),
            lambda: store.runs.claim(tx, "r1", "snapshotting", at(3)),
            lambda: store.runs.request_cancel(tx, "r1"),
            lambda: store.runs.note_child(tx, ended, 1, 1.0),
        ):
            assert _reason(act) == "fenced"
        assert store.runs.get(tx, "r1") == ended


def test_the_child_is_remembered_exactly_and_forgotten_at_the_end(store, begin, at):
    started = 1_772_366_400.1234567
    with store.write() as tx:
        begin(tx, "r1")
        run, _ = store.runs.claim(tx, "r1", "training", at(1))
        store.runs.note_child(tx, run, 4711, started)
        found = store.runs.take_over(tx, "r1", at(2))
        assert (found.child_pid, found.child_started) == (4711, started)
        store.runs.note_child(tx, found, 4712, started)
        ended, _ = store.runs.move(tx, found, "failed", at(3), terminal=True)
        assert (ended.child_pid, ended.child_started) == (None, None)


def test_a_wish_to_cancel_is_kept_over_the_next_moves(store, begin, at):
    with store.write() as tx:
        begin(tx, "r1")
        assert store.runs.request_cancel(tx, "r1").cancel_requested
        run, _ = store.runs.claim(tx, "r1", "training", at(1))
        assert run.cancel_requested


def test_putting_a_run_down_is_counted_and_changes_nothing_else(store, begin, at):
    with store.write() as tx:
        begin(tx, "r1")
        run, _ = store.runs.claim(tx, "r1", "training", at(1))
        for count in (1, 2):
            store.runs.put_down(tx, run)
            found = store.runs.get(tx, "r1")
            assert (found.state, found.attempt, found.results) == ("training", 1, {PUT_DOWN: count})


def test_results_keep_what_a_stale_copy_of_the_run_does_not_know(store, begin, at):
    with store.write() as tx:
        begin(tx, "r1")
        run, _ = store.runs.claim(tx, "r1", "training", at(1))
        tx.execute(update(schema.runs).values(results={"kept": True}))
        moved, _ = store.runs.move(tx, run, "evaluating", at(2), results={"new": 1})
        assert moved.results == {"kept": True, "new": 1}
