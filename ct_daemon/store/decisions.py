"""The policy's answers with all that each rests on. A run of identical holds is one row with a count."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, insert, select, update

from ct_daemon.errors import UnknownNameError
from ct_daemon.store import schema
from ct_daemon.store.columns import columns_of, first, values
from ct_daemon.types import Decision, JsonDict, RecordedDecision, Situation, Verdict

_T = schema.decisions
_DECISION = select(*columns_of(_T, RecordedDecision))


class Decisions:
    """The ledger of decisions."""

    def record(
        self,
        tx: Connection,
        decision: Decision,
        situation: Situation,
        observation: JsonDict,
        at: datetime,
    ) -> tuple[RecordedDecision, bool]:
        """Record a decision.

        A hold or ignore with the same rule and the same firings as the model's newest decision is folded into it:
        the count rises, and the row keeps the newest decision with its own inputs, so that it can be replayed.

        Returns
        -------
        (RecordedDecision, bool)
            The row, and whether it is a new one.
        """
        newest = self.newest(tx, decision.model)
        if newest is not None and _alike(newest.decision, decision):
            folded = replace(
                newest,
                decision=decision,
                situation=situation,
                observation=dict(observation),
                last_at=at,
                count=newest.count + 1,
            )
            self._fold(tx, folded)
            return folded, False
        added = insert(_T).values(
            model=decision.model,
            verdict=decision.verdict,
            rule=decision.rule,
            decision=decision,
            situation=situation,
            observation=dict(observation),
            first_at=at,
            last_at=at,
            count=1,
        )
        seq = tx.execute(added.returning(_T.c.seq)).scalar_one()
        return self.get(tx, seq), True

    def attach_run(self, tx: Connection, seq: int, run_id: str) -> None:
        """The decision began this run."""
        if tx.execute(update(_T).where(_T.c.seq == seq).values(run_id=run_id)).rowcount == 0:
            raise _unknown(seq)

    def get(self, tx: Connection, seq: int) -> RecordedDecision:
        """One decision; `UnknownNameError` if there is none."""
        found = first(tx, RecordedDecision, _DECISION.where(_T.c.seq == seq))
        if found is None:
            raise _unknown(seq)
        return found

    def newest(self, tx: Connection, model: str) -> RecordedDecision | None:
        """The model's newest decision."""
        return first(tx, RecordedDecision, _DECISION.where(_T.c.model == model).order_by(_T.c.seq.desc()))

    def list(
        self, tx: Connection, model: str | None = None, *, before_seq: int | None = None, limit: int = 100
    ) -> tuple[RecordedDecision, ...]:
        """Decisions of one model or of all, newest first, from before `before_seq`."""
        found = _DECISION
        if model is not None:
            found = found.where(_T.c.model == model)
        if before_seq is not None:
            found = found.where(_T.c.seq < before_seq)
        return values(tx, RecordedDecision, found.order_by(_T.c.seq.desc()).limit(limit))

    def _fold(self, tx: Connection, folded: RecordedDecision) -> None:
        tx.execute(
            update(_T)
            .where(_T.c.seq == folded.seq)
            .values(
                decision=folded.decision,
                situation=folded.situation,
                observation=folded.observation,
                last_at=folded.last_at,
                count=folded.count,
            )
        )


def _alike(former: Decision, latter: Decision) -> bool:
    """Whether the two are one answer; a start is like no other."""
    return latter.verdict is not Verdict.START and _answer(former) == _answer(latter)


def _answer(decision: Decision) -> tuple[object, ...]:
    fired = [(firing.trigger, firing.dedupe_key) for firing in decision.firings]
    return decision.verdict, decision.rule, *fired


def _unknown(seq: int) -> UnknownNameError:
    return UnknownNameError(
        f"there is no decision {seq}: it never was, or retention has removed it", reason="unknown_decision"
    )
