"""What the story has come to so far: counts, quality by version, and what each redeployment changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from ct_daemon.types import Batch, BatchKind, BatchStatus, Deployment, Outcome

RECENT = 3
"""Quality is told over so many labelled batches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """A version went live after `after_batch` batches of rows because of `cause`."""

    version: int
    previous: int | None
    cause: str
    after_batch: int
    after_seq: int
    """The newest batch that an earlier version scored."""


@dataclass(slots=True)
class Tally:
    """Adds up what an observer hears."""

    files: Counter[tuple[BatchKind, BatchStatus]] = field(default_factory=Counter)
    rows: int = 0
    labelled: int = 0
    """Labels that have come, with their rows or after them."""
    under_way: dict[str, str] = field(default_factory=dict)
    """Runs that have not ended, with their state."""
    last_seq: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    """Finished runs by their final state."""
    switches: list[Switch] = field(default_factory=list)
    _outcomes: dict[tuple[int, int], Outcome] = field(default_factory=dict)
    """By batch and version; a later outcome of the same pair replaces the one before."""

    @property
    def batches(self) -> int:
        """Batches of rows accepted so far; the newest one has this number."""
        return self.files[BatchKind.ROWS, BatchStatus.ACCEPTED]

    @property
    def live(self) -> int | None:
        """The live version."""
        return self.switches[-1].version if self.switches else None

    @property
    def redeployments(self) -> list[Switch]:
        """All but the first deployment."""
        return [switch for switch in self.switches if switch.previous is not None]

    def add_batch(self, batch: Batch, error: float | None) -> None:
        """A file came to its end; `error` is the share wrong where labels came along."""
        self.files[batch.kind, batch.status] += 1
        if batch.status is BatchStatus.ACCEPTED:
            self.labelled += batch.labelled_rows if batch.kind is BatchKind.ROWS else batch.rows
        if (batch.kind, batch.status) != (BatchKind.ROWS, BatchStatus.ACCEPTED):
            return
        self.rows += batch.rows
        self.last_seq = batch.seq
        if error is not None and self.live is not None:
            wrong = error * batch.labelled_rows
            outcome = Outcome(
                batch_seq=batch.seq,
                version=self.live,
                rows=batch.labelled_rows,
                error_sum=wrong,
                squared_sum=wrong,
            )
            self.add_outcomes([outcome])

    def add_outcomes(self, outcomes: Iterable[Outcome]) -> None:
        """Labels were held against predictions."""
        self._outcomes |= {(outcome.batch_seq, outcome.version): outcome for outcome in outcomes}

    def add_deployment(self, deployment: Deployment, cause: str) -> Switch:
        """A version went live."""
        switch = Switch(
            version=deployment.version,
            previous=deployment.previous,
            cause=cause,
            after_batch=self.batches,
            after_seq=self.last_seq,
        )
        self.switches.append(switch)
        return switch

    def recent(self) -> float | None:
        """Share right in the newest labelled batches; a batch scored by two versions counts with the newer one."""
        newest = {seq: self._outcomes[seq, version] for seq, version in sorted(self._outcomes)}
        return _right(list(newest.values())[-RECENT:])

    def before_and_after(self, switch: Switch) -> tuple[float | None, float | None]:
        """Share right of the version before in its last batches, and of the new one in its first."""
        before = [o for o in self._of(switch.previous) if o.batch_seq <= switch.after_seq]
        after = [o for o in self._of(switch.version) if o.batch_seq > switch.after_seq]
        return _right(before[-RECENT:]), _right(after[:RECENT])

    def _of(self, version: int | None) -> list[Outcome]:
        return [self._outcomes[key] for key in sorted(self._outcomes) if key[1] == version]


def _right(outcomes: list[Outcome]) -> float | None:
    rows = sum(outcome.rows for outcome in outcomes)
    return None if rows == 0 else 1.0 - sum(outcome.error_sum for outcome in outcomes) / rows
