"""Log lines: complete, one a fact, and not to be forged."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, get_args

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from ct_daemon import logs
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
    Event,
    Firing,
    ModelDeployed,
    ModelVersion,
    Outcome,
    Quality,
    QualityMeasured,
    RecordedDecision,
    Rule,
    Run,
    RunMoved,
    Situation,
    Statistic,
    Ticked,
    TickFailed,
    Transition,
    TriggerFired,
    TriggerKind,
    Verdict,
    Window,
)

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _put_back(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Logging is global: leave it as it was found. No colours but where a test wants them."""
    monkeypatch.setenv("NO_COLOR", "1")
    root = logging.getLogger()
    level = root.level
    yield
    for handler in [h for h in root.handlers if h.get_name() == logs.HANDLER]:
        root.removeHandler(handler)
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def lines_of(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_has_time_level_event_and_values() -> None:
    stream = io.StringIO()
    logs.configure(stream=stream)
    structlog.get_logger("ct_daemon.x").info("run.moved", model="credit", run="r1", rows=3, at=AT)
    [line] = lines_of(stream)
    assert datetime.fromisoformat(line.pop("time")).tzinfo is not None
    assert line == {
        "level": "info",
        "event": "run.moved",
        "logger": "ct_daemon.x",
        "model": "credit",
        "run": "r1",
        "rows": 3,
        "at": str(AT),
    }
    assert list(json.loads(stream.getvalue()))[:3] == ["time", "level", "event"]


def test_a_terminal_gets_readable_lines_unless_json_is_asked_for() -> None:
    for stream, json_asked, is_json in (
        (Terminal(), None, False),
        (Terminal(), True, True),
        (io.StringIO(), None, True),
        (io.StringIO(), False, False),
    ):
        logs.configure(json_asked, "info", stream)
        structlog.get_logger().warning("batch.quarantined", file="a b.csv", rows=0, share=1 / 3)
        assert stream.getvalue().startswith("{") == is_json
        if not is_json:
            assert (
                stream.getvalue()[8:] == ' WARNING batch.quarantined file="a b.csv" rows=0 share=0.333333\n'
            )


@pytest.mark.parametrize(
    ("level", "shown"),
    [("info", "INFO   "), ("warning", "\x1b[33mWARNING\x1b[0m"), ("error", "\x1b[31mERROR  \x1b[0m")],
)
def test_on_a_terminal_trouble_is_coloured(monkeypatch: pytest.MonkeyPatch, level: str, shown: str) -> None:
    monkeypatch.delenv("NO_COLOR")
    for stream, asked, coloured in ((Terminal(), None, True), (io.StringIO(), False, False)):
        logs.configure(asked, "info", stream)
        getattr(structlog.get_logger(), level)("event", file="\x1b[2J")
        assert stream.getvalue()[9:].startswith(shown + " event ") is (coloured or level == "info")
        assert "\x1b[2J" not in stream.getvalue()


def test_cells_of_a_refused_file_do_not_fill_the_log() -> None:
    stream = io.StringIO()
    logs.configure(stream=stream)
    refused = replace(batch(BatchStatus.QUARANTINED, "unreadable"), detail="cell " + "4711 " * 1000)
    logs.LogObserver()(BatchTaken(batch=refused))
    (line,) = lines_of(stream)
    assert len(line["detail"]) == 200
    assert line["detail"].endswith("…")


def test_libraries_take_the_same_way_and_lose_their_own_handlers() -> None:
    stream = io.StringIO()
    own = io.StringIO()
    logging.getLogger("uvicorn.error").addHandler(logging.StreamHandler(own))
    logs.configure(stream=stream)
    for name in ("uvicorn.error", "apscheduler.scheduler", "alembic.runtime", "sqlalchemy.engine"):
        logging.getLogger(name).warning("from %s", name, extra={"run": "r1"})
        logging.getLogger(name).debug("not this")
    assert [(line["event"], line["run"]) for line in lines_of(stream)] == [
        (f"from {name}", "r1")
        for name in ("uvicorn.error", "apscheduler.scheduler", "alembic.runtime", "sqlalchemy.engine")
    ]
    assert own.getvalue() == ""


@pytest.mark.parametrize(("level", "heard"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_the_level_holds_for_ours_and_theirs(level: str, heard: int) -> None:
    for log in (structlog.get_logger("ours"), logging.getLogger("theirs")):
        stream = io.StringIO()
        logs.configure(True, level, stream)
        for method in ("debug", "info", "warning", "error"):
            getattr(log, method)("event")
        assert len(lines_of(stream)) == heard


def test_configuring_again_replaces_and_does_not_double() -> None:
    first, second = io.StringIO(), io.StringIO()
    log = structlog.get_logger()
    for stream in (first, second):
        logs.configure(stream=stream)
        log.info("once")
    assert len(lines_of(first)) == len(lines_of(second)) == 1


def test_warnings_of_python_become_lines() -> None:
    stream = io.StringIO()
    logs.configure(stream=stream)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn("old\nhabit", UserWarning, stacklevel=1)
    [line] = lines_of(stream)
    assert (line["level"], "old\nhabit" in line["event"]) == ("warning", True)


def test_context_goes_into_every_line() -> None:
    stream = io.StringIO()
    logs.configure(stream=stream)
    structlog.contextvars.bind_contextvars(model="credit")
    structlog.get_logger().info("a")
    logging.getLogger("b").warning("b")
    assert [line["model"] for line in lines_of(stream)] == ["credit", "credit"]


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()], ids=["json", "terminal"])
def test_an_exception_is_told_with_its_traceback(stream: io.StringIO) -> None:
    logs.configure(stream=stream)
    try:
        raise ValueError("bad\n12:00:00 INFO run.moved state=succeeded \x1b[2J")
    except ValueError:
        structlog.get_logger().exception("tick.broke", model="credit")
    said = stream.getvalue()
    assert "Traceback" in said
    assert "ValueError" in said
    assert "\x1b" not in said
    assert sum(not line.startswith("    ") for line in said.splitlines()) == 1


def test_numbers_that_json_does_not_know_are_null() -> None:
    stream = io.StringIO()
    logs.configure(stream=stream)
    structlog.get_logger().info("a", x=float("nan"), y={"z": [float("inf"), 1.5]})
    [line] = lines_of(stream)
    assert (line["x"], line["y"]) == (None, {"z": [None, 1.5]})


@given(st.text(), st.text(st.characters(codec=None)), st.lists(st.text(), max_size=2))
@pytest.mark.parametrize("as_json", [True, False])
def test_no_value_can_forge_a_line(as_json: bool, event: str, value: str, inner: list[str]) -> None:
    stream = io.StringIO()
    logs.configure(as_json, "info", stream)
    structlog.get_logger().info(event, file=value, inner=inner, mapping={"key": value})
    said = stream.getvalue()
    assert said.endswith("\n")
    assert len(said.splitlines()) == 1  # splitlines knows every kind of line end
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 or c in "\u202e\u2066" for c in said[:-1])
    said.encode()
    if as_json and not any(0xD800 <= ord(c) <= 0xDFFF for c in value):
        assert json.loads(said)["file"] == value


