"""Events in, text out: the whole text is compared, so that a change of the view is seen."""

from __future__ import annotations

import io
import re
import threading
from datetime import UTC, datetime, timedelta

import pytest

from ct_daemon.demo.lines import clean
from ct_daemon.demo.view import BAR_PSI, TerminalView, terminal_view
from ct_daemon.terminal import clip
from ct_daemon.types import (
    Batch,
    BatchKind,
    BatchStatus,
    BatchTaken,
    ColumnKind,
    Decision,
    DecisionMade,
    Deployment,
    DeploymentState,
    DriftMeasured,
    DriftReport,
    DriftScore,
    Firing,
    ModelDeployed,
    ModelVersion,
    Outcome,
    QualityMeasured,
    RecordedDecision,
    Rule,
    Run,
    RunMoved,
    Situation,
    Statistic,
    TickFailed,
    Transition,
    TriggerFired,
    TriggerKind,
    Verdict,
    Window,
)

NOW = datetime(2025, 1, 6, 8, 0, tzinfo=UTC)
GATE = {
    "passed": True,
    "reason": "better",
    "detail": "",
    "candidate": {"metric": "accuracy", "value": 0.842, "rows": 600, "low": 0.81, "high": 0.87},
    "champion": {"metric": "accuracy", "value": 0.5166, "rows": 600, "low": 0.48, "high": 0.56},
}
FIRST_GATE = GATE | {"champion": None}


def batch(seq: int, status=BatchStatus.ACCEPTED, kind=BatchKind.ROWS, **more) -> BatchTaken:
    error = more.pop("error", None)
    fields = {
        "name": f"day-{seq:03d}.parquet",
        "rows": 220,
        "event_from_at": NOW + timedelta(days=seq),
    } | more
    return BatchTaken(
        batch=Batch(
            seq=seq,
            model="m",
            source="rows",
            kind=kind,
            status=status,
            digest="d",
            size_bytes=1,
            arrived_at=NOW,
            **fields,
        ),
        error=error,
    )


def drift(psi: float | None, column: str = "distance_km") -> DriftMeasured:
    def score(name: str, value: float | None) -> DriftScore:
        return DriftScore(
            column=name,
            kind=ColumnKind.NUMERIC,
            baseline_rows=3000,
            window_rows=660,
            statistics={"psi": Statistic(value=value), "ks": Statistic(value=0.9)},
        )

    report = DriftReport(
        baseline_rows=3000, window_rows=660, columns=(score("weight_kg", 0.01), score(column, psi))
    )
    if psi is None:
        report = DriftReport(
            baseline_rows=3000, window_rows=0, columns=(score(column, None),), reason="empty"
        )
    return DriftMeasured(
        window=Window(
            seq=1,
            model="m",
            version=1,
            baseline_digest="b",
            first_batch_seq=1,
            last_batch_seq=3,
            report=report,
            measured_at=NOW,
        )
    )


def right(seq: int, version: int, share: float) -> QualityMeasured:
    wrong = 220 * (1 - share)
    outcome = Outcome(batch_seq=seq, version=version, rows=220, error_sum=wrong, squared_sum=wrong)
    return QualityMeasured(model="m", outcomes=(outcome,))


def fired(reason: str) -> TriggerFired:
    return TriggerFired(
        firing=Firing(model="m", trigger=TriggerKind.CONCEPT_DRIFT, dedupe_key="k", reason=reason)
    )


def decided(verdict: Verdict, rule: Rule, reason: str) -> DecisionMade:
    decision = Decision(model="m", now=NOW, verdict=verdict, rule=rule, reason=reason, would_change="")
    recorded = RecordedDecision(
        seq=1,
        decision=decision,
        situation=Situation(model="m"),
        observation={},
        first_at=NOW,
        last_at=NOW,
        count=1,
    )
    return DecisionMade(recorded=recorded)


