"""All models at a glance, for who watches the daemon: few statements, whatever the number of models.

What grows with the history is counted once and then from where the counting ended (`Cursor`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, select

from ct_daemon.store import schema
from ct_daemon.store.columns import columns_of, first, values
from ct_daemon.types import (
    BatchKind,
    BatchStatus,
    DeploymentState,
    Quality,
    Rule,
    TriggerKind,
    Verdict,
    Window,
)

NEWEST = 200
"""So many of a model's newest scored batches are looked at; the monitor joins labels to no more that wait."""

_M, _B, _D, _W = schema.models, schema.batches, schema.deployments, schema.windows
_R, _T, _P, _O, _V = schema.runs, schema.transitions, schema.predictions, schema.outcomes, schema.versions


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """What is live, and the newest window that was measured against it."""

    deployment: int
    version: int
    trained_at: datetime | None
    """None where the version is recorded no more."""
    quality: Quality | None
    """At its training."""
    window: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A model's newest decision."""

    verdict: Verdict
    rule: Rule
    at: datetime
    new_rows: int | None
    new_labelled_rows: int | None
    """Rows since the last training, as the decision saw them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Active:
    """A run that has not ended, and since when it is where it is."""

    model: str
    state: str
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The state of all models at one moment. A model that a mapping does not name has none."""

    paused: frozenset[str]
    live: Mapping[str, Live]
    answers: Mapping[str, Answer]
    demands: Mapping[str, int]
    firings: Mapping[tuple[str, TriggerKind], int]
    """Claims that no run has answered."""
    active: tuple[Active, ...]
    failed_in_a_row: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCount:
    """Batches of one kind and end among those that were counted."""

    model: str
    kind: BatchKind
    status: BatchStatus
    files: int
    rows: int
    newest_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """How far a model's labels are behind its rows, over its newest scored batches."""

    waiting_rows: int
    """Rows without a label."""
    lag_s: float
    """From the arrival of the newest batch of which any label is known to that of the newest batch."""


def overview(tx: Connection, *, failed: Collection[str], succeeded: str) -> Overview:
    """All models now. `failed` and `succeeded` are states of runs."""
    return Overview(
        paused=frozenset(tx.execute(select(_M.c.model).where(_M.c.paused)).scalars()),
        live=_live(tx),
        answers=_answers(tx),
        demands=_demands(tx),
        firings=_firings(tx),
        active=tuple(
            Active(model=model, state=state, since=since)
            for model, state, since in tx.execute(
                select(_R.c.model, _R.c.state, _R.c.updated_at).where(schema.ACTIVE).order_by(_R.c.seq)
            )
        ),
        failed_in_a_row=_failed_in_a_row(tx, failed, succeeded),
    )


def _live(tx: Connection) -> dict[str, Live]:
    older = _D.alias()
    newest = (
        select(func.max(older.c.seq))
        .where(older.c.model == _M.c.model, older.c.state != DeploymentState.UNDONE)
        .correlate(_M)
        .scalar_subquery()
    )
    window = (
        select(func.max(_W.c.seq))
        .where(_W.c.model == _D.c.model, _W.c.version == _D.c.version)
        .where(_W.c.baseline_digest == _D.c.baseline_digest, _W.c.measured_at >= _D.c.at)
        .correlate(_D)
        .scalar_subquery()
    )
    version = and_(_V.c.model == _D.c.model, _V.c.version == _D.c.version)
    found = select(
        _D.c.model,
        _D.c.seq.label("deployment"),
        _D.c.version,
        _V.c.created_at.label("trained_at"),
        _V.c.quality,
        window.label("window"),
    ).select_from(_M.join(_D, _D.c.seq == newest).outerjoin(_V, version))
    return {row.pop("model"): Live(**row) for row in map(dict, tx.execute(found).mappings())}


def _answers(tx: Connection) -> dict[str, Answer]:
    decisions, older = schema.decisions, schema.decisions.alias()
    newest = select(func.max(older.c.seq)).where(older.c.model == _M.c.model).correlate(_M).scalar_subquery()
    found = select(
        decisions.c.model,
        decisions.c.verdict,
        decisions.c.rule,
        decisions.c.last_at.label("at"),
        _seen("new_rows"),
        _seen("new_labelled_rows"),
    ).select_from(_M.join(decisions, decisions.c.seq == newest))
    return {row.pop("model"): Answer(**row) for row in map(dict, tx.execute(found).mappings())}


def _seen(name: str) -> ColumnElement[Any]:
    """One number of what the triggers saw."""
    return func.json_extract(schema.decisions.c.observation, f"$.{name}").label(name)


def _demands(tx: Connection) -> dict[str, int]:
    model = schema.demands.c.model
    waiting = select(model, func.count()).where(schema.PENDING).group_by(model)
    return {model: count for model, count in tx.execute(waiting).all()}  # noqa: C416  (a row is no tuple for mypy)


