"""Every line of the code that works for a run, a decision or a model names it, whatever room writes the line."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from ct_daemon import logs
from ct_daemon.errors import StateError, TrainingError
from ct_daemon.testing.fakes import fault

Make = Callable[..., Any]


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Where the log of this test goes, as JSON lines."""
    one = io.StringIO()
    logs.configure(json=True, level="debug", stream=one)
    yield one
    structlog.reset_defaults()
    root = logging.getLogger()
    for handler in [h for h in root.handlers if h.get_name() == logs.HANDLER]:
        root.removeHandler(handler)
    logging.captureWarnings(False)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_every_line_of_a_run_names_run_decision_and_model(loop: Make, stream: io.StringIO) -> None:
    one = loop()
    hear = logs.LogObserver()
    one.executor._emit = one.monitor._decider._emit = one.monitor._taker._emit = hear
    # What rooms below say on their own, through structlog and through logging:
    one.trainer.before["train"] = lambda: structlog.get_logger("room").info("trainer.says")
    one.worker.before["evaluate"] = lambda: logging.getLogger("library").warning("a library says")
    one.trainer.errors["train"] = [fault(StateError, "locked"), fault(TrainingError, "disk_full")]
    one.arrive("first")
    begun = len(lines(stream))
    one.work()
    (run,) = one.ended(1)
    said = lines(stream)
    events = {line["event"] for line in said[begun:]}
    assert events >= {"run.moved", "run.waits", "trainer.says", "a library says", "model.deployed"}
    for line in said[begun:]:
        assert (line.get("run"), line.get("decision"), line.get("model")) == (
            run.id,
            run.decision_seq,
            "m",
        ), line
    before = {line["event"]: line for line in said[:begun]}
    assert before["batch.taken"]["model"] == "m"
    assert before["trigger.fired"]["decision"] == run.decision_seq
    assert (before["decision.made"]["decision"], before["decision.made"]["run"]) == (run.decision_seq, run.id)


def test_a_resumed_run_and_a_tick_name_theirs_and_nothing_is_left_behind(
    loop: Make, stream: io.StringIO
) -> None:
    one = loop()
    one.trainer.hold = {"train"}
    one.arrive("first")
    one.work()
    one.until(lambda: "train" in one.trainer.calls, "it trains")
    run = one.runs()[0]
    one.restart()
    (resumed,) = [line for line in lines(stream) if line["event"] == "run.resumed"]
    assert (resumed["run"], resumed["decision"], resumed["model"]) == (run.id, run.decision_seq, "m")
    (interrupted,) = [line for line in lines(stream) if line["event"] == "run.interrupted"]
    assert interrupted["decision"] == run.decision_seq
    one.trainer.release.set()
    one.ended(1)

    one.worker.before["take"] = lambda: structlog.get_logger("room").info("worker.says")
    one.arrive("second")
    (told,) = [line for line in lines(stream) if line["event"] == "worker.says"]
    assert told["model"] == "m"
    structlog.get_logger("room").info("after.all")
    last = lines(stream)[-1]
    assert last["event"] == "after.all"
    assert not {"model", "run", "decision"} & last.keys()
