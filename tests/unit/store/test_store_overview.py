"""All models at a glance."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from ct_daemon.store import overview
from ct_daemon.store.overview import Active, Answer, Cursor, Labels, Live, Overview
from ct_daemon.store.store import Store
from ct_daemon.types import (
    Batch,
    BatchKind,
    BatchStatus,
    Decision,
    Demand,
    DeploymentState,
    DriftReport,
    Firing,
    ModelVersion,
    Outcome,
    Predictions,
    Rule,
    Run,
    Situation,
    TriggerKind,
    Verdict,
)
from tests.unit.store.conftest import START

Make = Callable[..., Any]


def look(store: Store) -> Overview:
    with store.read() as tx:
        return overview.overview(tx, failed=("failed", "rolled_back"), succeeded="succeeded")


def end(store: Store, run: Run, state: str) -> None:
    with store.write() as tx:
        store.runs.move(tx, run, state, START, terminal=True)


def test_nothing_is_there_at_first(store: Store) -> None:
    assert look(store) == Overview(
        paused=frozenset(), live={}, answers={}, demands={}, firings={}, active=(), failed_in_a_row={}
    )


def test_pauses_wishes_and_claims(store: Store) -> None:
    with store.write() as tx:
        store.models.pause(tx, "other", "")
        for number in range(3):
            store.demands.add(
                tx,
                Demand(
                    id=f"d{number}",
                    model="m",
                    origin="http",
                    dedupe_key=f"k{number}",
                    force=False,
                    asked_at=START,
                ),
            )
        store.demands.cancel(tx, "d2")
        for key in ("a", "b"):
            firing = Firing(model="m", trigger=TriggerKind.CONCEPT_DRIFT, dedupe_key=key, reason="")
            store.firings.add(tx, firing, START)
        store.firings.add(
            tx, Firing(model="m", trigger=TriggerKind.NEW_DATA, dedupe_key="c", reason=""), START
        )
        store.firings.lapse(tx, "m", [TriggerKind.NEW_DATA], START)
    seen = look(store)
    assert seen.paused == {"other"}
    assert seen.demands == {"m": 2}
    assert seen.firings == {("m", TriggerKind.CONCEPT_DRIFT): 2}


def test_the_newest_decision_of_each_model(store: Store, decide: Callable[..., Decision], at: Make) -> None:
    with store.write() as tx:
        for model, rule, seconds in (
            ("m", Rule.COOLDOWN, 1),
            ("other", Rule.PAUSED, 2),
            ("m", Rule.BUDGET, 3),
        ):
            decision = decide(Verdict.HOLD, rule, model=model)
            saw = {"new_rows": 10 * seconds, "new_labelled_rows": seconds}
            store.decisions.record(tx, decision, Situation(model=model), saw, at(seconds))
    answers = look(store).answers
    assert answers["m"] == Answer(
        verdict=Verdict.HOLD, rule=Rule.BUDGET, at=at(3), new_rows=30, new_labelled_rows=3
    )
    assert answers["other"].rule is Rule.PAUSED


def test_what_is_live_with_its_newest_window(
    store: Store, publish: Callable[..., ModelVersion], at: Make
) -> None:
    def deploy(version: int, seconds: float) -> int:
        made = {"model": "m", "version": version, "baseline_digest": f"b{version}", "kind": "deploy"}
        return store.deployments.add(tx, **made, at=at(seconds), decided_at=START).seq

    def measure(version: int, last: int, seconds: float) -> int:
        return store.windows.add(
            tx,
            model="m",
            version=version,
            baseline_digest=f"b{version}",
            first_batch_seq=1,
            last_batch_seq=last,
            report=DriftReport(baseline_rows=1, window_rows=1, columns=()),
            measured_at=at(seconds),
        ).seq

    with store.write() as tx:
        for run in ("r1", "r2"):
            publish(tx, run)
        deploy(1, 0)
        measure(1, 1, 10)
        newest = measure(1, 2, 20)
    assert look(store).live == {
        "m": Live(deployment=1, version=1, trained_at=START, quality=None, window=newest)
    }
    with store.write() as tx:
        second = deploy(2, 30)
    assert look(store).live["m"].window is None
    with store.write() as tx:
        store.deployments.set_state(tx, second, DeploymentState.UNDONE)
    assert look(store).live["m"].version == 1
    with store.write() as tx:
        deploy(1, 40)  # a rollback: windows from before it don't speak of what is live now
    assert look(store).live["m"].window is None
    with store.write() as tx:
        fresh = measure(1, 3, 50)
    assert look(store).live["m"].window == fresh


def test_runs_that_go_on(store: Store, begin: Callable[..., Run], at: Make) -> None:
    with store.write() as tx:
        begin(tx, "r1")
        begin(tx, "r2", "other")
        store.runs.claim(tx, "r2", "snapshotting", at(5))
    assert look(store).active == (
        Active(model="m", state="queued", since=START),
        Active(model="other", state="snapshotting", since=at(5)),
    )


@pytest.mark.parametrize(
    ("ends", "count"),
    [
        ([], 0),
        (["failed"], 1),
        (["failed", "rejected", "rolled_back", "cancelled"], 2),
        (["failed", "succeeded", "failed"], 1),
        (["failed", "failed", "succeeded"], 0),
    ],
)
def test_failures_in_a_row(store: Store, begin: Callable[..., Run], ends: list[str], count: int) -> None:
    for number, state in enumerate(ends):
        with store.write() as tx:
            run = begin(tx, f"r{number}")
        end(store, run, state)
    with store.write() as tx:
        run = begin(tx, "x", "other")
    end(store, run, "succeeded")
    assert look(store).failed_in_a_row == ({"m": count} if count else {})


def counted(cursor: Cursor) -> dict[tuple[str, str, str], tuple[int, int]]:
    return {
        (model, kind.value, status.value): (count.files, count.rows)
        for (model, kind, status), count in cursor.batches.items()
    }


def test_counting_goes_on_where_it_ended(
    store: Store, take: Callable[..., Batch], begin: Callable[..., Run]
) -> None:
    cursor = Cursor(("failed", "succeeded"))
    with store.write() as tx:
        take(tx, "a")
        take(tx, "b", status=BatchStatus.QUARANTINED)
        run = begin(tx, "r1")
    end(store, run, "failed")
    for _ in range(2):  # looking again counts nothing twice
        with store.read() as tx:
            cursor.go_on(tx)
        assert counted(cursor) == {("m", "rows", "accepted"): (1, 10), ("m", "rows", "quarantined"): (1, 10)}
        assert cursor.ended == {("m", "failed"): 1}
    with store.write() as tx:
        take(tx, "c", rows=7)
        take(tx, "d", kind=BatchKind.LABELS, model="other")
        run = begin(tx, "r2")
    end(store, run, "failed")
    with store.read() as tx:
        cursor.go_on(tx)
    anew = Cursor(("failed", "succeeded"))
    with store.read() as tx:
        anew.go_on(tx)
    assert counted(cursor) == counted(anew)
    assert counted(cursor)["m", "rows", "accepted"] == (2, 17)
    assert (cursor.ended, anew.ended) == ({("m", "failed"): 2},) * 2


def test_labels_that_lag(store: Store, arrive: Make, at: Callable[[float], datetime]) -> None:
    def rows_came(name: str, seconds: float, labelled: int) -> None:
        with store.write() as tx:
            batch = store.batches.add(
                tx,
                arrival=arrive(name),
                model="m",
                kind=BatchKind.ROWS,
                status=BatchStatus.ACCEPTED,
                dedupe_key=name,
                rows=10,
                arrived_at=at(seconds),
            )
            made = Predictions(batch_seq=batch.seq, version=1, path="p", rows=10)
            store.feedback.add_predictions(tx, "m", made)
            if labelled:
                outcome = Outcome(batch_seq=batch.seq, version=1, rows=labelled, error_sum=1, squared_sum=1)
                store.feedback.put_outcome(tx, "m", outcome)

    def labels() -> Labels | None:
        with store.read() as tx:
            return overview.labels_of(tx, "m")

    assert labels() is None
    rows_came("a", 0, 0)
    assert labels() == Labels(waiting_rows=10, lag_s=0)
    rows_came("b", 100, 0)
    assert labels() == Labels(waiting_rows=20, lag_s=100)
    rows_came("c", 150, 4)
    assert labels() == Labels(waiting_rows=26, lag_s=0)
    rows_came("d", 400, 0)
    assert labels() == Labels(waiting_rows=36, lag_s=250)
    with store.read() as tx:
        assert [outcome.rows for outcome in store.feedback.newest(tx, "m", 1, 100)] == [4]
        assert store.feedback.newest(tx, "m", 2, 100) == ()
