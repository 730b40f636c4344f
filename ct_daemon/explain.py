"""A recorded decision in words: why a run started, or why not, and what would have changed that.

`document` is for machines, `lines` for a terminal; both say the same. `reevaluate` asks the policy once more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from ct_daemon.policy import Policy
from ct_daemon.terminal import wrapped
from ct_daemon.times import moment, span
from ct_daemon.triggers.concept_drift import CANT_TELL
from ct_daemon.triggers.on_demand import demands_of
from ct_daemon.types import Decision, Demand, Firing, Quiet, RecordedDecision, Rule, TriggerKind
from ct_daemon.words import counted

BAR, SHORT_BAR = 20, 7
"""Characters of a full bar, and of one on a narrow terminal."""
NARROW = 100
"""Narrower than this a terminal is narrow."""

NAMED_APART = timedelta(minutes=1)
"""So far apart, model time and the wall clock are told apart."""

RULES = {
    Rule.NOTHING_FIRED: "no trigger fired on new evidence",
    Rule.PAUSED: "the model is paused; demands wait",
    Rule.RUN_ACTIVE: "one run at a time, and one is under way",
    Rule.JOINED: "a run that has not read its data yet serves the demand",
    Rule.TOO_FEW_ROWS: "too few labelled rows to train on",
    Rule.COOLDOWN: "rest after a useful run (a ceiling passes over it) or a rollback",
    Rule.BACK_OFF: "longer and longer waits after failed and rejected runs",
    Rule.BUDGET: "no more runs in this period",
    Rule.COALESCING: "waiting for evidence to settle, so that one run answers all of it; a ceiling passes over it",
    Rule.DEMANDED: "a person asked; cooldown, back-off, budget and coalescing don't apply",
    Rule.FIRED: "a trigger fired and no rule held it back",
}
"""Every rule in words."""


def reevaluate(recorded: RecordedDecision, policy: Policy) -> Decision:
    """The decision that `policy` makes on the recorded inputs; equal to the recorded one for the policy of the time.

    The demands are those that the `on_demand` firing lists.
    """
    decision = recorded.decision
    asked = [f for f in decision.firings if f.trigger is TriggerKind.ON_DEMAND]
    demands = [demand for firing in asked for demand in demands_of(firing)]
    return policy.decide(
        decision.model, decision.firings, decision.quiet, recorded.situation, demands, decision.now
    )


def demands_about(recorded: RecordedDecision) -> tuple[str, ...]:
    """Ids of the demands that the decision served or made wait."""
    return tuple(dict.fromkeys((*recorded.decision.serves, *recorded.observation.get("demands", ()))))


def document(recorded: RecordedDecision, demands: Sequence[Demand] = ()) -> dict[str, Any]:
    """The decision as plain JSON: times as ISO 8601 in UTC, shares with 1 for all that is needed.

    `demands` are those of `demands_about`, for the notes that came with them.
    """
    decision = recorded.decision
    triggers = [*map(_fired, decision.firings), *map(_quiet, decision.quiet)]
    return {
        "seq": recorded.seq,
        "model": decision.model,
        "now": _iso(decision.now),
        "verdict": decision.verdict.value,
        "rule": decision.rule.value,
        "rule_in_words": RULES[decision.rule],
        "reason": decision.reason,
        "would_change": decision.would_change,
        "retry_at": _iso(decision.retry_at),
        "serves": list(decision.serves),
        "notes": {demand.id: demand.note for demand in demands if demand.note},
        "run_id": recorded.run_id,
        "triggers": triggers,
        "drift": next((dict(f.evidence) for f in _drift_firings(decision)), None),
        "observation": dict(recorded.observation),
        "count": recorded.count,
        "first_at": _iso(recorded.first_at),
        "last_at": _iso(recorded.last_at),
    }


def lines(recorded: RecordedDecision, demands: Sequence[Demand] = (), *, width: int = 100) -> list[str]:
    """The decision as lines of at most `width` (40 or more) characters, without control characters.

    `demands` are those of `demands_about`, for the notes that came with them.
    """
    found: list[str] = []
    for lead, text in (*_head(recorded), *_evidence(recorded, width), *_end(recorded, demands)):
        # On a narrow terminal the later lines of a long lead would have no room under themselves.
        rest = " " * (len(lead) if len(lead) < width / 2 else len(lead) - len(lead.lstrip()) + 2)
        found += wrapped(text, width, first=lead, rest=rest if lead.strip() else rest + "  ")
    return found


def _head(recorded: RecordedDecision) -> Iterator[tuple[str, str]]:
    """Each sentence with what stands before it."""
    decision = recorded.decision
    yield "", f"decision {recorded.seq} about {decision.model}, {moment(decision.now)}"
    if abs(recorded.last_at - decision.now) > NAMED_APART:
        yield (
            "",
            f"times here are model time, which the data set; by the wall clock it was {moment(recorded.last_at)}",
        )
    yield "", f"{decision.verdict.value.upper()}: {decision.reason}"
    yield "", f"rule: {decision.rule.value} ({RULES[decision.rule]})"
    yield "", ""


def _evidence(recorded: RecordedDecision, width: int) -> Iterator[tuple[str, str]]:
    decision = recorded.decision
    yield "", "evidence, as share of what is needed:"
    size = BAR if width >= NARROW else SHORT_BAR
    for entry in (*map(_fired, decision.firings), *map(_quiet, decision.quiet)):
        yield f"  {entry['trigger']:<16} {_bar(entry, size)}  ", entry["reason"]
    for firing in _drift_firings(decision):
        yield "", ""
        yield from _drift(firing.evidence)
    yield "", ""


def _end(recorded: RecordedDecision, demands: Sequence[Demand]) -> Iterator[tuple[str, str]]:
    decision = recorded.decision
    yield "", f"would have changed it: {decision.would_change}"
    if decision.retry_at is not None:
        left = span(max(round((decision.retry_at - decision.now).total_seconds()), 0))
        yield "", f"asked again by itself: {moment(decision.retry_at)}, {left} after this decision"
    if decision.serves:
        yield "", f"demands served: {', '.join(decision.serves)}"
    for demand in demands:
        if demand.note:
            yield f"  note of {demand.id}: ", demand.note
    if recorded.run_id is not None:
        yield "", f"run that followed: {recorded.run_id}"
    if recorded.count > 1:
        since, until = moment(recorded.first_at), moment(recorded.last_at)
        yield "", f"the same answer {recorded.count} times in a row, {since} to {until}"


def _fired(firing: Firing) -> dict[str, Any]:
    share = firing.evidence.get("share")
    return {
        "trigger": firing.trigger.value,
        "fired": True,
        "share": 1.0 if share is None else share,
        "can_tell": True,
        "reason": firing.reason,
        "needed": None,
        "dedupe_key": firing.dedupe_key,
        "evidence": dict(firing.evidence),
    }


def _quiet(quiet: Quiet) -> dict[str, Any]:
    return {
        "trigger": quiet.trigger.value,
        "fired": False,
        "share": quiet.progress,
        "can_tell": not quiet.reason.startswith(CANT_TELL),
        "reason": quiet.reason,
        "needed": quiet.needed,
        "dedupe_key": None,
        "evidence": {},
    }


def _drift_firings(decision: Decision) -> list[Firing]:
    return [f for f in decision.firings if f.trigger is TriggerKind.CONCEPT_DRIFT]


def _drift(evidence: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The columns that moved most, each with its numbers and cells."""
    evaluated = evidence["columns_evaluated"]
    yield (
        "",
        f"{evidence['seen']} since window {evidence['since_window']} (batch {evidence['since_batch']}): "
        f"{evidence['columns_moved']} of {counted(evaluated, 'column')} moved in window {evidence['window']}",
    )
    for column in evidence["columns"]:
        numbers = ", ".join((*_numbers(column), *_way(column)))
        yield "  ", f"{column['column']} ({column['kind']}): {numbers}"
        if column["moved"]:
            yield "    ", _cells(column["moved"])
    yield from _joint(evidence.get("joint"))  # older evidence has neither
    for column in evidence.get("beside", ()):
        told = ", ".join(_numbers(column)) or f"can't tell ({column.get('reason')})"
        yield "  ", f"beside, {column['role']} {column['column']}: {told}"
    for entry in evidence["not_evaluated"]:
        yield (
            "  ",
            f"can't tell: {entry['statistic'].upper()} of {entry['column']} in window {entry['window']} "
            f"({entry['reason']})",
        )
    more = evidence["not_evaluated_count"] - len(evidence["not_evaluated"])
    if more > 0:
        yield "  ", f"can't tell: {more} more"