def test_on_a_terminal_a_value_ends_where_it_seems_to_end() -> None:
    stream = Terminal()
    logs.configure(stream=stream)
    structlog.get_logger().info("a", file='x" level=error run=forged', column="a=b")
    assert stream.getvalue()[8:] == ' INFO    a file="x\\" level=error run=forged" column="a=b"\n'


# --- events ----------------------------------------------------------------------------------------------


def batch(status: BatchStatus, reason: str | None = None) -> Batch:
    return Batch(
        seq=7,
        model="credit",
        source="rows",
        name="a.csv",
        kind=BatchKind.ROWS,
        status=status,
        digest="d" * 64,
        size_bytes=10,
        arrived_at=AT,
        rows=100,
        labelled_rows=0,
        reason=reason,
    )


def score(column: str, psi: float | None) -> DriftScore:
    return DriftScore(
        column=column,
        kind=ColumnKind.NUMERIC,
        baseline_rows=1000,
        window_rows=500,
        statistics={"psi": Statistic(value=psi)},
    )


def window(*columns: DriftScore, reason: str | None = None) -> Window:
    return Window(
        seq=3,
        model="credit",
        version=2,
        baseline_digest="b" * 64,
        first_batch_seq=5,
        last_batch_seq=7,
        report=DriftReport(baseline_rows=1000, window_rows=500, columns=columns, reason=reason),
        measured_at=AT,
    )


def moved(to_state: str, reason: str | None = None) -> RunMoved:
    run = Run(
        id="r1",
        model="credit",
        state=to_state,
        attempt=1,
        decision_seq=9,
        created_at=AT,
        decided_at=AT,
        updated_at=AT,
        trigger="new_data",
    )
    step = Transition(
        run_id="r1", seq=2, from_state="training", to_state=to_state, attempt=1, at=AT, reason=reason
    )
    return RunMoved(run=run, transition=step)


