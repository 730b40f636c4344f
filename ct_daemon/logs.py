"""Logs: one line a fact, as JSON for machines or readable on a terminal, and nothing in a value can forge a line.

What comes through `structlog` and what libraries say through `logging` takes the same way: the handler that
`configure` puts on the root logger. `LogObserver` turns the events of `types.py` into such lines.
"""

from __future__ import annotations

import json as json_text
import logging
import math
import os
import re
import sys
from collections.abc import Mapping
from functools import singledispatch
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, WrappedLogger

from ct_daemon.types import (
    BatchStatus,
    BatchTaken,
    DecisionMade,
    DriftMeasured,
    DriftScore,
    Event,
    ModelDeployed,
    QualityMeasured,
    Role,
    RunMoved,
    Ticked,
    TickFailed,
    TriggerFired,
)

HANDLER = "ct_daemon"
TOP_COLUMNS = 3
"""So many columns of a drift report go into its line."""
MAX_DETAIL = 200
"""Longest detail of a file; the ledger has all of it."""
MAX_COLUMN = 100
"""Longest column name there; the names come from files."""

_CHATTY = ("alembic", "apscheduler", "httpx", "uvicorn")
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028-\u202e\u2066-\u2069]")
"""Line ends, terminal escapes (both the 7-bit and the 8-bit ones), lone surrogates, marks that turn the direction."""
_PLAIN_WORD = re.compile(r"[^\s\"'=\\]+")
_COLOURS = {"warning": "33", "error": "31", "critical": "31"}
_PLAIN: Mapping[str, str] = {}
_LEVEL_OF_STATE = {"failed": logging.ERROR, "rolled_back": logging.WARNING}
"""A run that moves elsewhere is worth an info; a rejected candidate is a normal result."""


def configure(json: bool | None = None, level: str = "info", stream: TextIO | None = None) -> None:
    """Set up logging for this process; calling it again replaces the set-up.

    Readable lines are coloured on a terminal, unless NO_COLOR is set.

    Parameters
    ----------
    json : bool, optional
        JSON lines or readable ones. None: JSON unless `stream` is a terminal.
    level : str
        ``debug``, ``info``, ``warning`` or ``error``. Below ``debug``, chatty libraries speak from ``warning`` on.
    stream : text stream, optional
        Standard error if None.
    """
    stream = sys.stderr if stream is None else stream
    as_json = not stream.isatty() if json is None else json
    readable = coloured_line if stream.isatty() and not os.environ.get("NO_COLOR") else readable_line
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    handler = logging.StreamHandler(stream)
    handler.set_name(HANDLER)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                json_line if as_json else readable,
            ],
        )
    )
    _route(handler, getattr(logging, level.upper()))


def _route(handler: logging.Handler, level: int) -> None:
    """All loggers into one handler; those that brought handlers of their own lose them."""
    root = logging.getLogger()
    for old in [h for h in root.handlers if h.get_name() == HANDLER]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    for name in _CHATTY:
        logging.getLogger(name).setLevel(level if level <= logging.DEBUG else max(level, logging.WARNING))
    logging.captureWarnings(True)


# --- lines -----------------------------------------------------------------------------------------------


def inert(text: str) -> str:
    r"""The text with control characters as visible escapes.

    Examples
    --------
    >>> inert("a.csv\nlevel=error")
    'a.csv\\nlevel=error'
    """
    return _UNSAFE.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


def json_line(logger: WrappedLogger, method: str, event: EventDict) -> str:
    """One JSON object with time, level and event first; JSON's own escapes make control characters inert."""
    first = {key: event.pop(key) for key in ("time", "level", "event") if key in event}
    text = json_text.dumps(_finite({**first, **event}), default=str, allow_nan=False)
    return text.replace("\x7f", "\\u007f")


def coloured_line(logger: WrappedLogger, method: str, event: EventDict) -> str:
    """As `readable_line`, with a warning in yellow and an error in red."""
    return readable_line(logger, method, event, colours=_COLOURS)


def readable_line(
    logger: WrappedLogger, method: str, event: EventDict, *, colours: Mapping[str, str] = _PLAIN
) -> str:
    """``12:00:00 INFO  batch.taken model=credit rows=500``; a traceback follows, indented."""
    time, level, name = (str(event.pop(key, "")) for key in ("time", "level", "event"))
    event.pop("logger", None)
    trace = event.pop("exception", None)
    values = "".join(f" {inert(key)}={_readable(value)}" for key, value in event.items() if value is not None)
    shown = f"{level.upper():<7}"
    if level in colours:
        shown = f"\x1b[{colours[level]}m{shown}\x1b[0m"
    line = f"{time[11:19]} {shown} {inert(name)}{values}"
    if trace:
        line += "".join(f"\n    {inert(text)}" for text in str(trace).split("\n"))
    return line


def _readable(value: object) -> str:
    """A value that ends where it seems to end: anything but a plain word or number is quoted."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping | list | tuple):
        value = json_text.dumps(value, default=str, ensure_ascii=False)
        return inert(value)
    text = str(value)
    return inert(text if _PLAIN_WORD.fullmatch(text) else json_text.dumps(text, ensure_ascii=False))


def _finite(value: object) -> object:
    """JSON knows no NaN and no infinity: null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value


