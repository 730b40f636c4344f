"""The policy against a small ledger in memory and a simulated clock: what must hold whatever happens."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ct_daemon.policy import Policy
from ct_daemon.types import (
    ActiveRun,
    Decision,
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

BUDGET, PERIOD_S = 2, 100.0
POLICY = Policy(
    cooldown_s=20.0,
    budget_runs=BUDGET,
    budget_per_s=PERIOD_S,
    coalesce_s=4.0,
    back_off_first_s=5.0,
    back_off_longest_s=60.0,
)
QUIET = Quiet(trigger=TriggerKind.NEW_DATA, reason="few", needed="more rows", progress=0.5)


class Ledger(RuleBasedStateMachine):
    """Demands, firings and runs of one model as the store keeps them; the monitor's way of deciding."""

    def __init__(self) -> None:
        super().__init__()
        self.now = datetime(2026, 11, 24, tzinfo=UTC)
        self.past: list[PastRun] = []
        self.active: ActiveRun | None = None
        self.started_at = self.now
        self.asked: dict[str, Demand] = {}
        self.firings: dict[str, tuple[datetime, bool]] = {}
        """Key -> (first seen, answered)."""
        self.evidence: list[Firing] = []
        """What fires at present."""
        self.paused = False
        self.rollback_at: datetime | None = None
        self.rows = 30
        self.jumps = 0
        self.starts: list[datetime] = []

    # --- what the store would say

    def pending(self) -> tuple[Demand, ...]:
        return tuple(d for d in self.asked.values() if d.run_id is None)

    def situation(self) -> Situation:
        waiting = [at for at, answered in self.firings.values() if not answered]
        return Situation(
            model="m",
            paused=self.paused,
            active=self.active,
            past=tuple(self.past),
            first_firing_at=min(waiting, default=None),
            last_firing_at=max(waiting, default=None),
            last_rollback_at=self.rollback_at,
            champion=1,
            labelled_rows=self.rows,
            min_rows=20,
        )

    def decide(self, now: datetime, *, backwards: bool = False) -> Decision:
        step = -1 if backwards else 1
        firings, asked = self.evidence[::step], self.pending()[::step]
        return POLICY.decide("m", firings, (QUIET,), self.situation(), asked, now)

    # --- what the monitor does

    @invariant()
    def tick(self) -> None:
        for firing in self.evidence:
            self.firings.setdefault(firing.dedupe_key, (self.now, False))
        decision = self.decide(self.now)
        assert self.decide(self.now, backwards=True) == decision
        self.check_retry(decision)
        if decision.verdict is Verdict.START:
            self.start(decision)
        elif decision.serves:
            assert self.active is not None
            assert self.active.joinable
            self.serve(decision, self.active.id)
        assert decision.would_change
        assert decision.reason

    def check_retry(self, decision: Decision) -> None:
        if decision.retry_at is None:
            return
        assert decision.verdict is Verdict.HOLD
        assert decision.retry_at > self.now
        assert self.decide(decision.retry_at).rule is not decision.rule
        just_before = decision.retry_at - timedelta(microseconds=1)
        if not self.jumps:
            assert self.decide(just_before).rule is decision.rule
        assert (decision.retry_at - self.now).total_seconds() <= 4 * PERIOD_S

    def start(self, decision: Decision) -> None:
        assert self.active is None
        assert not self.paused
        assert self.rows >= 20
        if decision.rule is Rule.FIRED:
            assert any(not answered for _, answered in self.firings.values())
            in_period = [at for at in self.starts if (self.now - at).total_seconds() < PERIOD_S]
            assert self.jumps or len(in_period) < BUDGET
        run = ActiveRun(id=f"r-{len(self.starts)}", joinable=True)
        self.starts.append(self.now)
        self.active, self.started_at = run, self.now
        self.serve(decision, run.id)

    def serve(self, decision: Decision, run_id: str) -> None:
        for name in decision.serves:
            assert self.asked[name].run_id is None
            assert not (decision.rule is Rule.JOINED and self.asked[name].force)
            self.asked[name] = replace(self.asked[name], run_id=run_id)
        self.firings = {key: (at, True) for key, (at, _) in self.firings.items()}

    # --- what happens

    @rule(force=st.booleans())
    def somebody_asks(self, force: bool) -> None:
        name = f"d-{len(self.asked)}"
        self.asked[name] = Demand(
            id=name, model="m", origin="http", dedupe_key=name, force=force, asked_at=self.now
        )

    @rule(trigger=st.sampled_from([TriggerKind.NEW_DATA, TriggerKind.CONCEPT_DRIFT]))
    def evidence_comes(self, trigger: TriggerKind) -> None:
        kept = [f for f in self.evidence if f.trigger is not trigger]
        key = f"{trigger.value}:{len(self.firings)}"
        self.evidence = [*kept, Firing(model="m", trigger=trigger, dedupe_key=key, reason="moved")]

    @rule()
    def evidence_goes(self) -> None:
        self.evidence = []

    @rule(seconds=st.sampled_from([0.000001, 1.0, 4.0, 5.0, 20.0, 40.0, 100.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    @precondition(lambda self: self.active is not None and self.active.joinable)
    @rule()
    def the_run_reads_its_data(self) -> None:
        assert self.active is not None
        self.active = replace(self.active, joinable=False)

    @precondition(lambda self: self.active is not None)
    @rule(end=st.sampled_from(RunEnd))
    def the_run_ends(self, end: RunEnd) -> None:
        assert self.active is not None
        self.past.append(PastRun(id=self.active.id, started_at=self.started_at, ended_at=self.now, end=end))
        self.active = None

    @rule(paused=st.booleans())
    def pause_or_resume(self, paused: bool) -> None:
        self.paused = paused

    @rule()
    def somebody_rolls_back(self) -> None:
        self.rollback_at = self.now

    @rule(rows=st.sampled_from([10, 30]))
    def rows_come_and_go(self, rows: int) -> None:
        self.rows = rows

    def teardown(self) -> None:
        """No acknowledged demand is forgotten: resumed, with rows and no run in the way, all are served."""
        if self.active is not None:
            self.the_run_ends(RunEnd.FAILED)
        self.paused, self.rows = False, 30
        self.tick()
        assert self.pending() == ()


class LedgerWithABadClock(Ledger):
    """The same with a clock that steps back, where the budget can't be exact but nothing may lock up."""

    @rule(seconds=st.sampled_from([0.000001, 3.0, 10.0, 50.0, 99.0, 150.0, 1e6]))
    def the_clock_steps_back(self, seconds: float) -> None:
        self.now -= timedelta(seconds=seconds)
        self.jumps += 1


TestLedger = Ledger.TestCase
TestLedger.settings = settings(max_examples=150, stateful_step_count=40)
TestLedgerWithABadClock = LedgerWithABadClock.TestCase
TestLedgerWithABadClock.settings = settings(max_examples=100, stateful_step_count=40)