FIRING = Firing(model="credit", trigger=TriggerKind.NEW_DATA, dedupe_key="rows:7", reason="500 new rows")
DECIDED = RecordedDecision(
    seq=9,
    decision=Decision(
        model="credit",
        now=AT,
        verdict=Verdict.START,
        rule=Rule.FIRED,
        reason="new data",
        would_change="nothing",
        firings=(FIRING,),
    ),
    situation=Situation(model="credit"),
    observation={},
    first_at=AT,
    last_at=AT,
    count=1,
    run_id="r1",
)
QUALITY = Quality(metric="accuracy", value=0.9, rows=200, low=0.85, high=0.94)
DEPLOYED = ModelDeployed(
    deployment=Deployment(
        seq=4,
        model="credit",
        version=3,
        baseline_digest="b" * 64,
        kind="deploy",
        state=DeploymentState.LIVE,
        at=AT,
        decided_at=AT,
        run_id="r1",
        previous=2,
    ),
    version=ModelVersion(
        model="credit",
        version=3,
        run_id="r1",
        path="versions/credit/v000003",
        digest="d" * 64,
        baseline_digest="b" * 64,
        snapshot="s",
        created_at=AT,
        quality=QUALITY,
    ),
)
OUTCOMES = tuple(Outcome(batch_seq=n, version=2, rows=50, error_sum=5.0, squared_sum=5.0) for n in (1, 2))

EXPECTED: list[tuple[Event, str, str, dict[str, Any]]] = [
    (
        BatchTaken(batch=batch(BatchStatus.ACCEPTED), error=0.0),
        "info",
        "batch.taken",
        {"model": "credit", "batch": 7, "file": "a.csv", "rows": 100, "status": "accepted", "error": 0.0},
    ),
    (
        BatchTaken(batch=batch(BatchStatus.DUPLICATE, "duplicate")),
        "info",
        "batch.taken",
        {"status": "duplicate", "reason": "duplicate"},
    ),
    (
        BatchTaken(batch=batch(BatchStatus.QUARANTINED, "too_large")),
        "warning",
        "batch.quarantined",
        {"batch": 7, "reason": "too_large"},
    ),
    (
        DriftMeasured(window=window(*(score(f"c{n}", n / 10) for n in range(5)), score("none", None))),
        "info",
        "drift.measured",
        {"window": 3, "version": 2, "rows": 500, "columns": 6, "top": {"c4": 0.4, "c3": 0.3, "c2": 0.2}},
    ),
    (
        DriftMeasured(window=window(reason="baseline_empty")),
        "warning",
        "drift.measured",
        {"reason": "baseline_empty"},
    ),
    (
        QualityMeasured(model="credit", outcomes=OUTCOMES),
        "info",
        "quality.measured",
        {"batches": 2, "rows": 100, "mean_error": 0.1, "versions": [2]},
    ),
    (
        TriggerFired(firing=FIRING),
        "info",
        "trigger.fired",
        {"trigger": "new_data", "key": "rows:7", "reason": "500 new rows"},
    ),
    (
        DecisionMade(recorded=DECIDED),
        "info",
        "decision.made",
        {"decision": 9, "verdict": "start", "rule": "fired", "run": "r1"},
    ),
    (moved("evaluating"), "info", "run.moved", {"run": "r1", "before": "training", "state": "evaluating"}),
    (moved("rejected", "not_better"), "info", "run.moved", {"reason": "not_better"}),
    (moved("failed", "timeout"), "error", "run.moved", {"reason": "timeout", "decision": 9}),
    (moved("rolled_back"), "warning", "run.moved", {"state": "rolled_back"}),
    (
        DEPLOYED,
        "info",
        "model.deployed",
        {"version": 3, "before": 2, "run": "r1", "metric": "accuracy", "quality": 0.9},
    ),
    (
        TickFailed(model="credit", reason="folder_missing", message="create it"),
        "error",
        "tick.failed",
        {"reason": "folder_missing", "error": "create it"},
    ),
    (
        Ticked(model="credit", at=AT, lasted_s=0.25, faults=("folder_missing",)),
        "debug",
        "model.ticked",
        {"seconds": 0.25, "faults": ["folder_missing"]},
    ),
    (Ticked(model="credit", at=AT, lasted_s=0.25), "debug", "model.ticked", {"faults": None}),
]


@pytest.mark.parametrize(("event", "level", "name", "values"), EXPECTED)
def test_each_event_is_one_line_with_its_ids(
    event: Event, level: str, name: str, values: dict[str, Any]
) -> None:
    stream = io.StringIO()
    logs.configure(True, "debug", stream)
    observer: Callable[[Event], None] = logs.LogObserver()
    observer(event)
    [line] = lines_of(stream)
    assert (line["level"], line["event"], line["model"]) == (level, name, "credit")
    assert {key: line.get(key) for key in values} == values


def test_every_kind_of_event_has_its_line() -> None:
    assert {type(event) for event, *_ in EXPECTED} == set(get_args(Event))


def test_an_event_without_a_line_is_an_error() -> None:
    with pytest.raises(TypeError, match="no line"):
        logs.LogObserver()(object())  # type: ignore[arg-type]
