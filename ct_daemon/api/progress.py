"""The progress of a run, or of a demand until its run ends, as events to send: what is new since the last look."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from ct_daemon.api.output import metrics_after
from ct_daemon.api.problems import Document
from ct_daemon.folders import StateFolder
from ct_daemon.pipeline.states import TERMINAL, RunState
from ct_daemon.store.store import Store
from ct_daemon.types import Demand, Transition
from ct_daemon.views import run_document

_POSITION = re.compile(r"(\d{1,15})-(\d{1,15})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """How much of a run was sent: its last step, and bytes of its measurements."""

    step: int = 0
    metrics: int = 0

    @classmethod
    def parse(cls, text: str | None) -> Position:
        """From a ``Last-Event-ID``; the beginning for one that is not ours."""
        found = _POSITION.fullmatch(text or "")
        return cls() if found is None else cls(step=int(found[1]), metrics=int(found[2]))

    def __str__(self) -> str:
        return f"{self.step}-{self.metrics}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One event of the stream: `waiting`, `run`, `move`, `metrics` or `end`."""

    kind: str
    data: dict[str, Any]
    position: Position

    def frame(self) -> bytes:
        """As Server-Sent Events spell it. JSON has no line ends, so none can be forged."""
        data = Document(None).render(self.data)
        return b"id: %s\nevent: %s\ndata: %s\n\n" % (str(self.position).encode(), self.kind.encode(), data)


class Progress:
    """Looks at the ledger again and again. Not thread-safe: one stream has one.

    Parameters
    ----------
    demand_id, run_id : str
        One of them.
    position : Position
        What the client has already.

    Raises
    ------
    UnknownNameError
        There is no such demand or run.
    """

    def __init__(
        self,
        store: Store,
        folders: StateFolder,
        *,
        demand_id: str | None = None,
        run_id: str | None = None,
        position: Position | None = None,
    ) -> None:
        self._store, self._folders = store, folders
        self._demand_id, self._run_id = demand_id, run_id
        self._at = position or Position()
        self._waits_for = ""
        self._introduced = False
        self.behind = False
        """More was measured than is told in one go: look again at once."""
        self.ended = False
        """The `end` was told; there is nothing more to come."""
        with store.read() as tx:
            if run_id is not None:
                store.runs.get(tx, run_id)
            elif demand_id is not None:
                store.demands.get(tx, demand_id)

    def look(self) -> list[Told]:
        """What is new."""
        with self._store.read() as tx:
            told = list(self._of_demand(tx)) if self._run_id is None else []
            if self._run_id is not None:
                told += self._of_run(tx, self._run_id)
        return told

    def _of_demand(self, tx: Connection) -> Iterator[Told]:
        assert self._demand_id is not None
        demand = self._store.demands.get(tx, self._demand_id)
        self._run_id = demand.run_id
        if demand.cancelled:
            yield self._end({"state": RunState.CANCELLED.value, "detail": "the demand was taken back"})
        elif demand.run_id is None:
            yield from self._waiting(tx, demand)

    def _waiting(self, tx: Connection, demand: Demand) -> Iterator[Told]:
        newest = self._store.decisions.newest(tx, demand.model)
        if newest is None or newest.decision.reason == self._waits_for:
            return
        decision = newest.decision
        self._waits_for = decision.reason
        yield self._told(
            "waiting",
            {
                "demand": demand.id,
                "model": demand.model,
                "rule": decision.rule.value,
                "reason": decision.reason,
                "would_change": decision.would_change,
            },
        )

    def _of_run(self, tx: Connection, run_id: str) -> Iterator[Told]:
        run = self._store.runs.get(tx, run_id)
        document = run_document(run)
        if not self._introduced:
            self._introduced = True
            yield self._told("run", document)
        moves = self._store.runs.transitions(tx, run_id, after_seq=self._at.step)
        yield from self._moved(move for move in moves if move.to_state not in TERMINAL)
        yield from self._measured(run_id)
        if run.state in TERMINAL and not self.behind:
            yield from self._moved(move for move in moves if move.to_state in TERMINAL)
            yield self._end(document)

    def _moved(self, moves: Iterable[Transition]) -> Iterator[Told]:
        for move in moves:
            self._at = Position(step=move.seq, metrics=self._at.metrics)
            yield self._told("move", _step(move))

    def _measured(self, run_id: str) -> Iterator[Told]:
        found, offset = metrics_after(self._folders, run_id, self._at.metrics)
        self.behind = offset > self._at.metrics
        self._at = Position(step=self._at.step, metrics=offset)
        for values in found:
            yield self._told("metrics", values)

    def _end(self, data: dict[str, Any]) -> Told:
        self.ended = True
        return self._told("end", data)

    def _told(self, kind: str, data: dict[str, Any]) -> Told:
        return Told(kind=kind, data=data, position=self._at)


def _step(move: Transition) -> dict[str, Any]:
    return {
        "run": move.run_id,
        "seq": move.seq,
        "from": move.from_state,
        "to": move.to_state,
        "at": move.at.isoformat(),
        "attempt": move.attempt,
        "reason": move.reason,
        "detail": move.detail,
    }
