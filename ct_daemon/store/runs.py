"""Runs and their transitions. Every write is conditional, so that only one process can carry a run on.

The *fence* of a run is its (state, attempt): whoever takes a run up raises `attempt`, and a write that still holds
an older pair changes nothing and is told so. A run that has ended is beyond every write.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, TextClause, select, update
from sqlalchemy.dialects.sqlite import insert

from ct_daemon.errors import ConflictError, UnknownNameError
from ct_daemon.store import schema
from ct_daemon.store.columns import columns_of, first, values
from ct_daemon.types import JsonDict, Run, Transition

PUT_DOWN = "put_down"
"""How often a holder has stopped on purpose, among a run's results."""
QUEUED = "queued"
"""The state in which a run begins and from which it is claimed."""

_T, _H = schema.runs, schema.transitions
_RUN = select(*columns_of(_T, Run))
_TRANSITION = select(*columns_of(_H, Transition))


class Runs:
    """The runs of all models. Which states end a run is the caller's knowledge (`terminal`)."""

    # --- asking -------------------------------------------------------------------------------------------

    def get(self, tx: Connection, run_id: str) -> Run:
        """One run; `UnknownNameError` if there is none."""
        found = first(tx, Run, _RUN.where(_T.c.id == run_id))
        if found is None:
            raise UnknownNameError(
                f"there is no run {run_id!r}: 'ct-daemon runs' lists the runs", reason="unknown_run"
            )
        return found

    def list(
        self,
        tx: Connection,
        model: str | None = None,
        *,
        state: str | None = None,
        before: str | None = None,
        limit: int = 100,
    ) -> tuple[Run, ...]:
        """Runs of one model or of all, newest first, from before the run `before`.

        Raises
        ------
        UnknownNameError
            `unknown_run`: there is no run `before`.
        """
        found = _RUN if model is None else _RUN.where(_T.c.model == model)
        if state is not None:
            found = found.where(_T.c.state == state)
        if before is not None:
            self.get(tx, before)
            found = found.where(_T.c.seq < select(_T.c.seq).where(_T.c.id == before).scalar_subquery())
        return values(tx, Run, found.order_by(_T.c.seq.desc()).limit(limit))

    def active(self, tx: Connection, model: str) -> Run | None:
        """The model's run that has not ended."""
        return first(tx, Run, _RUN.where(_T.c.model == model, schema.ACTIVE))

    def all_active(self, tx: Connection) -> tuple[Run, ...]:
        """All runs that have not ended, oldest first."""
        return values(tx, Run, _RUN.where(schema.ACTIVE).order_by(_T.c.seq))

    def queued(self, tx: Connection) -> tuple[Run, ...]:
        """Runs that nobody has claimed yet, oldest first."""
        return values(tx, Run, _RUN.where(schema.ACTIVE, _T.c.state == QUEUED).order_by(_T.c.seq))

    def transitions(self, tx: Connection, run_id: str, *, after_seq: int = 0) -> tuple[Transition, ...]:
        """All steps of a run after `after_seq`, oldest first."""
        mine = _TRANSITION.where(_H.c.run_id == run_id, _H.c.seq > after_seq)
        return values(tx, Transition, mine.order_by(_H.c.seq))

    # --- moving -------------------------------------------------------------------------------------------

    def create(
        self,
        tx: Connection,
        *,
        id: str,
        model: str,
        decision_seq: int,
        decided_at: datetime,
        trigger: str,
        at: datetime,
    ) -> Run:
        """A new run in state `queued`.

        Raises
        ------
        ConflictError
            `run_active`: the model has a run that has not ended.
        """
        fresh = insert(_T).values(
            id=id,
            model=model,
            state=QUEUED,
            active=True,
            attempt=0,
            decision_seq=decision_seq,
            created_at=at,
            decided_at=decided_at,
            updated_at=at,
            trigger=trigger,
            cancel_requested=False,
            detail="",
            results={},
        )
        only = fresh.on_conflict_do_nothing(index_elements=["model"], index_where=schema.ACTIVE)
        if tx.execute(only).rowcount == 0:
            active = self.active(tx, model)
            raise ConflictError(
                f"model {model} has an active run already ({active.id if active else 'ended just now'}): "
                "wait for its end or cancel it",
                reason="run_active",
            )
        run = self.get(tx, id)
        _note(tx, run, from_state=None)
        return run

    def claim(self, tx: Connection, run_id: str, to_state: str, at: datetime) -> tuple[Run, Transition]:
        """Begin to work on a queued run: it goes to `to_state`, and the attempt rises.

        Raises
        ------
        ConflictError
            `fenced`: it is queued no more.
        """
        new = {"state": to_state, "attempt": _T.c.attempt + 1, "updated_at": at}
        self._write(tx, run_id, _T.c.state == QUEUED, new=new)
        run = self.get(tx, run_id)
        return run, _note(tx, run, from_state=QUEUED)

    def take_over(self, tx: Connection, run_id: str, at: datetime) -> Run:
        """Go on with a run whose process died: same state, next attempt. The former holder is fenced off.

        Raises
        ------
        ConflictError
            `fenced`: it has ended.
        """
        self._write(tx, run_id, new={"attempt": _T.c.attempt + 1, "updated_at": at})
        return self.get(tx, run_id)

    def put_down(self, tx: Connection, run: Run) -> None:
        """The holder stops on purpose: the next attempt is not one after a crash. `fenced` as in `move`."""
        known = self.get(tx, run.id).results
        results = {**known, PUT_DOWN: known.get(PUT_DOWN, 0) + 1}
        self._write(tx, run.id, *_fence(run), new={"results": results})

    def move(
        self,
        tx: Connection,
        run: Run,
        to_state: str,
        at: datetime,
        *,
        terminal: bool = False,
        reason: str | None = None,
        detail: str = "",
        results: JsonDict | None = None,
        snapshot: str | None = None,
        candidate: int | None = None,
    ) -> tuple[Run, Transition]:
        """Bring a run to its next state and note the step, in the same transaction.

        Parameters
        ----------
        run : Run
            The run as the caller knows it; its state and attempt are the fence.
        terminal : bool
            The run ends here and never changes again.
        results : mapping, optional
            Added to the run's results; a name that is there already gets the new value.
        snapshot, candidate
            Set where given, else left.

        Raises
        ------
        ConflictError
            `fenced`: the run is not in that state and attempt any more.
        """
        new: dict[str, Any] = {
            "state": to_state,
            "active": not terminal,
            "updated_at": at,
            "reason": reason,
            "detail": detail,
            "results": {**self.get(tx, run.id).results, **(results or {})},
        }
        if snapshot is not None:
            new["snapshot"] = snapshot
        if candidate is not None:
            new["candidate"] = candidate
        if terminal:
            new |= {"child_pid": None, "child_started": None}
        self._write(tx, run.id, *_fence(run), new=new)
        moved = self.get(tx, run.id)
        return moved, _note(tx, moved, from_state=run.state)

    def note_child(self, tx: Connection, run: Run, pid: int, started: float) -> None:
        """Remember the trainer process: its id and its start time, which together name it. `fenced` as in `move`."""
        self._write(tx, run.id, *_fence(run), new={"child_pid": pid, "child_started": started})

    def request_cancel(self, tx: Connection, run_id: str) -> Run:
        """Ask whoever carries the run to end it; `fenced` if it has ended."""
        self._write(tx, run_id, new={"cancel_requested": True})
        return self.get(tx, run_id)

    def _write(
        self, tx: Connection, run_id: str, *fence: ColumnElement[bool] | TextClause, new: dict[str, Any]
    ) -> None:
        """The only place that changes a run."""
        changed = tx.execute(update(_T).where(_T.c.id == run_id, schema.ACTIVE, *fence).values(**new))
        if changed.rowcount == 0:
            now = self.get(tx, run_id)
            raise ConflictError(
                f"run {run_id} is in state {now.state}, attempt {now.attempt}, and not as the writer believed: "
                "nothing was changed; look at the run again",
                reason="fenced",
            )


def _fence(run: Run) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return _T.c.state == run.state, _T.c.attempt == run.attempt


def _note(tx: Connection, run: Run, *, from_state: str | None) -> Transition:
    fresh = insert(_H).values(
        run_id=run.id,
        from_state=from_state,
        to_state=run.state,
        attempt=run.attempt,
        at=run.updated_at,
        reason=run.reason,
        detail=run.detail,
    )
    seq = tx.execute(fresh.returning(_H.c.seq)).scalar_one()
    return values(tx, Transition, _TRANSITION.where(_H.c.seq == seq))[0]
