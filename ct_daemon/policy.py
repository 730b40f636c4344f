"""When a firing becomes a run. Pure: firings, the model's situation and `now` in, one `Decision` out.

The rules are asked in this order; the first that applies settles the decision.

==  ==========================================================  =============  =====================
no  applies when                                                verdict        rule
==  ==========================================================  =============  =====================
1   nothing fired, or only on evidence answered by a run        IGNORE         NOTHING_FIRED
2   the model is paused                                         HOLD           PAUSED
3   a run is active: it has not read its data and demands       HOLD           JOINED
    without `force` wait (they are served by it) ...
    ... or else                                                 HOLD           RUN_ACTIVE
4   a person asked to adopt a model (serves the oldest such     START          DEMANDED
    demand only)
5   fewer labelled rows than a training needs                   HOLD           TOO_FEW_ROWS
6   a person asked (serves all waiting demands)                 START          DEMANDED
7   cooldown after the last useful run (*) or rollback          HOLD           COOLDOWN
8   back-off: k failed or rejected runs since the last          HOLD           BACK_OFF
    useful one; min(longest, first * 2^(k-1)) after the
    end of the last of them; cancelled ones don't count
9   as many runs as the budget has started in its period        HOLD           BUDGET
10  coalescing: evidence came within the last `coalesce_s`,     HOLD           COALESCING
    and the first of it within ten times that (*)
11  otherwise                                                   START          FIRED
==  ==========================================================  =============  =====================

(*) passed over where a ceiling is reached that no run has answered: a model must not grow older than its owner allows
because something else happened lately. Back-off and budget hold it: they bound what failing costs.

A demand waits in the ledger until a run serves it: rules 2 to 5 make it wait, none makes it vanish. `force` skips
joining: such a demand gets a run that starts after it, and so does a wish to adopt.

All times are model time. **A clock that goes backwards** leaves recorded times in the future. A time counts while it
is less than the rule's length away from `now`, on either side: a step back of a millisecond does not end a
cooldown, and a time from the year 2099 holds nothing up. So no rule waits longer than twice its length, and each step
back lets at most one budget of runs pass early, since the budget looks at the newest runs in ledger order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from ct_daemon.times import free_at, length, moment, span
from ct_daemon.types import (
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
from ct_daemon.words import counted

COALESCE_AT_MOST = 10
"""Evidence that keeps coming is waited for no longer than so many times `coalesce_s`."""
_TRIGGERS = tuple(TriggerKind)
_NEAREST = (
    TriggerKind.NEW_DATA,
    TriggerKind.CONCEPT_DRIFT,
    TriggerKind.PERFORMANCE_DROP,
    TriggerKind.SCHEDULE,
    TriggerKind.ON_DEMAND,
    TriggerKind.INITIAL,
    TriggerKind.CONTROL,
)
"""Where no number says which trigger is nearest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """What the rules look at, in one order whatever the order it came in."""

    evidence: tuple[Firing, ...]
    """Firings other than demands."""
    quiet: tuple[Quiet, ...]
    demands: tuple[Demand, ...]
    situation: Situation
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    verdict: Verdict
    rule: Rule
    reason: str
    would_change: str
    retry_at: datetime | None = None
    serves: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The options of the rules. Durations in seconds of model time; 0 switches a rule off.

    `budget_runs` None is no budget; else at most so many runs start in any stretch of `budget_per_s`, demanded ones
    counted but not held.
    """

    cooldown_s: float = 0.0
    budget_runs: int | None = None
    budget_per_s: float = 0.0
    coalesce_s: float = 0.0
    back_off_first_s: float = 0.0
    back_off_longest_s: float = 0.0

    def decide(
        self,
        model: str,
        firings: Sequence[Firing],
        quiet: Sequence[Quiet],
        situation: Situation,
        demands: Sequence[Demand],
        now: datetime,
    ) -> Decision:
        """Settle what comes of the firings.

        Parameters
        ----------
        firings, quiet
            What the triggers answered; their order does not matter.
        situation : Situation
            `first_firing_at` None says that every firing has been answered by a run.
        demands
            Those that wait for a run.
        now : datetime
            Model time, aware.

        Returns
        -------
        Decision
            With the firings and quiet triggers it rests on. Where `retry_at` is set, the same question asked then is
            no longer held by the same rule.
        """
        fired = tuple(sorted(firings, key=lambda f: (_TRIGGERS.index(f.trigger), f.dedupe_key, f.reason)))
        silent = tuple(sorted(quiet, key=lambda q: (_TRIGGERS.index(q.trigger), q.reason, q.needed)))
        case = _Case(
            evidence=tuple(f for f in fired if f.trigger is not TriggerKind.ON_DEMAND),
            quiet=silent,
            demands=tuple(sorted(demands, key=lambda d: (d.asked_at, d.id))),
            situation=situation,
            now=now,
        )
        rules: Sequence[Callable[[_Case], _Answer | None]] = (
            _nothing_fired,
            _paused,
            _run_active,
            _adopting,
            _too_few_rows,
            _demanded,
            self._cooldown,
            self._back_off,
            self._budget,
            self._coalescing,
            _fired,
        )
        answer = next(found for rule in rules if (found := rule(case)) is not None)
        return Decision(
            model=model,
            now=now,
            verdict=answer.verdict,
            rule=answer.rule,
            reason=answer.reason,
            would_change=answer.would_change,
            firings=fired,
            quiet=silent,
            retry_at=answer.retry_at,
            serves=answer.serves,
        )

    def _cooldown(self, case: _Case) -> _Answer | None:
        since: dict[datetime, str] = {}
        useful = next((run for run in reversed(case.situation.past) if run.end is RunEnd.USEFUL), None)
        if useful is not None and not case.situation.ceiling:
            since[useful.ended_at] = f"run {useful.id} ended {moment(useful.ended_at)}"
        rollback_at = case.situation.last_rollback_at
        if rollback_at is not None:
            since[rollback_at] = f"the rollback of {moment(rollback_at)}"
        ends_at = free_at(case.now, since, self.cooldown_s)
        if ends_at == case.now:
            return None
        return _hold(
            Rule.COOLDOWN,
            f"cooldown of {span(self.cooldown_s)} since {since[max(since)]}",
            f"the cooldown ends {moment(ends_at)}",
            ends_at,
        )

    def _back_off(self, case: _Case) -> _Answer | None:
        failed = _failed_in_a_row(case.situation.past)
        if not failed:
            return None
        # 2^60 first waits are beyond any longest one; more would overflow.
        wait_s = min(self.back_off_longest_s, self.back_off_first_s * 2.0 ** min(len(failed) - 1, 60))
        newest = failed[-1]
        ends_at = free_at(case.now, (newest.ended_at,), wait_s)
        if ends_at == case.now:
            return None
        runs = "1 run" if len(failed) == 1 else f"{len(failed)} runs in a row"
        return _hold(
            Rule.BACK_OFF,
            f"{runs} failed or rejected; back-off of {span(wait_s)} since run {newest.id} "
            f"({newest.end.value}) ended {moment(newest.ended_at)}",
            f"the back-off ends {moment(ends_at)}",
            ends_at,
        )

    def _budget(self, case: _Case) -> _Answer | None:
        """The period is full while the budget-th newest run started within it."""
        past = case.situation.past
        if self.budget_runs is None or len(past) < self.budget_runs:
            return None
        ends_at = free_at(case.now, (past[-self.budget_runs].started_at,), self.budget_per_s)
        if ends_at == case.now:
            return None
        return _hold(
            Rule.BUDGET,
            f"the budget of {counted(self.budget_runs, 'run')} in {span(self.budget_per_s)} is used up",
            f"the oldest of these runs leaves the period {moment(ends_at)}",
            ends_at,
        )

    def _coalescing(self, case: _Case) -> _Answer | None:
        first, last = case.situation.first_firing_at, case.situation.last_firing_at
        if first is None or last is None:
            return None
        longest_at = first + length(COALESCE_AT_MOST * self.coalesce_s)
        ends_at = min(free_at(case.now, (last,), self.coalesce_s), longest_at)
        if ends_at <= case.now or case.situation.ceiling:
            return None
        return _hold(
            Rule.COALESCING,
            f"evidence came {moment(last)}; waiting until none came for {span(self.coalesce_s)}",
            f"no new evidence until {moment(ends_at)}",
            ends_at,
        )


def _nothing_fired(case: _Case) -> _Answer | None:
    if case.demands or (case.evidence and case.situation.first_firing_at is not None):
        return None
    if case.evidence:
        names = ", ".join(dict.fromkeys(firing.trigger.value for firing in case.evidence))
        reason = f"a run has answered the evidence of {names} already"
        would_change = "new evidence, or a person who asks"
    else:
        reason = "no trigger fired"
        would_change = _nearest(case.quiet)
    return _Answer(verdict=Verdict.IGNORE, rule=Rule.NOTHING_FIRED, reason=reason, would_change=would_change)


def _paused(case: _Case) -> _Answer | None:
    if not case.situation.paused:
        return None
    return _hold(Rule.PAUSED, "the model is paused", "resume the model")


def _run_active(case: _Case) -> _Answer | None:
    active = case.situation.active
    if active is None:
        return None
    joining = tuple(demand.id for demand in case.demands if not demand.force and demand.adopt is None)
    ends = f"run {active.id} ends"
    if not (active.joinable and joining):
        return _hold(Rule.RUN_ACTIVE, f"run {active.id} is under way", ends)
    return _Answer(
        verdict=Verdict.HOLD,
        rule=Rule.JOINED,
        reason=f"run {active.id} has not read its data yet and serves {_demands(joining)}",
        would_change=ends,
        serves=joining,
    )


def _adopting(case: _Case) -> _Answer | None:
    wish = next((demand for demand in case.demands if demand.adopt is not None), None)
    if wish is None:
        return None
    return _Answer(
        verdict=Verdict.START,
        rule=Rule.DEMANDED,
        reason=f"a person asked to adopt a model: {_demands((wish.id,))}",
        would_change="nobody asked to adopt a model",
        serves=(wish.id,),
    )


def _too_few_rows(case: _Case) -> _Answer | None:
    rows, needed = case.situation.labelled_rows, case.situation.min_rows
    if rows >= needed:
        return None
    return _hold(
        Rule.TOO_FEW_ROWS,
        f"{counted(rows, 'labelled row')} on hand, a training needs {needed:,}",
        counted(needed - rows, "more labelled row"),
    )


def _demanded(case: _Case) -> _Answer | None:
    if not case.demands:
        return None
    ids = tuple(demand.id for demand in case.demands)
    return _Answer(
        verdict=Verdict.START,
        rule=Rule.DEMANDED,
        reason=f"a person asked: {_demands(ids)}",
        would_change="nobody asked for a run",
        serves=ids,
    )


def _fired(case: _Case) -> _Answer:
    return _Answer(
        verdict=Verdict.START,
        rule=Rule.FIRED,
        reason="; ".join(f"{firing.trigger.value}: {firing.reason}" for firing in case.evidence),
        would_change=f"{' and '.join(dict.fromkeys(f.trigger.value for f in case.evidence))} not firing",
    )


def _hold(rule: Rule, reason: str, would_change: str, retry_at: datetime | None = None) -> _Answer:
    return _Answer(
        verdict=Verdict.HOLD, rule=rule, reason=reason, would_change=would_change, retry_at=retry_at
    )


def _nearest(quiet: Sequence[Quiet]) -> str:
    """What the trigger that is nearest to firing still needs."""
    if not quiet:
        return "a trigger to be configured"
    return min(
        quiet, key=lambda q: (1.0 if q.progress is None else -q.progress, _NEAREST.index(q.trigger))
    ).needed


def _failed_in_a_row(past: Sequence[PastRun]) -> list[PastRun]:
    """Failed and rejected runs since the last useful one, oldest first."""
    found: list[PastRun] = []
    for run in reversed(past):
        if run.end is RunEnd.USEFUL:
            break
        if run.end is not RunEnd.CANCELLED:
            found.append(run)
    return found[::-1]


def _demands(ids: Sequence[str]) -> str:
    """The first few by name; a thousand wishes are one sentence."""
    if len(ids) == 1:
        return f"demand {ids[0]}"
    return f"{len(ids)} demands ({', '.join(ids[:3])}{', ...' if len(ids) > 3 else ''})"
