"""A recorded decision in words, and asked once more."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ct_daemon.codec import decode, encode
from ct_daemon.explain import RULES, demands_about, document, lines, reevaluate
from ct_daemon.policy import Policy
from ct_daemon.triggers.concept_drift import ConceptDrift
from ct_daemon.triggers.initial import Initial
from ct_daemon.triggers.new_data import NewData
from ct_daemon.triggers.on_demand import OnDemand
from ct_daemon.types import (
    ActiveRun,
    ColumnKind,
    Demand,
    DriftReport,
    DriftScore,
    Firing,
    JointDrift,
    Observation,
    PastRun,
    Quiet,
    RecordedDecision,
    Role,
    Rule,
    RunEnd,
    Situation,
    Statistic,
    TriggerKind,
    Window,
)

NOW = datetime(2026, 11, 24, 6, tzinfo=UTC)
POLICY = Policy(cooldown_s=3600.0, budget_runs=3, budget_per_s=86400.0, back_off_first_s=60.0)
TRIGGERS = (
    OnDemand(),
    Initial(min_rows=500),
    NewData(rows=500),
    ConceptDrift(psi=0.2, ks=0.2, columns=1, windows=2, of=3),
)


def window(seq: int, price: float, *, name: str = "price") -> Window:
    columns = (
        DriftScore(
            column=name,
            kind=ColumnKind.NUMERIC,
            baseline_rows=10_000,
            window_rows=1_000,
            statistics={"psi": Statistic(value=price), "ks": Statistic(value=None, reason="too_few_rows")},
            moved=(("x > 9.5", 0.183), ("x ≤ 1.2", -0.061)),
        ),
    )
    return Window(
        seq=seq,
        model="fraud",
        version=3,
        baseline_digest="b" * 64,
        first_batch_seq=seq * 10,
        last_batch_seq=seq * 10 + 9,
        report=DriftReport(baseline_rows=10_000, window_rows=1_000, columns=columns),
        measured_at=NOW,
    )


def observation(*windows: Window, demands: tuple[Demand, ...] = ()) -> Observation:
    return Observation(
        model="fraud",
        champion=3,
        labelled_rows=1120,
        new_rows=130,
        new_labelled_rows=120,
        new_files=6,
        last_batch_seq=79,
        demands=demands,
        windows=windows,
    )


def record(
    seen: Observation, situation: Situation | None = None, *, count: int = 1, run_id: str | None = None
) -> RecordedDecision:
    """As the monitor decides and the ledger keeps it."""
    answers = [trigger.evaluate(seen, NOW) for trigger in TRIGGERS]
    situation = situation or Situation(
        model="fraud", champion=3, labelled_rows=1120, min_rows=500, first_firing_at=NOW, last_firing_at=NOW
    )
    decision = POLICY.decide(
        "fraud",
        [a for a in answers if isinstance(a, Firing)],
        [a for a in answers if isinstance(a, Quiet)],
        situation,
        seen.demands,
        NOW,
    )
    recorded = RecordedDecision(
        seq=12,
        decision=decision,
        situation=situation,
        observation={"demands": [d.id for d in seen.demands], "windows": [w.seq for w in seen.windows]},
        first_at=NOW,
        last_at=NOW + timedelta(hours=count - 1),
        count=count,
        run_id=run_id,
    )
    return decode(RecordedDecision, encode(recorded))


def demand(name: str, *, force: bool = False) -> Demand:
    return Demand(
        id=name,
        model="fraud",
        origin="cli",
        dedupe_key=f"k-{name}",
        force=force,
        asked_at=NOW - timedelta(minutes=len(name)),
        note="because",
    )


DRIFTED = observation(window(5, 0.3), window(6, 0.01), window(7, 0.55))
JUST_RAN = PastRun(id="r-1", started_at=NOW, ended_at=NOW, end=RunEnd.USEFUL)
BUSY = Situation(
    model="fraud",
    labelled_rows=1120,
    min_rows=500,
    active=ActiveRun(id="r-2", joinable=True),
    first_firing_at=NOW,
)


@pytest.mark.parametrize(
    "recorded",
    [
        record(observation()),
        record(DRIFTED),
        record(DRIFTED, replace(record(DRIFTED).situation, past=(JUST_RAN,))),
        record(DRIFTED, BUSY),
        record(observation(demands=(demand("d-1"), demand("d-20", force=True))), BUSY),
        record(observation(demands=(demand("d-1", force=True), demand("d-20")))),
    ],
    ids=["ignored", "fired", "cooldown", "active", "joined", "demanded"],
)
def test_the_recorded_inputs_give_the_recorded_decision_again(recorded: RecordedDecision) -> None:
    assert reevaluate(recorded, POLICY) == recorded.decision
    assert encode(reevaluate(recorded, POLICY)) == encode(recorded.decision)


def test_another_policy_may_decide_otherwise() -> None:
    held = record(DRIFTED, replace(record(DRIFTED).situation, past=(JUST_RAN,)))
    assert held.decision.rule is Rule.COOLDOWN
    assert reevaluate(held, Policy()).rule is Rule.FIRED


def test_lines_tell_what_fired_and_what_moved_since_when() -> None:
    text = "\n".join(lines(record(DRIFTED, run_id="r-77", count=3)))
    for part in (
        "decision 12 about fraud, 2026-11-24 06:00 UTC",
        "START: concept_drift: 2 of the last 3 windows drifted; column price PSI 0.55 of 0.2",
        "rule: fired (a trigger fired and no rule held it back)",
        "  new_data         [####----------------]   24 %  120 of 500 labelled rows",
        "  concept_drift    [####################]  100 %",
        "data drift since window 5 (batch 50): 1 of 1 column moved in window 7",
        "  price (numeric): PSI 0.550 of 0.200",
        "    x > 9.5 +18.3 points, x ≤ 1.2 -6.1 points",
        "can't tell: KS of price in window 7 (too_few_rows)",
        "would have changed it: concept_drift not firing",
        "run that followed: r-77",
        "the same answer 3 times in a row, 2026-11-24 06:00 UTC to 2026-11-24 08:00 UTC",
    ):
        assert part in text, f"{part!r} is missing in\n{text}"


def test_lines_of_a_hold_say_when_it_is_asked_again() -> None:
    held = record(DRIFTED, replace(record(DRIFTED).situation, past=(JUST_RAN,)))
    text = "\n".join(lines(held))
    assert "HOLD: cooldown of 1 h since run r-1 ended 2026-11-24 06:00 UTC" in text
    assert "would have changed it: the cooldown ends 2026-11-24 07:00 UTC" in text
    assert "asked again by itself: 2026-11-24 07:00 UTC" in text
    assert "run that followed" not in text
    assert "in a row" not in text


def test_a_bar_below_the_mark_never_looks_full() -> None:
    nearly = replace(observation(), new_labelled_rows=499)
    assert any("[###################-]   99 %" in line for line in lines(record(nearly)))


def test_question_marks_are_for_what_nobody_can_tell() -> None:
    said = {line.split()[0]: line for line in lines(record(observation())) if line.startswith("  ")}
    assert "[????????????????????]    ? %  can't tell" in said["concept_drift"]
    assert said["on_demand"].split()[1] == "n/a"
    assert "?" not in said["initial"]


def test_on_a_narrow_terminal_reasons_stand_under_themselves() -> None:
    found = lines(record(DRIFTED), width=80)
    place = next(n for n, line in enumerate(found) if line.startswith("  concept_drift"))
    column = found[place].index("2 of the last")
    assert found[place + 1][:column].strip() == ""
    assert found[place + 1][column] != " "


def test_the_note_of_a_demand_stands_with_the_decision_that_served_it() -> None:
    asked = demand("d-1", force=True)
    recorded = record(observation(demands=(asked,)))
    assert demands_about(recorded) == ("d-1",)
    assert "  note of d-1: because" in lines(recorded, (asked,))
    assert document(recorded, (asked,))["notes"] == {"d-1": "because"}


@pytest.mark.parametrize("width", [40, 72, 120])
def test_names_from_data_can_neither_break_nor_colour_nor_run_over_a_line(width: int) -> None:
    hostile = "a\x1b[31m\r\nSTART\u202e" + "x" * 300
    seen = observation(window(5, 0.3, name=hostile), window(6, 0.5, name=hostile))
    found = lines(record(seen), width=width)
    assert all(line.isprintable() and len(line) <= width for line in found)


def test_the_document_is_json_and_says_the_same() -> None:
    found = document(record(DRIFTED, run_id="r-77"))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert (found["verdict"], found["rule"], found["run_id"]) == ("start", "fired", "r-77")
    assert found["now"] == "2026-11-24T06:00:00+00:00"
    shares = {entry["trigger"]: entry["share"] for entry in found["triggers"]}
    assert shares == {"concept_drift": 1.0, "new_data": 0.24, "on_demand": None, "initial": None}
    assert found["drift"]["since_window"] == 5
    assert found["drift"]["columns"][0]["psi"] == {"value": 0.55, "needed": 0.2, "moved": True}
    assert document(record(observation()))["drift"] is None


def test_every_rule_has_words() -> None:
    assert set(RULES) == set(Rule)


def test_a_moved_column_says_which_way_its_values_went_and_since_when() -> None:
    windows = []
    for seq in (5, 6, 7):
        one = window(seq, 0.5)
        gone = Statistic(value=0.3, effect=0.3, p_value=1e-9)
        columns = tuple(
            replace(column, direction="up", statistics={**column.statistics, "missing": gone})
            for column in one.report.columns
        )
        windows.append(replace(one, report=replace(one.report, columns=columns)))
    shown = lines(record(observation(*windows)), width=80)
    text = " ".join(line.strip() for line in shown)
    assert "PSI 0.500 of 0.200, share of missing rows changed by 0.300 of 0.200, up, since window 5" in text
    assert max(map(len, shown)) <= 80


def test_lines_tell_what_all_columns_show_together_and_what_target_and_predictions_do() -> None:
    target = replace(window(7, 0.3, name="y").report.columns[0], role=Role.TARGET)
    unknown = {"psi": Statistic(value=None, reason="not_scored")}
    answered = replace(target, column="prediction", role=Role.PREDICTION, statistics=unknown)
    joint = JointDrift(auc=0.71, low=0.68, high=0.74, p_value=0.0, leaned_on=(("a", 0.21), ("b", 0.2)))
    seen = window(7, 0.55)
    report = replace(seen.report, columns=(*seen.report.columns, target, answered), joint=joint)
    text = "\n".join(
        lines(record(observation(window(5, 0.3), window(6, 0.01), replace(seen, report=report))))
    )
    for part in (
        "1 of 1 column moved in window 7",
        "  all columns together: AUC 0.710 [0.680, 0.740]\n    it leaned on a (+0.210), b (+0.200)",
        "  beside, target y: PSI 0.300 of 0.200",
        "  beside, prediction prediction: can't tell (not_scored)",
    ):
        assert part in text, f"{part!r} is missing in\n{text}"


def test_evidence_from_before_a_classifier_was_asked_can_still_be_told() -> None:
    old = record(DRIFTED)
    [firing] = [f for f in old.decision.firings if f.trigger is TriggerKind.CONCEPT_DRIFT]
    evidence = {key: value for key, value in firing.evidence.items() if key not in ("joint", "beside")}
    told = replace(old, decision=replace(old.decision, firings=(replace(firing, evidence=evidence),)))
    assert lines(told) == lines(old)
