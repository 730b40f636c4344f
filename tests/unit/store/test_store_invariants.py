"""Any order of events: one active run a model, a fence that only grows, ends that never change."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from ct_daemon.errors import ConflictError
from ct_daemon.store.store import Store
from ct_daemon.types import Decision, DeploymentState, Rule, Situation, Verdict

START = datetime(2026, 3, 1, tzinfo=UTC)
STATES = ("snapshotting", "training", "deploying")


class RunsAndDeployments(RuleBasedStateMachine):
    """Several daemons that each believe what they saw last, against one ledger."""

    copies = Bundle("copies")  # runs as somebody once saw them, many of them stale

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = Store.open(Path(self.folder.name))
        self.models = ("a", "b")
        self.now = START
        self.number = 0
        self.attempts = {}
        self.ended = {}
        self.deployed = {}
        self.history = {model: [] for model in self.models}

    def teardown(self):
        self.store.close()
        self.folder.cleanup()

    def _tick(self):
        self.now += timedelta(seconds=1)
        return self.now

    @initialize()
    def know(self):
        with self.store.write() as tx:
            self.store.models.ensure(tx, self.models)

    @rule(target=copies, model=st.sampled_from(("a", "b")))
    def create(self, model):
        self.number += 1
        id = f"r{self.number}"
        decision = Decision(
            model=model, now=self.now, verdict=Verdict.START, rule=Rule.FIRED, reason="r", would_change="w"
        )
        with self.store.read() as tx:
            active = self.store.runs.active(tx, model)
        refused = None
        run = active
        try:
            with self.store.write() as tx:
                recorded, _ = self.store.decisions.record(tx, decision, Situation(model=model), {}, self.now)
                run = self.store.runs.create(
                    tx,
                    id=id,
                    model=model,
                    decision_seq=recorded.seq,
                    decided_at=self.now,
                    trigger="new_data",
                    at=self.now,
                )
        except ConflictError as error:
            refused = error.reason
        assert refused == (None if active is None else "run_active")
        self.attempts.setdefault(run.id, 0)
        return run

    def _attempt(self, run, write, allowed):
        """Do a write; it must succeed exactly if the run is still as the caller believes."""
        with self.store.read() as tx:
            current = self.store.runs.get(tx, run.id)
            before = self.store.runs.transitions(tx, run.id)
        expected = run.id not in self.ended and allowed(current)
        refused = None
        after = current
        try:
            with self.store.write() as tx:
                after = write(tx)
        except ConflictError as error:
            refused = error.reason
        assert refused == (None if expected else "fenced")
        if refused:
            with self.store.read() as tx:
                assert self.store.runs.get(tx, run.id) == current
                assert self.store.runs.transitions(tx, run.id) == before
        return after

    @rule(target=copies, run=copies)
    def claim(self, run):
        return self._attempt(
            run,
            lambda tx: self.store.runs.claim(tx, run.id, STATES[0], self._tick())[0],
            lambda current: current.state == "queued",
        )

    @rule(target=copies, run=copies)
    def take_over(self, run):
        return self._attempt(
            run, lambda tx: self.store.runs.take_over(tx, run.id, self._tick()), lambda current: True
        )

    @rule(target=copies, run=copies, state=st.sampled_from(STATES))
    def move(self, run, state):
        return self._attempt(
            run,
            lambda tx: self.store.runs.move(tx, run, state, self._tick())[0],
            lambda current: (current.state, current.attempt) == (run.state, run.attempt),
        )

    @rule(target=copies, run=copies, state=st.sampled_from(("succeeded", "failed")))
    def end(self, run, state):
        after = self._attempt(
            run,
            lambda tx: self.store.runs.move(tx, run, state, self._tick(), terminal=True)[0],
            lambda current: (current.state, current.attempt) == (run.state, run.attempt),
        )
        if after.state in ("succeeded", "failed"):
            self.ended.setdefault(run.id, after)
        return after

    @rule(run=copies, version=st.integers(1, 3))
    def deploy(self, run, version):
        with self.store.write() as tx:
            live = self.store.deployments.live(tx, run.model)
            made = self.store.deployments.add(
                tx,
                model=run.model,
                version=version,
                baseline_digest="b",
                kind="deploy",
                at=self.now,
                decided_at=self.now,
                run_id=run.id,
            )
        first = self.deployed.setdefault(run.id, made)
        assert made.seq == first.seq
        assert made.version == first.version
        if made is first:
            assert made.previous == (None if live is None else live.version)
            self.history[run.model].append(made)

    @rule(run=copies, state=st.sampled_from(list(DeploymentState)))
    def settle(self, run, state):
        if run.id in self.deployed:
            with self.store.write() as tx:
                changed = self.store.deployments.set_state(tx, self.deployed[run.id].seq, state)
            past = self.history[run.model]
            past[[made.seq for made in past].index(changed.seq)] = changed

    @invariant()
    def one_active_run_a_model(self):
        with self.store.read() as tx:
            runs = self.store.runs.list(tx)
            active = {run.id for run in runs} - set(self.ended)
            assert {run.id for run in self.store.runs.all_active(tx)} == active
            assert len({run.model for run in runs if run.id in active}) == len(active)

    @invariant()
    def the_fence_only_grows(self):
        with self.store.read() as tx:
            for run in self.store.runs.list(tx):
                assert run.attempt >= self.attempts[run.id]
                self.attempts[run.id] = run.attempt
                steps = self.store.runs.transitions(tx, run.id)
                assert [step.attempt for step in steps] == sorted(step.attempt for step in steps)
                assert [step.from_state for step in steps] == [None, *(step.to_state for step in steps[:-1])]
                assert steps[-1].to_state == run.state

    @invariant()
    def what_has_ended_never_changes(self):
        with self.store.read() as tx:
            for id, run in self.ended.items():
                assert self.store.runs.get(tx, id) == run

    @invariant()
    def the_history_of_deployments_only_grows(self):
        with self.store.read() as tx:
            for model, past in self.history.items():
                assert self.store.deployments.list(tx, model) == tuple(reversed(past))
                standing = [made for made in past if made.state is not DeploymentState.UNDONE]
                assert self.store.deployments.live(tx, model) == (standing[-1] if standing else None)


TestRunsAndDeployments = RunsAndDeployments.TestCase
TestRunsAndDeployments.settings = settings(
    max_examples=12, stateful_step_count=25, derandomize=True, deadline=None
)