def _joint(joint: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    """What the classifier says of all columns together."""
    if joint is None or joint["auc"] is None:
        return
    needed = "" if joint["needed"] is None else f", of {joint['needed']:.3g} at the lower end"
    yield (
        "  ",
        f"all columns together: AUC {joint['auc']:.3f} [{joint['low']:.3f}, {joint['high']:.3f}]{needed}",
    )
    if joint["leaned_on"]:
        yield (
            "    ",
            f"it leaned on {', '.join(f'{name} ({loss:+.3f})' for name, loss in joint['leaned_on'])}",
        )


def _numbers(column: Mapping[str, Any]) -> Iterator[str]:
    for name in ("psi", "ks"):
        if name in column:
            yield f"{name.upper()} {column[name]['value']:.3f} of {column[name]['needed']:.3f}"
    for name in ("missing", "unseen"):
        if name in column and column[name]["moved"]:
            yield f"share of {name} rows changed by {column[name]['value']:.3f} of {column[name]['needed']:.3f}"


def _way(column: Mapping[str, Any]) -> Iterator[str]:
    """Which way the values went, and since when; what an older release recorded says neither."""
    if column.get("direction"):
        yield str(column["direction"])
    if "since_window" in column:
        yield f"since window {column['since_window']}"


def _cells(moved: Sequence[Sequence[Any]]) -> str:
    return ", ".join(f"{cell} {change * 100:+.1f} points" for cell, change in moved)


def _bar(entry: Mapping[str, Any], size: int) -> str:
    """``[##########----------]  50 %``; question marks mean that nobody can tell, and a trigger that no number
    measures has no bar. Below 1 it never looks full."""
    share = entry["share"]
    if not entry["can_tell"]:
        return f"[{'?' * size}]    ? %"
    if share is None:
        return f"{'n/a':<{size + 2}}       "
    full = min(max(int(share * size), 0), size)
    percent = min(max(int(share * 100), 0), 9999)
    return f"[{'#' * full}{'-' * (size - full)}] {percent:>4} %"


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat()