def moves(run_id: str, trigger: str, gate: dict, states: str, reason: str | None = None, detail: str = ""):
    """A run through `states`, each step half a second longer than the one before."""
    at, before = NOW, "queued"
    for number, state in enumerate(states.split()):
        at += timedelta(seconds=number / 2)
        run = Run(
            id=run_id,
            model="m",
            state=state,
            attempt=1,
            decision_seq=1,
            created_at=NOW,
            decided_at=NOW,
            updated_at=at,
            trigger=trigger,
            results={"validated": {"labelled_rows": 3080}, "gate": gate},
        )
        last = state in {"rejected", "failed", "cancelled", "rolled_back"}
        yield RunMoved(
            run=run,
            transition=Transition(
                run_id=run_id,
                seq=number,
                from_state=before,
                to_state=state,
                attempt=1,
                at=at,
                reason=reason if last else None,
                detail=detail if last else "",
            ),
        )
        before = state


WHOLE = "snapshotting validating training evaluating registering deploying verifying succeeded"
REFUSED = "snapshotting validating training evaluating rejected"


def deployed(version: int, previous: int | None, run_id: str | None, kind: str = "deploy") -> ModelDeployed:
    return ModelDeployed(
        deployment=Deployment(
            seq=version,
            model="m",
            version=version,
            baseline_digest="b",
            kind=kind,
            state=DeploymentState.LIVE,
            at=NOW,
            decided_at=NOW,
            run_id=run_id,
            previous=previous,
        ),
        version=ModelVersion(
            model="m",
            version=version,
            run_id=run_id or "r",
            path="p",
            digest="d",
            baseline_digest="b",
            snapshot="s",
            created_at=NOW,
        ),
    )


def story():
    """Chapter titles as text, everything else as events."""
    yield "A parcel service opens. No model yet: rows and labels are gathered."
    yield batch(1)
    yield batch(2, kind=BatchKind.LABELS)
    yield batch(3)
    yield decided(Verdict.START, Rule.FIRED, "440 labelled rows are enough for a first model")
    yield from moves("r1", "initial", FIRST_GATE, WHOLE)
    yield deployed(1, None, "r1")
    yield "Overnight a new hub opens."
    yield batch(4)
    yield right(1, 1, 0.85)
    yield drift(0.04, "traffic")
    yield batch(5)
    yield right(3, 1, 0.81)
    yield batch(6)
    yield right(4, 1, 0.5)
    yield drift(0.843)
    yield fired("distance_km moved: PSI 0.84 at or above 0.25 in 2 of the last 3 windows")
    yield decided(Verdict.HOLD, Rule.COOLDOWN, "2 h are left of the cooldown")
    yield decided(Verdict.HOLD, Rule.COOLDOWN, "1 h is left of the cooldown")
    yield decided(Verdict.START, Rule.FIRED, "concept_drift: distance_km moved")
    yield decided(Verdict.HOLD, Rule.RUN_ACTIVE, "a run is under way")
    yield from moves("r2", "concept_drift", GATE, WHOLE)
    yield deployed(2, 1, "r2")
    yield batch(7, BatchStatus.QUARANTINED, reason="not_parquet", detail="the footer is missing")
    yield batch(8, BatchStatus.DUPLICATE)
    yield batch(9, rows=1220)
    yield right(9, 2, 0.83)
    yield decided(Verdict.START, Rule.FIRED, "concept_drift: weight_kg moved")
    refused = GATE | {"passed": False}
    yield from moves("r3", "concept_drift", refused, REFUSED, "worse_than_champion", "0.516 is below 0.842")
    yield TickFailed(model="m", reason="worker_failed", message="the worker ended with signal 9")
    yield deployed(1, 2, None, kind="rollback")
    yield batch(10)
    yield right(10, 1, 0.6)


def tell(events, *, color: bool = False, width: int = 100, stream=None) -> str:
    stream = stream or io.StringIO()
    view = TerminalView(stream, color=color, width=width)
    for event in events:
        view.chapter(event) if isinstance(event, str) else view(event)
    view.summary(elapsed_s=12.3)
    return stream.getvalue()