def _firings(tx: Connection) -> dict[tuple[str, TriggerKind], int]:
    firings = schema.firings.c
    waiting = select(firings.model, firings.trigger, func.count()).where(schema.UNANSWERED)
    found = tx.execute(waiting.group_by(firings.model, firings.trigger))
    return {(model, trigger): count for model, trigger, count in found}


def _failed_in_a_row(tx: Connection, failed: Collection[str], succeeded: str) -> dict[str, int]:
    older = _R.alias()
    good = (
        select(func.coalesce(func.max(older.c.seq), 0))
        .where(older.c.model == _M.c.model, older.c.state == succeeded)
        .correlate(_M)
        .scalar_subquery()
    )
    count = (
        select(func.count())
        .where(_R.c.model == _M.c.model, _R.c.state.in_(tuple(failed)), _R.c.seq > good)
        .correlate(_M)
        .scalar_subquery()
    )
    return {model: number for model, number in tx.execute(select(_M.c.model, count)) if number}


class Cursor:
    """Counts of files and of ended runs, carried on from call to call. For one thread at a time.

    Parameters
    ----------
    ends : collection of str
        The states in which a run has ended.
    """

    def __init__(self, ends: Collection[str]) -> None:
        self._ends = tuple(ends)
        self._batch_seq = self._transition_seq = 0
        self.batches: dict[tuple[str, BatchKind, BatchStatus], BatchCount] = {}
        self.ended: dict[tuple[str, str], int] = {}
        """Runs by model and end."""

    def go_on(self, tx: Connection) -> None:
        """Count what came since the last call."""
        batch_seq = tx.execute(select(func.coalesce(func.max(_B.c.seq), 0))).scalar_one()
        transition_seq = tx.execute(select(func.coalesce(func.max(_T.c.seq), 0))).scalar_one()
        batches, ended = self._new_batches(tx), self._newly_ended(tx)
        for one in batches:
            key = (one.model, one.kind, one.status)
            known = self.batches.get(key)
            self.batches[key] = one if known is None else _sum(known, one)
        for model, state, count in ended:
            self.ended[model, state] = self.ended.get((model, state), 0) + count
        self._batch_seq, self._transition_seq = batch_seq, transition_seq

    def _new_batches(self, tx: Connection) -> tuple[BatchCount, ...]:
        kinds = (_B.c.model, _B.c.kind, _B.c.status)
        new = select(
            *kinds,
            func.count().label("files"),
            func.sum(_B.c.rows).label("rows"),
            func.max(_B.c.arrived_at).label("newest_at"),
        ).where(_B.c.seq > self._batch_seq)
        return values(tx, BatchCount, new.group_by(*kinds))

    def _newly_ended(self, tx: Connection) -> tuple[tuple[str, str, int], ...]:
        new = select(_R.c.model, _T.c.to_state, func.count()).join_from(_T, _R, _R.c.id == _T.c.run_id)
        new = new.where(_T.c.seq > self._transition_seq, _T.c.to_state.in_(self._ends))
        found = tx.execute(new.group_by(_R.c.model, _T.c.to_state))
        return tuple((model, state, count) for model, state, count in found)


def _sum(former: BatchCount, latter: BatchCount) -> BatchCount:
    return BatchCount(
        model=former.model,
        kind=former.kind,
        status=former.status,
        files=former.files + latter.files,
        rows=former.rows + latter.rows,
        newest_at=max(former.newest_at, latter.newest_at),
    )


def labels_of(tx: Connection, model: str) -> Labels | None:
    """How far the labels are behind; None if nothing has been scored."""
    same = and_(_O.c.model == _P.c.model, _O.c.batch_seq == _P.c.batch_seq, _O.c.version == _P.c.version)
    found = tx.execute(
        select(_P.c.rows, func.coalesce(_O.c.rows, 0).label("labelled"), _B.c.arrived_at)
        .join_from(_P, _B, _B.c.seq == _P.c.batch_seq)
        .outerjoin(_O, same)
        .where(_P.c.model == model)
        .order_by(_P.c.batch_seq.desc(), _P.c.version.desc())
        .limit(NEWEST)
    ).all()
    if not found:
        return None
    known = next((row.arrived_at for row in found if row.labelled), found[-1].arrived_at)
    return Labels(
        waiting_rows=sum(max(row.rows - row.labelled, 0) for row in found),
        lag_s=max((found[0].arrived_at - known).total_seconds(), 0.0),
    )


def window(tx: Connection, seq: int) -> Window | None:
    """One window with its report."""
    return first(tx, Window, select(*columns_of(_W, Window)).where(_W.c.seq == seq))
