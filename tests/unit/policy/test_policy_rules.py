"""Each rule of the policy by itself, their order, and what the answers say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest

from ct_daemon.policy import Policy
from ct_daemon.times import moment
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

NOW = datetime(2026, 11, 24, 6, tzinfo=UTC)
HOUR = 3600.0
DRIFT = Firing(
    model="m", trigger=TriggerKind.CONCEPT_DRIFT, dedupe_key="concept_drift:7", reason="price moved"
)
DATA = Firing(model="m", trigger=TriggerKind.NEW_DATA, dedupe_key="new_data:v1:0:r1", reason="500 rows")
IDLE = Situation(
    model="m", champion=1, labelled_rows=1000, min_rows=500, first_firing_at=NOW, last_firing_at=NOW
)
OPEN = Policy()
STRICT = Policy(
    cooldown_s=6 * HOUR,
    budget_runs=2,
    budget_per_s=24 * HOUR,
    coalesce_s=60.0,
    back_off_first_s=600.0,
    back_off_longest_s=4 * HOUR,
)


def ago(hours: float) -> datetime:
    return NOW - timedelta(hours=hours)


def past(*ends: tuple[float, RunEnd]) -> tuple[PastRun, ...]:
    """Runs that ended so many hours ago, each half an hour long."""
    return tuple(
        PastRun(id=f"r-{i}", started_at=ago(hours + 0.5), ended_at=ago(hours), end=end)
        for i, (hours, end) in enumerate(ends)
    )


def demand(name: str, *, force: bool = False) -> Demand:
    return Demand(id=name, model="m", origin="cli", dedupe_key=name, force=force, asked_at=NOW)


def decide(
    policy: Policy = OPEN,
    *,
    firings: Sequence[Firing] = (DRIFT,),
    quiet: Sequence[Quiet] = (),
    situation: Situation = IDLE,
    demands: Sequence[Demand] = (),
    now: datetime = NOW,
) -> Decision:
    return policy.decide("m", firings, quiet, situation, demands, now)


def held(decision: Decision, rule: Rule, retry_at: datetime | None) -> None:
    assert (decision.verdict, decision.rule, decision.retry_at) == (Verdict.HOLD, rule, retry_at)


# --- 1 nothing fired -------------------------------------------------------------------------------------


def test_nothing_fired_is_ignored_and_names_what_the_nearest_trigger_needs() -> None:
    quiet = (
        Quiet(trigger=TriggerKind.ON_DEMAND, reason="nobody", needed="somebody asks"),
        Quiet(trigger=TriggerKind.NEW_DATA, reason="few", needed="380 more rows", progress=0.24),
        Quiet(trigger=TriggerKind.CONCEPT_DRIFT, reason="PSI", needed="price at PSI 0.2", progress=0.65),
    )
    answer = decide(firings=(), quiet=quiet)
    assert (answer.verdict, answer.rule) == (Verdict.IGNORE, Rule.NOTHING_FIRED)
    assert answer.would_change == "price at PSI 0.2"
    assert answer.quiet == tuple(sorted(quiet, key=lambda q: tuple(TriggerKind).index(q.trigger)))


def test_evidence_that_a_run_has_answered_starts_no_second_one() -> None:
    answered = replace(IDLE, first_firing_at=None, last_firing_at=None)
    answer = decide(situation=answered)
    assert (answer.verdict, answer.rule) == (Verdict.IGNORE, Rule.NOTHING_FIRED)
    assert "answered the evidence of concept_drift" in answer.reason
    assert decide(situation=answered, demands=(demand("d"),)).verdict is Verdict.START


# --- 2 to 4: what makes demands wait ---------------------------------------------------------------------


def test_paused_holds_everybody() -> None:
    paused = replace(IDLE, paused=True)
    for demands in ((), (demand("d", force=True),)):
        answer = decide(situation=paused, demands=demands)
        held(answer, Rule.PAUSED, None)
        assert answer.would_change == "resume the model"
        assert answer.serves == ()


@pytest.mark.parametrize(
    ("joinable", "demands", "rule", "serves"),
    [
        (True, ("a", "b"), Rule.JOINED, ("a", "b")),
        (True, ("a", "b!"), Rule.JOINED, ("a",)),
        (True, ("b!",), Rule.RUN_ACTIVE, ()),
        (True, (), Rule.RUN_ACTIVE, ()),
        (False, ("a", "b!"), Rule.RUN_ACTIVE, ()),
    ],
)
def test_a_run_that_has_not_read_its_data_serves_demands_without_force(
    joinable: bool, demands: tuple[str, ...], rule: Rule, serves: tuple[str, ...]
) -> None:
    busy = replace(IDLE, active=ActiveRun(id="r-1", joinable=joinable))
    asked = [demand(name.rstrip("!"), force=name.endswith("!")) for name in demands]
    answer = decide(situation=busy, demands=asked)
    held(answer, rule, None)
    assert answer.serves == serves


def test_too_few_rows_hold_demands_too_and_say_how_many_are_missing() -> None:
    short = replace(IDLE, labelled_rows=498)
    answer = decide(situation=short, demands=(demand("d", force=True),))
    held(answer, Rule.TOO_FEW_ROWS, None)
    assert answer.would_change == "2 more labelled rows"
    assert decide(situation=replace(IDLE, labelled_rows=500)).verdict is Verdict.START


# --- 5 demanded ------------------------------------------------------------------------------------------


def test_a_demand_passes_over_cooldown_back_off_budget_and_coalescing() -> None:
    runs = past((3, RunEnd.USEFUL), (2, RunEnd.USEFUL), (0.01, RunEnd.FAILED))
    full = replace(IDLE, past=runs, last_rollback_at=ago(0.1))
    assert decide(STRICT, situation=full).verdict is Verdict.HOLD
    answer = decide(STRICT, situation=full, demands=(demand("b", force=True), demand("a")))
    assert (answer.verdict, answer.rule, answer.serves) == (Verdict.START, Rule.DEMANDED, ("a", "b"))


# --- 6 cooldown ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("hours", "holds"), [(0.0, True), (5.9, True), (6.0, False), (7.0, False)])
def test_cooldown_counts_from_the_end_of_the_last_useful_run(hours: float, holds: bool) -> None:
    policy = Policy(cooldown_s=6 * HOUR)
    answer = decide(policy, situation=replace(IDLE, past=past((hours, RunEnd.USEFUL))))
    if holds:
        held(answer, Rule.COOLDOWN, ago(hours) + timedelta(hours=6))
        assert answer.would_change == f"the cooldown ends {moment(ago(hours - 6))}"
    else:
        assert answer.rule is Rule.FIRED


@pytest.mark.parametrize("end", [RunEnd.FAILED, RunEnd.REJECTED, RunEnd.CANCELLED])
def test_cooldown_does_not_count_runs_that_were_not_useful(end: RunEnd) -> None:
    runs = past((7, RunEnd.USEFUL), (1, end))
    assert decide(Policy(cooldown_s=6 * HOUR), situation=replace(IDLE, past=runs)).rule is Rule.FIRED


def test_cooldown_counts_from_a_rollback_too() -> None:
    situation = replace(IDLE, past=past((4, RunEnd.USEFUL)), last_rollback_at=ago(1))
    held(decide(Policy(cooldown_s=6 * HOUR), situation=situation), Rule.COOLDOWN, ago(-5))


# --- 7 back-off ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failures", "wait_s"), [(1, 600), (2, 1200), (3, 2400), (5, 9600), (6, 14400), (5000, 14400)]
)
def test_back_off_doubles_up_to_the_longest(failures: int, wait_s: float) -> None:
    ends = [RunEnd.FAILED, RunEnd.REJECTED]
    runs = past((9, RunEnd.FAILED), (8, RunEnd.USEFUL), *((0, ends[i % 2]) for i in range(failures)))
    policy = Policy(back_off_first_s=600, back_off_longest_s=14400)
    answer = decide(policy, situation=replace(IDLE, past=runs))
    held(answer, Rule.BACK_OFF, NOW + timedelta(seconds=wait_s))
    assert decide(policy, situation=replace(IDLE, past=runs), now=answer.retry_at or NOW).rule is Rule.FIRED


def test_cancelled_runs_neither_count_nor_reset() -> None:
    policy = Policy(back_off_first_s=600, back_off_longest_s=14400)
    runs = past((1, RunEnd.FAILED), (0.1, RunEnd.FAILED), (0, RunEnd.CANCELLED))
    held(
        decide(policy, situation=replace(IDLE, past=runs)), Rule.BACK_OFF, ago(0.1) + timedelta(seconds=1200)
    )
    assert decide(policy, situation=replace(IDLE, past=past((0, RunEnd.CANCELLED)))).rule is Rule.FIRED


# --- 8 budget --------------------------------------------------------------------------------------------


def test_budget_counts_every_run_started_in_the_period() -> None:
    policy = Policy(budget_runs=2, budget_per_s=24 * HOUR)
    runs = past((30, RunEnd.USEFUL), (20, RunEnd.CANCELLED), (10, RunEnd.REJECTED))
    held(decide(policy, situation=replace(IDLE, past=runs)), Rule.BUDGET, ago(20.5 - 24))
    assert decide(policy, situation=replace(IDLE, past=runs[:2])).rule is Rule.FIRED
    assert decide(policy, situation=replace(IDLE, past=runs), now=ago(20.5 - 24)).rule is Rule.FIRED


# --- 9 coalescing ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first_s", "last_s", "retry_s"),
    [(0, 0, 60), (30, 10, 50), (60, 60, None), (580, 10, 20), (600, 0, None), (5000, 1, None)],
)
def test_coalescing_waits_for_quiet_but_not_for_ever(first_s: int, last_s: int, retry_s: int | None) -> None:
    situation = replace(
        IDLE,
        first_firing_at=NOW - timedelta(seconds=first_s),
        last_firing_at=NOW - timedelta(seconds=last_s),
    )
    answer = decide(Policy(coalesce_s=60), situation=situation)
    if retry_s is None:
        assert answer.rule is Rule.FIRED
    else:
        held(answer, Rule.COALESCING, NOW + timedelta(seconds=retry_s))


# --- 10 fired, and the order ------------------------------------------------------------------------------


def test_fired_says_which_triggers() -> None:
    answer = decide(firings=(DATA, DRIFT))
    assert (answer.verdict, answer.rule, answer.retry_at) == (Verdict.START, Rule.FIRED, None)
    assert answer.reason == "new_data: 500 rows; concept_drift: price moved"
    assert answer.firings == (DATA, DRIFT)


def test_rules_are_asked_in_their_order() -> None:
    """A situation in which every rule applies; each step takes the reason of the rule before away."""
    runs = past((2, RunEnd.USEFUL), (1, RunEnd.CANCELLED), (0.01, RunEnd.FAILED))
    asked = (demand("d"),)
    all_at_once = replace(
        IDLE, paused=True, active=ActiveRun(id="r", joinable=True), labelled_rows=1, past=runs
    )
    resumed = replace(all_at_once, paused=False)
    idle = replace(resumed, active=None)
    enough = replace(idle, labelled_rows=500)
    rested = replace(enough, past=runs[1:])
    steps = [
        (STRICT, all_at_once, asked, Rule.PAUSED),
        (STRICT, resumed, asked, Rule.JOINED),
        (STRICT, resumed, (), Rule.RUN_ACTIVE),
        (STRICT, idle, asked, Rule.TOO_FEW_ROWS),
        (STRICT, enough, asked, Rule.DEMANDED),
        (STRICT, enough, (), Rule.COOLDOWN),
        (STRICT, rested, (), Rule.BACK_OFF),
        (replace(STRICT, back_off_first_s=0.0), rested, (), Rule.BUDGET),
        (replace(STRICT, back_off_first_s=0.0, budget_runs=None), rested, (), Rule.COALESCING),
        (OPEN, rested, (), Rule.FIRED),
    ]
    assert [decide(p, situation=s, demands=d).rule for p, s, d, _ in steps] == [rule for *_, rule in steps]


def test_the_order_of_the_inputs_does_not_matter() -> None:
    quiet = [
        Quiet(trigger=TriggerKind.INITIAL, reason="live", needed="none live"),
        Quiet(trigger=TriggerKind.NEW_DATA, reason="few", needed="rows", progress=0.5),
    ]
    asked = [demand("b"), demand("a"), demand("c")]
    answers = {
        repr(decide(firings=f, quiet=q, demands=d))
        for f in permutations([DRIFT, DATA])
        for q in permutations(quiet)
        for d in permutations(asked)
    }
    assert len(answers) == 1


# --- clocks that go backwards ----------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [Rule.COOLDOWN, Rule.BACK_OFF, Rule.BUDGET, Rule.COALESCING])
@pytest.mark.parametrize("back_s", [0.001, 1.0, 3599.0, 3600.0, 86400.0, 2e9])
def test_a_clock_that_steps_back_neither_skips_a_wait_nor_locks_up(rule: Rule, back_s: float) -> None:
    """Everything is recorded at NOW, each wait is an hour, and the clock steps back."""
    policy = {
        Rule.COOLDOWN: Policy(cooldown_s=HOUR),
        Rule.BACK_OFF: Policy(back_off_first_s=HOUR, back_off_longest_s=HOUR),
        Rule.BUDGET: Policy(budget_runs=1, budget_per_s=HOUR),
        Rule.COALESCING: Policy(coalesce_s=HOUR),
    }[rule]
    end = RunEnd.USEFUL if rule is Rule.COOLDOWN else RunEnd.FAILED
    run = PastRun(id="r", started_at=NOW, ended_at=NOW, end=end)
    situation = replace(IDLE, past=(run,))
    now = NOW - timedelta(seconds=back_s)
    answer = decide(policy, situation=situation, now=now)
    if back_s < HOUR:
        held(answer, rule, NOW + timedelta(hours=1))
    else:
        assert answer.rule is Rule.FIRED
    if answer.retry_at is not None:
        assert answer.retry_at - now <= timedelta(hours=2)
        assert decide(policy, situation=situation, now=answer.retry_at).rule is Rule.FIRED


def test_two_anchors_around_a_step_back_give_an_honest_time_to_retry() -> None:
    """The rollback lies too far ahead to count now, but not when the cooldown of the run ends."""
    policy = Policy(cooldown_s=10.0)
    run = PastRun(id="r", started_at=NOW, ended_at=NOW, end=RunEnd.USEFUL)
    situation = replace(IDLE, past=(run,), last_rollback_at=NOW + timedelta(seconds=18))
    answer = decide(policy, situation=situation, now=NOW + timedelta(seconds=5))
    held(answer, Rule.COOLDOWN, NOW + timedelta(seconds=28))


def test_a_square_wave_starts_no_more_runs_than_the_budget_even_when_the_clock_steps_back() -> None:
    """New evidence every second: the stream that would retrain for ever."""
    policy = Policy(budget_runs=3, budget_per_s=100.0)
    runs: list[PastRun] = []
    clock = [*range(1000), *range(300, 1300)]  # 700 seconds back in the middle
    for second in clock:
        now = NOW + timedelta(seconds=second)
        situation = replace(IDLE, past=tuple(runs), first_firing_at=now, last_firing_at=now)
        if decide(policy, situation=situation, now=now).verdict is Verdict.START:
            runs.append(PastRun(id=f"r-{len(runs)}", started_at=now, ended_at=now, end=RunEnd.USEFUL))
    assert 2 * 30 - 3 <= len(runs) <= 2 * 30 + 3


def test_absurd_lengths_do_not_overflow_the_calendar() -> None:
    run = PastRun(id="r", started_at=NOW, ended_at=NOW, end=RunEnd.USEFUL)
    for policy in (
        Policy(cooldown_s=1e300),
        Policy(budget_runs=1, budget_per_s=1e300),
        Policy(coalesce_s=1e300),
    ):
        answer = decide(policy, situation=replace(IDLE, past=(run,)))
        assert answer.retry_at is not None
        assert answer.retry_at.year > 2100


# --- ceilings --------------------------------------------------------------------------------------------


def test_a_ceiling_passes_over_cooldown_and_coalescing_but_not_over_back_off_and_budget() -> None:
    reached = replace(IDLE, ceiling=True)
    useful = past((1.0, RunEnd.USEFUL))
    held(
        decide(STRICT, situation=replace(IDLE, past=useful, first_firing_at=ago(2), last_firing_at=ago(1))),
        Rule.COOLDOWN,
        ago(1) + timedelta(hours=6),
    )
    assert decide(STRICT, situation=replace(reached, past=useful)).rule is Rule.FIRED
    failed = past((0.05, RunEnd.FAILED))
    assert decide(STRICT, situation=replace(reached, past=failed)).rule is Rule.BACK_OFF
    full = past((8.0, RunEnd.CANCELLED), (7.0, RunEnd.CANCELLED))
    assert decide(STRICT, situation=replace(reached, past=full)).rule is Rule.BUDGET
    assert decide(STRICT, situation=replace(reached, paused=True)).rule is Rule.PAUSED


# --- adopting --------------------------------------------------------------------------------------------


def adoption(name: str) -> Demand:
    return replace(demand(name, force=True), adopt={"digest": "0" * 64, "batches": [1]})


def test_a_wish_to_adopt_starts_a_run_of_its_own_with_few_rows_and_serves_nobody_else() -> None:
    few = replace(IDLE, champion=None, labelled_rows=40)
    answer = decide(STRICT, situation=few, demands=(demand("d-1"), adoption("d-2"), adoption("d-3")))
    assert (answer.verdict, answer.rule, answer.serves) == (Verdict.START, Rule.DEMANDED, ("d-2",))
    assert "adopt" in answer.reason
    assert decide(STRICT, situation=few, demands=(demand("d-1"),)).rule is Rule.TOO_FEW_ROWS


def test_a_wish_to_adopt_waits_for_the_pause_and_for_the_active_run_and_never_joins() -> None:
    wishes = (adoption("d-2"),)
    assert decide(situation=replace(IDLE, paused=True), demands=wishes).rule is Rule.PAUSED
    active = replace(IDLE, active=ActiveRun(id="r-1", joinable=True))
    assert decide(situation=active, demands=wishes).rule is Rule.RUN_ACTIVE
    joined = decide(situation=active, demands=(demand("d-1"), *wishes))
    assert (joined.rule, joined.serves) == (Rule.JOINED, ("d-1",))