GOLDEN = """\

── A parcel service opens. No model yet: rows and labels are gathered.
   1  2025-01-07    220 rows     220 labels
   2  2025-01-09    220 rows     220 labels
      ▶ a run starts: 440 labelled rows are enough for a first model
        training on 3,080 labelled rows
        snapshot 0.5 s, validate 1.0 s, train 1.5 s, evaluate 2.0 s
        gate passed: new 0.842 [0.810, 0.870] (accuracy, 600 rows)
        register 2.5 s, switch 3.0 s, verify 3.5 s
      ✔ deployed v1, after batch 2

── Overnight a new hub opens.
   3  2025-01-10    220 rows   right 85.0 %  drift █░░░░░░░░░  0.04 traffic
   4  2025-01-11    220 rows   right 83.0 %  drift █░░░░░░░░░
   5  2025-01-12    220 rows   right 72.0 %  drift ██████████  0.84 distance_km
      ! concept_drift fired: distance_km moved: PSI 0.84 at or above 0.25 in 2 of the last 3 windows
      … no run yet (cooldown): 2 h are left of the cooldown
      ▶ a run starts: concept_drift: distance_km moved
        training on 3,080 labelled rows
        snapshot 0.5 s, validate 1.0 s, train 1.5 s, evaluate 2.0 s
        gate passed: new 0.842 [0.810, 0.870], live 0.517 [0.480, 0.560] (accuracy, 600 rows)
        register 2.5 s, switch 3.0 s, verify 3.5 s
      ✔ deployed v2, was v1, after batch 5
      ! quarantined day-007.parquet (not_parquet): the footer is missing
      ! day-008.parquet has come before; it is not used twice
   6  2025-01-15  1,220 rows   right 71.3 %
      ▶ a run starts: concept_drift: weight_kg moved
        training on 3,080 labelled rows
        snapshot 0.5 s, validate 1.0 s, train 1.5 s, evaluate 2.0 s
        gate refused: new 0.842 [0.810, 0.870], live 0.517 [0.480, 0.560] (accuracy, 600 rows)
      ✘ run rejected (worse_than_champion: 0.516 is below 0.842); v2 stays
      ! trouble (worker_failed): the worker ended with signal 9
      ✔ rolled back to v1, was v2, after batch 6
   7  2025-01-16    220 rows   right 64.3 %

── In short, after 12 s
   7 batches, 2,540 rows, 1 label file, 1 quarantined, 1 duplicate
   3 runs: 1 rejected, 2 succeeded
   first model: v1 after batch 2
   2 redeployments: 1 concept_drift, 1 rollback
   v2, batch 5, concept_drift: right before 72.0 % → after 83.0 %
   v1, batch 6, rollback: right before 83.0 % → after 60.0 %
"""


def test_the_story_reads_as_it_should():
    assert tell(story()) == GOLDEN


def test_colour_changes_nothing_but_the_colour():
    colored = tell(story(), color=True)
    assert re.sub(r"\x1b\[\d+m", "", colored) == tell(story())
    assert "\x1b[32m" in colored


@pytest.mark.parametrize("width", [10, 60, 75, 76, 132, 200, 500])
def test_no_line_is_wider_than_the_terminal(width):
    text = tell(story(), width=width)
    widest = max(len(line) for line in text.splitlines())
    assert widest <= min(max(width, 60), 200)
    assert "distance_km" in text or "distanc" in text


def test_a_reason_just_told_is_not_told_twice():
    start = decided(Verdict.START, Rule.FIRED, "new_data: 6000 rows")
    assert "a run starts\n" in tell([batch(1), fired("6000 rows"), start])
    assert "a run starts: new_data: 6000 rows\n" in tell([batch(1), fired("6000 rows"), batch(2), start])


def test_each_deployment_and_each_firing_is_one_line_with_its_word():
    lines = tell(story()).splitlines()
    assert sum("deployed" in line for line in lines) == 2
    assert sum("fired" in line for line in lines) == 1


EVIL = "a\x1b[2J\r\x07\x9b31m\u202eb\n\tc"


