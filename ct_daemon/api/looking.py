"""Views of the ledger that only the API shows: triggers with their newest answers, firings, decisions, demands."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from ct_daemon.config import ModelSettings
from ct_daemon.explain import demands_about
from ct_daemon.explain import document as explain_document
from ct_daemon.store.firings import RecordedFiring
from ct_daemon.store.store import Store
from ct_daemon.types import TriggerKind
from ct_daemon.views import demand_document, page


def decisions_document(store: Store, model: str, *, limit: int, before: int | None) -> dict[str, Any]:
    """The newest decisions with all that each rests on, from before number `before`."""
    with store.read() as tx:
        found = store.decisions.list(tx, model, before_seq=before, limit=limit + 1)
        shown, following = page(found, limit, lambda recorded: recorded.seq)
        explained = [
            explain_document(recorded, store.demands.of(tx, demands_about(recorded))) for recorded in shown
        ]
    return {"decisions": explained, "next": following}


def firings_document(store: Store, model: str, *, limit: int, before: int | None) -> dict[str, Any]:
    """The newest claims of triggers, from before number `before`."""
    with store.read() as tx:
        found = store.firings.list(tx, model, limit + 1, before_seq=before)
    shown, following = page(found, limit, lambda firing: firing.seq)
    return {"firings": [firing_document(firing) for firing in shown], "next": following}


def triggers_document(store: Store, model: str, settings: ModelSettings) -> dict[str, Any]:
    """Each trigger of a model: its settings, its answers in the newest decision, its last claim."""
    known = _settings_of_triggers(settings)
    with store.read() as tx:
        newest = store.decisions.newest(tx, model)
        answers: Mapping[str, list[dict[str, Any]]] = defaultdict(list)
        for answer in [] if newest is None else explain_document(newest)["triggers"]:
            answers[answer["trigger"]].append(answer)
        names = dict.fromkeys((*known, *answers))
        return {
            "model": model,
            "decision": None if newest is None else newest.seq,
            "decided_at": None if newest is None else newest.last_at.isoformat(),
            "triggers": [
                {
                    "trigger": name,
                    "settings": known.get(name),
                    "answers": answers.get(name, []),
                    "last_firing": _last(store, tx, model, name),
                }
                for name in names
            ],
        }


def demand_with_answer(store: Store, demand_id: str) -> dict[str, Any]:
    """A wish, the run that serves it, and why it waits if none does.

    Raises
    ------
    UnknownNameError
        `unknown_demand`.
    """
    with store.read() as tx:
        demand = store.demands.get(tx, demand_id)
        newest = store.decisions.newest(tx, demand.model)
    waits = demand.run_id is None and not demand.cancelled and newest is not None
    return demand_document(demand) | {
        "model": demand.model,
        "force": demand.force,
        "run": demand.run_id,
        "withdrawn": demand.cancelled,
        "waits": None
        if newest is None or not waits
        else {
            "decision": newest.seq,
            "rule": newest.decision.rule.value,
            "reason": newest.decision.reason,
            "would_change": newest.decision.would_change,
        },
    }


def firing_document(recorded: RecordedFiring) -> dict[str, Any]:
    """One claim."""
    return {
        "seq": recorded.seq,
        "trigger": recorded.firing.trigger.value,
        "reason": recorded.firing.reason,
        "dedupe_key": recorded.firing.dedupe_key,
        "evidence": dict(recorded.firing.evidence),
        "at": recorded.at.isoformat(),
        "run": recorded.run_id,
        "lapsed_at": None if recorded.lapsed_at is None else recorded.lapsed_at.isoformat(),
    }


def _settings_of_triggers(settings: ModelSettings) -> dict[str, Any]:
    """What is configured, by trigger; those that are off have none."""
    known = {
        name: value
        for name, value in settings.triggers.model_dump(mode="json").items()
        if value is not None and value != []
    }
    return known | {TriggerKind.INITIAL.value: {"min_rows": settings.training.min_rows}}


def _last(store: Store, tx: Connection, model: str, trigger: str) -> dict[str, Any] | None:
    if trigger not in list(TriggerKind):
        return None
    found = store.firings.list(tx, model, 1, trigger=TriggerKind(trigger))
    return firing_document(found[0]) if found else None