# --- events ----------------------------------------------------------------------------------------------


class LogObserver:
    """One line for each event (implements `protocols.Observer`)."""

    def __init__(self) -> None:
        self._log = structlog.stdlib.get_logger(__name__)

    def __call__(self, event: Event) -> None:
        """Log one fact."""
        level, name, values = _line(event)
        self._log.log(level, name, **{key: value for key, value in values.items() if value not in (None, "")})


Line = tuple[int, str, dict[str, Any]]


@singledispatch
def _line(event: object) -> Line:
    """Level, name and values of an event's line."""
    raise TypeError(f"no line is defined for {type(event).__name__}")


@_line.register
def _(event: BatchTaken) -> Line:
    batch = event.batch
    refused = batch.status is BatchStatus.QUARANTINED
    values = {
        "model": batch.model,
        "batch": batch.seq,
        "source": batch.source,
        "file": batch.name,
        "status": batch.status.value,
        "rows": batch.rows,
        "labelled_rows": batch.labelled_rows,
        "error": event.error,
        "reason": batch.reason,
        "detail": _cut(batch.detail),
    }
    return (
        (logging.WARNING, "batch.quarantined", values) if refused else (logging.INFO, "batch.taken", values)
    )


def _cut(detail: str) -> str:
    """What is wrong with a file may spell out its cells: they are not for a log at any length."""
    return detail if len(detail) <= MAX_DETAIL else detail[: MAX_DETAIL - 1] + "…"


@_line.register
def _(event: DriftMeasured) -> Line:
    window, report = event.window, event.window.report
    values = {
        "model": window.model,
        "window": window.seq,
        "version": window.version,
        "batches": f"{window.first_batch_seq}-{window.last_batch_seq}",
        "rows": report.window_rows,
        "columns": len(report.features),
        "top": _top(report.features),
        "beside": _top(tuple(score for score in report.columns if score.role is not Role.FEATURE)) or None,
        "joint_auc": None if report.joint is None or report.joint.auc is None else round(report.joint.auc, 4),
        "reason": report.reason,
    }
    return (logging.WARNING if report.reason else logging.INFO, "drift.measured", values)


@_line.register
def _(event: QualityMeasured) -> Line:
    rows = sum(outcome.rows for outcome in event.outcomes)
    values = {
        "model": event.model,
        "batches": len(event.outcomes),
        "versions": sorted({outcome.version for outcome in event.outcomes}),
        "rows": rows,
        "mean_error": sum(outcome.error_sum for outcome in event.outcomes) / rows if rows else None,
    }
    return logging.INFO, "quality.measured", values


@_line.register
def _(event: TriggerFired) -> Line:
    firing = event.firing
    values = {
        "model": firing.model,
        "trigger": firing.trigger.value,
        "key": firing.dedupe_key,
        "reason": firing.reason,
    }
    return logging.INFO, "trigger.fired", values


@_line.register
def _(event: DecisionMade) -> Line:
    recorded, decision = event.recorded, event.recorded.decision
    values = {
        "model": decision.model,
        "decision": recorded.seq,
        "verdict": decision.verdict.value,
        "rule": decision.rule.value,
        "reason": decision.reason,
        "run": recorded.run_id,
        "retry_at": None if decision.retry_at is None else decision.retry_at.isoformat(),
    }
    return logging.INFO, "decision.made", values


@_line.register
def _(event: RunMoved) -> Line:
    run, step = event.run, event.transition
    values = {
        "model": run.model,
        "run": run.id,
        "state": step.to_state,
        "before": step.from_state,
        "attempt": step.attempt,
        "decision": run.decision_seq,
        "version": run.candidate,
        "reason": step.reason,
        "detail": step.detail,
    }
    return _LEVEL_OF_STATE.get(step.to_state, logging.INFO), "run.moved", values


@_line.register
def _(event: ModelDeployed) -> Line:
    deployment, quality = event.deployment, event.version.quality
    values = {
        "model": deployment.model,
        "version": deployment.version,
        "before": deployment.previous,
        "deployment": deployment.seq,
        "kind": deployment.kind,
        "run": deployment.run_id,
        "baseline": deployment.baseline_digest[:16],
        "metric": None if quality is None else quality.metric,
        "quality": None if quality is None else quality.value,
    }
    return logging.INFO, "model.deployed", values


@_line.register
def _(event: TickFailed) -> Line:
    return (
        logging.ERROR,
        "tick.failed",
        {"model": event.model, "reason": event.reason, "error": event.message},
    )


@_line.register
def _(event: Ticked) -> Line:
    values = {"model": event.model, "seconds": round(event.lasted_s, 6), "faults": list(event.faults) or None}
    return logging.DEBUG, "model.ticked", values


def _top(columns: tuple[DriftScore, ...]) -> dict[str, float]:
    """The columns that moved most, by PSI, which every kind of column has."""
    psi = {score.column: score.statistics["psi"].value for score in columns if "psi" in score.statistics}
    known = sorted(((value, column) for column, value in psi.items() if value is not None), reverse=True)
    return {column[:MAX_COLUMN]: round(value, 4) for value, column in known[:TOP_COLUMNS]}
