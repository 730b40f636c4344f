"""Facts counted as they happen (implements `protocols.Observer`). Everything here begins anew with each start."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import singledispatchmethod

from ct_daemon.metrics import catalogue as c
from ct_daemon.metrics.catalogue import Family
from ct_daemon.metrics.samples import Labels, Samples, Spread, Value
from ct_daemon.pipeline.states import TERMINAL, RunState
from ct_daemon.types import (
    BatchTaken,
    DecisionMade,
    DriftMeasured,
    Event,
    ModelDeployed,
    QualityMeasured,
    RunMoved,
    Ticked,
    TickFailed,
    TriggerFired,
    Window,
)

SLUG = re.compile(r"[a-z][a-z0-9_]{0,62}")
MOST_REASONS = 64
"""So many different reasons are told apart; they come from the code, but some by way of other processes."""
OTHER_REASON = "other"
RESULTS = OK, FAULT = ("ok", "fault")
"""How a look can end."""
_STATES = frozenset(RunState)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What has been counted, at one moment."""

    samples: Samples
    good_looks: dict[str, datetime]
    """When each model was last looked at without a fault."""


class Counts:
    """Counts events. It may hear them in several threads.

    Parameters
    ----------
    measured : callable
        Hears of each window, while its report is in memory anyway.
    touched : callable
        Hears which model has new labels, predictions or another live version.
    """

    def __init__(self, *, measured: Callable[[Window], None], touched: Callable[[str], None]) -> None:
        self._measured, self._touched = measured, touched
        self._lock = threading.Lock()
        self._values: dict[Family, dict[Labels, float]] = {}
        self._spreads: dict[Family, dict[Labels, Spread]] = {}
        self._good_looks: dict[str, datetime] = {}
        self._faults: dict[str, tuple[str, ...]] = {}
        self._reasons: set[str] = set()

    def __call__(self, event: Event) -> None:
        """Count one fact."""
        self._count(event)

    def taken(self, models: Container[str]) -> Counted:
        """All that was counted about these models, as copies."""
        with self._lock:
            samples: Samples = {}
            for family, values in self._values.items():
                samples[family] = _of(models, family, values)
            for family, spreads in self._spreads.items():
                samples[family] = _of(models, family, {key: one.copy() for key, one in spreads.items()})
            samples[c.FAULT] = {
                (model, reason): 1.0
                for model, reasons in self._faults.items()
                if model in models
                for reason in reasons
            }
            return Counted(samples=samples, good_looks=dict(self._good_looks))

    @singledispatchmethod
    def _count(self, event: object) -> None:
        raise TypeError(f"nothing is counted for {type(event).__name__}")

    @_count.register
    def _(self, event: Ticked) -> None:
        with self._lock:
            self._add(c.TICKS, event.model, FAULT if event.faults else OK)
            self._spread(c.TICK_DURATION, (), event.lasted_s)
            if event.faults:
                self._faults[event.model] = tuple(dict.fromkeys(map(self._reason, event.faults)))
            else:
                self._faults.pop(event.model, None)
                self._good_looks[event.model] = event.at

    @_count.register
    def _(self, event: TickFailed) -> None:
        """The look's end, `Ticked`, tells of it."""

    @_count.register
    def _(self, event: BatchTaken) -> None:
        """The ledger counts files; scored ones wait for labels."""
        self._touched(event.batch.model)

    @_count.register
    def _(self, event: QualityMeasured) -> None:
        self._touched(event.model)
        if event.delay_s is not None:
            with self._lock:
                self._spread(c.LABEL_DELAY, (event.model,), event.delay_s, event.new_rows)

    @_count.register
    def _(self, event: DriftMeasured) -> None:
        with self._lock:
            self._add(c.WINDOWS, event.window.model)
        self._measured(event.window)

    @_count.register
    def _(self, event: TriggerFired) -> None:
        with self._lock:
            self._add(c.FIRINGS, event.firing.model, event.firing.trigger.value)

    @_count.register
    def _(self, event: DecisionMade) -> None:
        decision = event.recorded.decision
        with self._lock:
            self._add(c.DECISIONS, decision.model, decision.verdict.value, decision.rule.value)

    @_count.register
    def _(self, event: RunMoved) -> None:
        step = event.transition
        with self._lock:
            if event.lasted_s is not None and step.from_state in _STATES:
                self._spread(c.STEP_DURATION, (step.from_state,), event.lasted_s)
            if step.to_state in TERMINAL:
                whole_s = max((step.at - event.run.created_at).total_seconds(), 0.0)
                self._spread(c.RUN_DURATION, (step.to_state,), whole_s)

    @_count.register
    def _(self, event: ModelDeployed) -> None:
        self._touched(event.deployment.model)
        with self._lock:
            self._add(c.DEPLOYMENTS, event.deployment.model, event.deployment.kind)

    def _add(self, family: Family, *labels: str) -> None:
        values = self._values.setdefault(family, {})
        values[labels] = values.get(labels, 0.0) + 1.0

    def _spread(self, family: Family, labels: Labels, value: float, times: int = 1) -> None:
        spreads = self._spreads.setdefault(family, {})
        spreads.setdefault(labels, Spread.over(family)).add(family, value, times)

    def _reason(self, reason: str) -> str:
        if reason not in self._reasons:
            if len(self._reasons) >= MOST_REASONS or not SLUG.fullmatch(reason):
                return OTHER_REASON
            self._reasons.add(reason)
        return reason


def _of(
    models: Container[str], family: Family, values: Mapping[Labels, float] | Mapping[Labels, Spread]
) -> dict[Labels, Value]:
    """The values of these models: one that was taken out of the configuration is not shown any more."""
    if "model" not in family.labels:
        return dict(values)
    return {labels: value for labels, value in values.items() if labels[0] in models}
