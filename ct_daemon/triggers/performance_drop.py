"""The live version does worse on matured labels than it did when it was made."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ct_daemon.evaluation.degradation import Drop, drop
from ct_daemon.types import Firing, Observation, Performance, Quality, Quiet, TriggerKind
from ct_daemon.words import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class PerformanceDrop:
    """Fires when the metric fell by a threshold, and by more than chance explains (`evaluation.degradation`).

    `absolute` is in units of the metric, `relative` a share of the reference; None is not watched, one of both is
    enough. Fewer than `min_labels` labels can't tell.

    The key names the version and the newest batch with labels: new labels are new evidence.
    """

    min_labels: int = 100
    absolute: float | None = None
    relative: float | None = None

    def evaluate(self, observation: Observation, now: datetime) -> Firing | Quiet:
        """Fire or say how far off."""
        found = observation.performance
        if observation.champion is None:
            return self._cant_tell("no version is live", "a live version", None)
        if found is None or found.live.rows < self.min_labels:
            rows = 0 if found is None else found.live.rows
            return self._cant_tell(
                f"{rows:,} of {counted(self.min_labels, 'matured label')}",
                counted(self.min_labels - rows, "more matured label"),
                rows / self.min_labels,
            )
        lost = drop(found.reference, found.live)
        if self._reached(lost) and lost.absolute > lost.noise:
            return Firing(
                model=observation.model,
                trigger=TriggerKind.PERFORMANCE_DROP,
                dedupe_key=f"performance_drop:v{observation.champion}:{found.last_batch_seq}",
                reason=_sentence(found),
                evidence=self._evidence(found, lost),
            )
        return self._quiet(found, lost)

    def _reached(self, lost: Drop) -> bool:
        return (self.absolute is not None and lost.absolute >= self.absolute) or (
            self.relative is not None and lost.relative >= self.relative
        )

    def _mark(self, reference: Quality) -> float:
        """The drop in units of the metric that reaches the nearest threshold."""
        marks = [self.absolute] if self.absolute is not None else []
        if self.relative is not None:
            marks.append(self.relative * abs(reference.value))
        return min(marks)

    def _quiet(self, found: Performance, lost: Drop) -> Quiet:
        mark = self._mark(found.reference)
        needed = max(mark, lost.noise)
        why = " (what chance alone explains)" if lost.noise > mark else ""
        return Quiet(
            trigger=TriggerKind.PERFORMANCE_DROP,
            reason=_sentence(found),
            needed=f"a drop of {needed:.3g} in {found.live.metric}{why}",
            progress=max(0.0, min(lost.absolute / needed, 1.0)) if needed > 0 else 0.0,
        )

    def _evidence(self, found: Performance, lost: Drop) -> dict[str, object]:
        return {
            "seen": "performance drop",
            "metric": found.live.metric,
            "live": _spelt(found.live),
            "reference": _spelt(found.reference),
            "drop": lost.absolute,
            "noise": lost.noise,
            "needed": {
                "absolute": self.absolute,
                "relative": self.relative,
                "min_labels": self.min_labels,
            },
            "last_batch": found.last_batch_seq,
        }

    @staticmethod
    def _cant_tell(reason: str, needed: str, progress: float | None) -> Quiet:
        return Quiet(
            trigger=TriggerKind.PERFORMANCE_DROP,
            reason=f"can't tell: {reason}",
            needed=needed,
            progress=progress,
        )


def _sentence(found: Performance) -> str:
    live, reference = found.live, found.reference
    return (
        f"{live.metric} {live.value:.4g} on {counted(live.rows, 'matured label')} "
        f"({live.low:.4g} to {live.high:.4g}), {reference.value:.4g} when the version was made"
    )


def _spelt(quality: Quality) -> dict[str, float | int]:
    return {"value": quality.value, "rows": quality.rows, "low": quality.low, "high": quality.high}
