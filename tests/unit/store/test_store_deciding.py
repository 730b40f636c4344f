"""Demands, firings, decisions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ct_daemon.errors import ConflictError, UnknownNameError
from ct_daemon.types import (
    ActiveRun,
    Demand,
    Firing,
    PastRun,
    Quiet,
    Rule,
    RunEnd,
    Situation,
    TriggerKind,
    Verdict,
)


@pytest.fixture
def demand(at):
    def make(id, key=None, model="m", seconds=0):
        return Demand(
            id=id,
            model=model,
            origin="http",
            dedupe_key=key or id,
            force=True,
            asked_at=at(seconds),
            note="please",
        )

    return make


# --- demands ---------------------------------------------------------------------------------------------


def test_asking_twice_with_one_key_is_asking_once(store, demand):
    with store.write() as tx:
        assert store.demands.add(tx, demand("a", "key")) == (demand("a", "key"), True)
        assert store.demands.add(tx, demand("b", "key", seconds=9)) == (demand("a", "key"), False)
        assert store.demands.add(tx, demand("c", "key", model="other"))[1]
        assert store.demands.get(tx, "a") == demand("a", "key")
        with pytest.raises(UnknownNameError):
            store.demands.get(tx, "b")


def test_demands_wait_in_order_until_served_or_cancelled(store, demand):
    with store.write() as tx:
        for id, seconds in (("late", 3), ("early", 1), ("middle", 2), ("last", 4)):
            store.demands.add(tx, demand(id, seconds=seconds))
        assert [found.id for found in store.demands.pending(tx, "m")] == ["early", "middle", "late", "last"]
        store.demands.serve(tx, ["early", "middle"], "run-1")
        assert store.demands.cancel(tx, "late").cancelled
        assert store.demands.cancel(tx, "late").cancelled
        store.demands.serve(tx, ["early", "late"], "run-2")
        assert [found.id for found in store.demands.pending(tx, "m")] == ["last"]
        assert store.demands.get(tx, "early").run_id == "run-1"
        assert store.demands.get(tx, "late").run_id is None
        store.demands.serve(tx, [], "run-3")
        with pytest.raises(ConflictError, match="run-1") as caught:
            store.demands.cancel(tx, "early")
        assert caught.value.reason == "demand_served"
        with pytest.raises(UnknownNameError):
            store.demands.cancel(tx, "none")


# --- firings ---------------------------------------------------------------------------------------------


def _firing(key, trigger=TriggerKind.CONCEPT_DRIFT, model="m"):
    return Firing(model=model, trigger=trigger, dedupe_key=key, reason="moved", evidence={"psi": 0.3})


def test_the_same_evidence_fires_once_and_a_run_answers_all(store, at):
    claims = [_firing("w1"), _firing("w2"), _firing("w1", TriggerKind.NEW_DATA)]
    with store.write() as tx:
        assert store.firings.unanswered(tx, "m", claims) == (None, None)
        assert store.firings.add(tx, _firing("w1"), at(1))
        assert store.firings.add(tx, _firing("w2"), at(2))
        assert store.firings.add(tx, _firing("w1", TriggerKind.NEW_DATA), at(3))
        assert store.firings.add(tx, _firing("w1", model="other"), at(9))
        assert not store.firings.add(tx, _firing("w1"), at(4))
        assert store.firings.unanswered(tx, "m", claims) == (at(1), at(3))
        assert store.firings.unanswered(tx, "m", claims[2:]) == (at(1), at(3))
        assert store.firings.unanswered(tx, "m", [_firing("w9")]) == (None, None)
        store.firings.answer(tx, "m", "run-1")
        assert store.firings.unanswered(tx, "m", claims) == (None, None)
        assert store.firings.unanswered(tx, "other", claims) == (at(9), at(9))
        assert not store.firings.add(tx, _firing("w2"), at(5))  # answered evidence stays known
        assert store.firings.add(tx, _firing("w3"), at(6))
        store.firings.answer(tx, "m", "run-2")
        found = store.firings.list(tx, "m")
        assert [(one.firing.dedupe_key, one.run_id) for one in found] == [
            ("w3", "run-2"),
            ("w1", "run-1"),
            ("w2", "run-1"),
            ("w1", "run-1"),
        ]
        assert found[0].firing == _firing("w3")
        assert found[0].at == at(6)
        assert len(store.firings.list(tx, "m", limit=1)) == 1


def test_evidence_that_is_gone_lapses_and_counts_anew_when_it_is_back(store, at):
    drift, data = _firing("w1"), _firing("n1", TriggerKind.NEW_DATA)
    with store.write() as tx:
        store.firings.add(tx, drift, at(1))
        store.firings.add(tx, data, at(2))
        store.firings.lapse(tx, "m", [TriggerKind.CONCEPT_DRIFT], at(3))
        assert store.firings.unanswered(tx, "m", [drift]) == (None, None)
        assert store.firings.unanswered(tx, "m", [data]) == (at(2), at(2))
        assert store.firings.add(tx, drift, at(4))  # back again: as if it had not been there
        assert store.firings.unanswered(tx, "m", [drift]) == (at(2), at(4))
        store.firings.answer(tx, "m", "run-1")
        store.firings.lapse(tx, "m", [TriggerKind.CONCEPT_DRIFT], at(5))
        assert not store.firings.add(tx, drift, at(6))  # answered evidence does not lapse
        assert [one.lapsed_at for one in store.firings.list(tx, "m")] == [None, None]


def test_a_demand_is_no_evidence(store, at):
    wish = _firing("d1", TriggerKind.ON_DEMAND)
    with store.write() as tx:
        store.firings.add(tx, _firing("w1"), at(1))
        store.firings.add(tx, wish, at(2))
        assert store.firings.unanswered(tx, "m", [wish]) == (None, None)
        assert store.firings.unanswered(tx, "m", [wish, _firing("w1")]) == (at(1), at(1))


# --- decisions -------------------------------------------------------------------------------------------

HOLD, IGNORE, BEGIN = Verdict.HOLD, Verdict.IGNORE, Verdict.START


def test_a_decision_comes_back_with_all_it_rests_on(store, decide, at):
    decision = replace(
        decide(HOLD, Rule.COOLDOWN, ("a", "b")),
        quiet=(Quiet(trigger=TriggerKind.CONCEPT_DRIFT, reason="still", needed="psi 0.2", progress=0.5),),
        retry_at=at(60),
        serves=("d1",),
    )
    situation = Situation(
        model="m",
        active=ActiveRun(id="r", joinable=True),
        past=(PastRun(id="p", started_at=at(0), ended_at=at(1), end=RunEnd.REJECTED),),
        first_firing_at=at(0.000001),
        champion=3,
    )
    with store.write() as tx:
        recorded, new = store.decisions.record(tx, decision, situation, {"windows": [1, 2]}, at(5))
        assert new
        assert recorded == store.decisions.newest(tx, "m") == store.decisions.get(tx, recorded.seq)
        assert (recorded.decision, recorded.situation) == (decision, situation)
        assert recorded.observation == {"windows": [1, 2]}
        assert (recorded.first_at, recorded.last_at, recorded.count) == (at(5), at(5), 1)
        assert store.decisions.newest(tx, "other") is None
        with pytest.raises(UnknownNameError):
            store.decisions.get(tx, recorded.seq + 1)


def test_identical_holds_in_a_row_are_one_row_that_keeps_the_newest_inputs(store, decide, at):
    with store.write() as tx:
        for second in range(3):
            recorded, new = store.decisions.record(
                tx,
                decide(HOLD, Rule.COOLDOWN, ("a",), now=at(second)),
                Situation(model="m", labelled_rows=second),
                {"tick": second},
                at(second),
            )
            assert new is (second == 0)
        assert (recorded.count, recorded.first_at, recorded.last_at) == (3, at(0), at(2))
        assert (recorded.decision.now, recorded.situation.labelled_rows) == (at(2), 2)
        assert recorded.observation == {"tick": 2}
        assert store.decisions.list(tx, "m") == (recorded,)


@pytest.mark.parametrize(
    "other",
    [
        (IGNORE, Rule.COOLDOWN, ("a",)),
        (HOLD, Rule.BUDGET, ("a",)),
        (HOLD, Rule.COOLDOWN, ("a", "b")),
        (HOLD, Rule.COOLDOWN, ()),
    ],
    ids=["verdict", "rule", "more firings", "no firings"],
)
def test_another_answer_is_another_row_and_so_is_the_same_one_after_it(store, decide, at, other):
    hold = (HOLD, Rule.COOLDOWN, ("a",))
    with store.write() as tx:
        made = [
            store.decisions.record(tx, decide(*what), Situation(model="m"), {}, at(0))[1]
            for what in (hold, other, other, hold)
        ]
        assert made == [True, True, False, True]


def test_a_start_is_never_folded_and_models_do_not_mix(store, decide, at):
    begin = (BEGIN, Rule.FIRED, ("a",))
    with store.write() as tx:

        def record(*what, model="m"):
            return store.decisions.record(tx, decide(*what, model=model), Situation(model=model), {}, at(0))

        first, second = record(*begin), record(*begin)
        assert first[1]
        assert second[1]
        record(IGNORE, Rule.NOTHING_FIRED)
        elsewhere, _ = record(IGNORE, Rule.NOTHING_FIRED, model="other")
        assert not record(IGNORE, Rule.NOTHING_FIRED)[1]
        store.decisions.attach_run(tx, first[0].seq, "run-1")
        assert store.decisions.get(tx, first[0].seq).run_id == "run-1"
        with pytest.raises(UnknownNameError):
            store.decisions.attach_run(tx, 999, "run-1")
        seqs = [found.seq for found in store.decisions.list(tx, "m")]
        assert seqs == sorted(seqs, reverse=True)
        assert len(seqs) == 3
        assert store.decisions.list(tx)[0] == elsewhere
        assert [found.seq for found in store.decisions.list(tx, "m", before_seq=seqs[0], limit=1)] == [
            seqs[1]
        ]
