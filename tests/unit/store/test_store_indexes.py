"""No question that is asked at every tick reads a whole table."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import event

from ct_daemon.store.retention import expired
from ct_daemon.types import BatchKind, BatchStatus, TriggerKind

HOT = {
    "known": lambda s, tx, at: s.batches.known(tx, "m", "rows"),
    "same digest": lambda s, tx, at: s.batches.accepted_with_digest(tx, "m", BatchKind.ROWS, "d"),
    "same name": lambda s, tx, at: s.batches.accepted_with_name(tx, "m", "rows", "n"),
    "same key": lambda s, tx, at: s.batches.accepted_with_key(tx, "m", BatchKind.ROWS, "k"),
    "batches": lambda s, tx, at: s.batches.list(tx, "m", newest_first=True),
    "batches by status": lambda s, tx, at: s.batches.list(tx, "m", status=BatchStatus.ACCEPTED),
    "counts": lambda s, tx, at: s.batches.counts(tx, "m"),
    "totals": lambda s, tx, at: s.batches.totals(tx, "m", after_seq=3),
    "training parts": lambda s, tx, at: s.batches.training_parts(tx, "m", 10),
    "predictions": lambda s, tx, at: s.feedback.predictions(tx, "m", version=1, after_seq=1),
    "outcomes": lambda s, tx, at: s.feedback.outcomes(tx, "m", after_seq=1),
    "waiting": lambda s, tx, at: s.feedback.waiting(tx, "m", after_seq=1, limit=9),
    "windows": lambda s, tx, at: s.windows.list(tx, "m", version=1, baseline_digest="b", limit=9),
    "pending": lambda s, tx, at: s.demands.pending(tx, "m"),
    "unanswered": lambda s, tx, at: s.firings.unanswered(tx, "m", []),
    "lapse": lambda s, tx, at: s.firings.lapse(tx, "m", [TriggerKind.NEW_DATA], at(1)),
    "answer": lambda s, tx, at: s.firings.answer(tx, "m", "r"),
    "firings": lambda s, tx, at: s.firings.list(tx, "m"),
    "newest decision": lambda s, tx, at: s.decisions.newest(tx, "m"),
    "decisions": lambda s, tx, at: s.decisions.list(tx, "m", before_seq=9),
    "active run": lambda s, tx, at: s.runs.active(tx, "m"),
    "active runs": lambda s, tx, at: s.runs.all_active(tx),
    "queued runs": lambda s, tx, at: s.runs.queued(tx),
    "runs": lambda s, tx, at: s.runs.list(tx, "m"),
    "transitions": lambda s, tx, at: s.runs.transitions(tx, "r"),
    "reserve": lambda s, tx, at: s.versions.reserve(tx, "m", "r"),
    "versions": lambda s, tx, at: s.versions.list(tx, "m"),
    "snapshot": lambda s, tx, at: s.versions.snapshot_get(tx, "d"),
    "live": lambda s, tx, at: s.deployments.live(tx, "m"),
    "before": lambda s, tx, at: s.deployments.before(tx, "m", 1),
    "retention": lambda s, tx, at: expired(
        tx, "m", decisions=1, windows=1, versions=1, rows=1, window_rows=1, quarantined=1
    ),
}


def plans(tx, ask):
    """(statement, plan) of everything that is asked."""
    asked = []

    def note(connection, cursor, statement, parameters, context, many):
        asked.append((statement, parameters))

    event.listen(tx, "before_cursor_execute", note)
    ask()
    event.remove(tx, "before_cursor_execute", note)
    assert asked
    for statement, parameters in asked:
        if statement.lstrip().upper().startswith(("SELECT", "UPDATE", "DELETE")):
            rows = tx.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            yield statement, [row[3] for row in rows]


@pytest.mark.parametrize("ask", HOT.values(), ids=HOT)
def test_a_hot_question_uses_an_index(store, at, ask):
    with store.write() as tx:
        for statement, plan in plans(tx, lambda: ask(store, tx, at)):
            searched = [line for line in plan if re.match("SEARCH|SCAN .* USING INDEX runs_queue", line)]
            derived = [line for line in plan if re.match(r"SCAN (anon_\d|\(subquery)", line)]
            scanned = [line for line in plan if line.startswith("SCAN") and line not in searched + derived]
            assert searched, (statement, plan)
            assert not scanned, (statement, plan)


def test_counting_reads_the_index_alone(store):
    with store.read() as tx:
        totals = list(plans(tx, lambda: store.batches.totals(tx, "m", after_seq=3)))
        assert len(totals) == 2
        for statement, plan in totals:
            assert [line for line in plan if "COVERING INDEX batches_by_status" in line], (statement, plan)


def test_a_question_without_an_index_would_be_found(store):
    with store.read() as tx:
        plan = tx.exec_driver_sql("EXPLAIN QUERY PLAN SELECT * FROM batches WHERE detail = ''").fetchall()
    assert plan[0][3].startswith("SCAN")
