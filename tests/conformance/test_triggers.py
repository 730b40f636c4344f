"""Every trigger, on nothing and on too much: pure, deterministic, and never at a loss for an answer."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import pkgutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ct_daemon.triggers
from ct_daemon.codec import decode, encode
from ct_daemon.protocols import Trigger
from ct_daemon.triggers.concept_drift import ConceptDrift
from ct_daemon.triggers.control import EveryN, Never
from ct_daemon.triggers.initial import Initial
from ct_daemon.triggers.new_data import NewData
from ct_daemon.triggers.on_demand import OnDemand
from ct_daemon.triggers.performance_drop import PerformanceDrop
from ct_daemon.triggers.schedule import Schedule
from ct_daemon.types import (
    ColumnKind,
    Demand,
    DriftReport,
    DriftScore,
    Firing,
    Observation,
    Performance,
    Quality,
    Quiet,
    Slot,
    Statistic,
    TriggerKind,
    Window,
)

TRIGGERS: dict[str, Trigger] = {
    "on_demand": OnDemand(),
    "initial": Initial(min_rows=20),
    "new_data rows": NewData(rows=1),
    "new_data files": NewData(files=1),
    "new_data both": NewData(rows=10, files=2),
    "concept_drift psi": ConceptDrift(psi=0.2, columns=0.5, windows=2, of=3),
    "concept_drift ks": ConceptDrift(psi=None, ks=0.1, columns=3),
    "concept_drift both": ConceptDrift(psi=0.1, ks=0.2, columns=1, windows=1, of=1000),
    "concept_drift disarm": ConceptDrift(psi=0.2, ks=0.2, disarm_psi=0.1, disarm_ks=0.05, windows=2, of=2),
    "concept_drift among": ConceptDrift(columns=1.0, among=frozenset({"a", "b"})),
    "new_data ceilings": NewData(max_rows=3, max_age_s=3600.0),
    "new_data all": NewData(rows=10, files=2, max_rows=100, max_age_s=1e9),
    "performance_drop": PerformanceDrop(min_labels=20, absolute=0.05, relative=0.1),
    "performance_drop relative": PerformanceDrop(min_labels=100, relative=0.1),
    "schedule": Schedule(rule="every 6 h"),
    "never": Never(),
    "always": EveryN(n=1),
    "every_n": EveryN(n=3),
}
"""One or more of every trigger in the tree."""

NOW = datetime(2026, 11, 24, 6, tzinfo=UTC)

numbers = st.none() | st.floats() | st.sampled_from([0.0, 0.1, 0.2, 5.0])
counts = st.integers(0, 3) | st.integers(0, 10**12)
statistics = st.builds(
    Statistic, value=numbers, p_value=st.none(), error=numbers, reason=st.none() | st.just("too_few_rows")
)
scores = st.builds(
    DriftScore,
    column=st.text(max_size=300),
    kind=st.sampled_from(ColumnKind),
    baseline_rows=counts,
    window_rows=counts,
    statistics=st.dictionaries(st.sampled_from(["psi", "ks", "js", "missing"]), statistics, max_size=4),
    moved=st.just((("x ≤ 3", 0.25),)),
)
reports = st.builds(
    DriftReport,
    baseline_rows=counts,
    window_rows=counts,
    columns=st.lists(scores, max_size=3).map(tuple),
    reason=st.none() | st.just("no_rows"),
)
windows = st.builds(
    Window,
    seq=st.integers(1, 2**63 - 1),
    model=st.just("m"),
    version=st.integers(1, 9),
    baseline_digest=st.just("0" * 64),
    first_batch_seq=st.integers(1, 5),
    last_batch_seq=st.integers(6, 9),
    report=reports,
    measured_at=st.just(NOW),
)
demands = st.builds(
    Demand,
    id=st.uuids().map(lambda u: f"d-{u.hex[:12]}"),
    model=st.just("m"),
    origin=st.sampled_from(["signal", "http", "cli", "spool"]),
    dedupe_key=st.text(max_size=20),
    force=st.booleans(),
    asked_at=st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)
moments = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
finite = st.floats(-1e12, 1e12)
qualities = st.builds(
    Quality,
    metric=st.just("mae"),
    value=finite,
    rows=st.integers(1, 10**9),
    low=finite,
    high=finite,
)
performances = st.builds(Performance, live=qualities, reference=qualities, last_batch_seq=st.integers(1, 9))
slots = st.builds(Slot, seq=st.integers(1, 9), model=st.just("m"), due_at=moments, first_at=moments)
observations = st.builds(
    Observation,
    model=st.just("m"),
    champion=st.none() | st.integers(1, 10**9),
    labelled_rows=counts,
    new_rows=counts,
    new_labelled_rows=counts,
    new_files=counts,
    last_batch_seq=counts,
    demands=st.lists(demands, max_size=8).map(tuple),
    windows=st.lists(windows, max_size=3).map(tuple),
    trained_at=st.none() | moments,
    performance=st.none() | performances,
    slot=st.none() | slots,
    next_slot_at=st.none() | moments,
)

every_trigger = pytest.mark.parametrize("trigger", TRIGGERS.values(), ids=TRIGGERS.keys())


def test_every_trigger_of_the_tree_is_in_the_battery() -> None:
    found = set()
    for module in pkgutil.iter_modules(ct_daemon.triggers.__path__):
        for value in vars(importlib.import_module(f"ct_daemon.triggers.{module.name}")).values():
            if isinstance(value, type) and hasattr(value, "evaluate"):
                found.add(value)
    assert found == {type(trigger) for trigger in TRIGGERS.values()}


def test_triggers_import_the_vocabulary_only() -> None:
    for path in Path(ct_daemon.triggers.__path__[0]).glob("*.py"):
        imports = [
            line.split()[1] for line in path.read_text().splitlines() if line.startswith(("import ", "from "))
        ]
        assert {name for name in imports if name.startswith("ct_daemon")} <= {
            "ct_daemon.triggers.readings",
            "ct_daemon.types",
            "ct_daemon.words",
            "ct_daemon.times",
            "ct_daemon.evaluation.degradation",
        }, path


@every_trigger
def test_options_are_a_frozen_value(trigger: Trigger) -> None:
    assert dataclasses.is_dataclass(trigger)
    assert hash(trigger) == hash(copy.deepcopy(trigger))


@every_trigger
@settings(max_examples=25)
@given(seen=observations)
def test_every_observation_gets_the_same_answer_twice_and_stays_as_it_was(
    trigger: Trigger, seen: Observation
) -> None:
    before = repr(seen)
    answer = trigger.evaluate(seen, NOW)
    assert trigger.evaluate(copy.deepcopy(seen), NOW) == answer
    assert repr(seen) == before
    assert isinstance(answer.trigger, TriggerKind)
    assert answer.reason
    if isinstance(answer, Firing):
        assert 0 < len(answer.dedupe_key) <= 200
        assert answer.model == seen.model
        assert decode(Firing, encode(answer)) == answer  # nothing in the evidence is lost in the ledger
    else:
        assert isinstance(answer, Quiet)
        assert answer.needed
        assert answer.progress is None or 0 <= answer.progress <= 1


@every_trigger
def test_nothing_at_all_is_quiet(trigger: Trigger) -> None:
    nothing = Observation(
        model="m",
        champion=None,
        labelled_rows=0,
        new_rows=0,
        new_labelled_rows=0,
        new_files=0,
        last_batch_seq=0,
    )
    assert isinstance(trigger.evaluate(nothing, NOW), Quiet)


@every_trigger
def test_a_huge_observation_gives_a_small_answer(trigger: Trigger) -> None:
    columns = tuple(
        DriftScore(
            column=f"{'c' * 5000}{i}",
            kind=ColumnKind.NUMERIC,
            baseline_rows=10**9,
            window_rows=10**9,
            statistics={"psi": Statistic(value=3.0), "ks": Statistic(value=None, reason="all_missing")},
            moved=(("y" * 5000, 0.5),) * 5,
        )
        for i in range(2000)
    )
    report = DriftReport(baseline_rows=10**9, window_rows=10**9, columns=columns)
    newest = Window(
        seq=2**62,
        model="m",
        version=1,
        baseline_digest="0" * 64,
        first_batch_seq=1,
        last_batch_seq=2,
        report=report,
        measured_at=NOW,
    )
    huge = Observation(
        model="m",
        champion=1,
        labelled_rows=10**15,
        new_rows=10**15,
        new_labelled_rows=10**15,
        new_files=10**15,
        last_batch_seq=2**62,
        windows=(newest,) * 5,
    )
    assert len(encode(trigger.evaluate(huge, NOW))) < 30_000