def test_data_cannot_steer_the_terminal():
    events = [
        batch(1),
        drift(0.3, column=EVIL),
        fired(EVIL),
        decided(Verdict.START, Rule.FIRED, EVIL),
        decided(Verdict.HOLD, Rule.BUDGET, EVIL),
        *moves("r1", EVIL, GATE | {"passed": False}, REFUSED, EVIL, EVIL),
        batch(2, BatchStatus.QUARANTINED, name=EVIL, reason="bad", detail=EVIL),
        batch(3, BatchStatus.DUPLICATE, name=EVIL),
        TickFailed(model="m", reason="x", message=EVIL),
        EVIL,
        deployed(1, None, None),
        *moves("r2", EVIL, GATE, WHOLE),
        deployed(2, 1, "r2"),
    ]
    text = tell(events)
    assert [c for c in text if not c.isprintable() and c != "\n"] == []
    assert "\\x1b[2J" in text


def test_labels_that_come_with_the_rows_count_as_quality():
    text = tell([deployed(1, None, None), batch(1, error=0.25, labelled_rows=200), batch(2)])
    assert text.count("75.0 %") == 2


def test_a_window_that_could_not_be_compared_draws_no_bar():
    text = tell([batch(1), drift(None), batch(2)])
    assert "░" not in text


def test_a_stream_without_block_characters_gets_ascii():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", newline="")
    view = TerminalView(stream, color=False)
    view(batch(1))
    view(drift(0.3, column="größe"))
    view.summary()
    text = raw.getvalue().decode("ascii")
    assert "######.... " in text
    assert "gr\\xf6\\xdfe" in text


def test_colour_needs_a_terminal_and_nobody_against_it():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    def colored(stream, **environ) -> bool:
        view = terminal_view(stream, environ)
        view.chapter("x")
        return "\x1b[" in stream.getvalue()

    assert colored(Terminal(), TERM="xterm")
    assert not colored(Terminal(), TERM="dumb")
    assert not colored(Terminal(), TERM="xterm", NO_COLOR="1")
    assert not colored(io.StringIO(), TERM="xterm")


def test_clip_counts_wide_characters_twice():
    assert clip("abcdef", 6) == "abcdef"
    assert clip("abcdefg", 6) == "abcde…"
    assert clip("距離距離", 8) == "距離距離"
    assert clip("距離距離", 7) == "距離距…"
    assert clip("距離距離", 6) == "距離…"


def test_clean_leaves_ordinary_text_alone():
    assert clean("größe 距離 → 0.2") == "größe 距離 → 0.2"


def test_lines_of_several_threads_stay_whole():
    stream = io.StringIO()
    view = TerminalView(stream, color=False)

    def speak() -> None:
        for number in range(50):
            view(batch(number))
            view(fired("one reason"))

    threads = [threading.Thread(target=speak) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = stream.getvalue().splitlines()
    assert sum(line == "      ! concept_drift fired: one reason" for line in lines) == 200
    assert (
        sum(re.fullmatch(r" +\d+  2025-\d\d-\d\d +220 rows +0 labels", line) is not None for line in lines)
        == 200
    )


def test_the_first_days_tell_how_many_labels_have_come():
    labels = batch(2, kind=BatchKind.LABELS, rows=220)
    lines = tell([batch(1), labels, batch(3), fired("x"), deployed(1, None, None), batch(4)]).splitlines()
    days = [line for line in lines if "220 rows" in line]
    assert [day.partition("rows")[2].strip() for day in days[:3]] == ["220 labels", "220 labels", ""]


def test_a_run_that_was_interrupted_stands_in_the_summary():
    stream = io.StringIO()
    view = TerminalView(stream, color=False, width=80)
    for event in moves("r1", "initial", FIRST_GATE, "snapshotting validating training"):
        view(event)
    stream.write("^C")
    view.summary(interrupted=True)
    assert "^C\n" in stream.getvalue()
    assert "1 run was interrupted in training\n" in stream.getvalue()
    assert "interrupted" not in tell(story())


def test_the_legend_fits_and_tells_the_truth_about_the_bar():
    stream = io.StringIO()
    TerminalView(stream, color=False, width=80).legend(0.25)
    said = stream.getvalue()
    assert max(len(line) for line in said.splitlines()) <= 80
    assert f"full bar {BAR_PSI:g}, moved from 0.25 on" in " ".join(said.split())
