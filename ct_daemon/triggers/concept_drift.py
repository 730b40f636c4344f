"""Columns moved away from the live model's baseline.

What is seen here is data drift, P(x); the trigger keeps the name that the field has for it. A column has *moved* in a
window when one of the watched statistics

- reaches the user's threshold (KS: with its bound on the error taken off), and
- exceeds what samples of this size reach by chance in one comparison of a thousand: the statistic's own `critical`,
  or in reports of older releases `psi_noise` and `ks_noise`. Without any change PSI is about (1/n + 1/m)(B - 1) for B
  cells, so that 50 rows "drift" at 0.2 in every third window.

It has moved as well when its share of missing rows changed, or that of categories never seen before rose, by the
user's threshold or more and by more than chance (p at most 0.001). So a column that goes missing is drift, though
nothing can be told of its values. Such a share can only show that a column moved, never that its values did not.

With a lower threshold to disarm, a column that has moved counts as moved in the windows after it until none of its
statistics reaches that threshold any more: a value that swings around the upper one is one move, not many.

A window has *drifted* when enough of its columns moved, or when a classifier tells its rows from those that the model
was trained on better than the user's threshold. Target and predictions are told beside; they count where the user
names them. The trigger fires when enough of the newest windows drifted, the newest one among them. A statistic
without a value is neither "moved" nor "not moved": it is listed, and where nothing else is left the answer is "can't
tell".
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ct_daemon.triggers.readings import SHARES, Reading, reading_of, why_unknown
from ct_daemon.types import (
    DriftScore,
    Firing,
    JsonDict,
    Observation,
    Quiet,
    Role,
    Statistic,
    TriggerKind,
    Window,
)
from ct_daemon.words import counted

CANT_TELL = "can't tell"
"""How the reason of an answer begins that is neither "drift" nor "no drift"."""
TOP_COLUMNS = 10
"""So many moved columns, and so many statistics without a value, are spelt out as evidence."""
NAMED = 3
"""So many statistics without a value are named in a sentence."""
TOGETHER = "all columns together"
TEXT = 120
"""Names of columns and cells are cut to so many characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    """A column of which at least one watched statistic has a value."""

    score: DriftScore
    readings: tuple[Reading, ...]
    armed: bool = False
    """It had moved in the window before."""

    @property
    def can_tell(self) -> bool:
        """A share of rows can show that it moved, but not that its values did not."""
        return self.moved or any(r.name not in SHARES for r in self.readings)

    @property
    def best(self) -> Reading:
        return max(self.readings, key=lambda r: r.share)

    @property
    def moved(self) -> bool:
        return any(r.stays if self.armed else r.moved for r in self.readings)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """A window as the trigger sees it; `columns` strongest first, `needed` of them must have moved."""

    window: Window
    columns: tuple[_Column, ...]
    unknown: tuple[tuple[str, str, str], ...]
    """(column, statistic, reason) of watched statistics without a value."""
    needed: int
    joint: Reading | None = None
    """All columns together, where that is watched and known."""
    beside: tuple[_Column, ...] = ()
    """Target and predictions, which don't count."""

    @property
    def can_tell(self) -> bool:
        """Whether anything watched has a value."""
        return bool(self.columns) or self.joint is not None

    @property
    def moved(self) -> tuple[_Column, ...]:
        return tuple(c for c in self.columns if c.moved)

    @property
    def drifted(self) -> bool:
        return len(self.moved) >= self.needed or (self.joint is not None and self.joint.moved)

    @property
    def share(self) -> float:
        """How much of what makes it a drifted window, 0 to 1: of the strongest column, or of the columns needed; of
        all columns together, if that is more."""
        if self.drifted:
            return 1.0
        together = 0.0 if self.joint is None else self.joint.share
        if self.needed > 1:
            return max(len(self.moved) / self.needed, together)
        return min(max(self.columns[0].best.share if self.columns else 0.0, together, 0.0), 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConceptDrift:
    """Fires when columns moved in `windows` of the newest `of` windows, the newest among them.

    `psi`, `ks`: thresholds, None is not watched; `missing`, `unseen`: those of the change of a share of rows.
    `joint`: a window has drifted, too, where the AUC of the classifier over all columns is at least this, taken at
    the lower end of its interval. `columns`: how many columns must have moved, a count (int) or a share of the
    columns that could be evaluated (float; rounded up, at least one); `among` names the columns that count (None: all
    features; target and predictions count where they are named). `disarm_psi`, `disarm_ks`: until it falls below, a
    column that has moved stays so; windows before the newest `of` (as many as the observation holds) say what had
    moved. The key names the newest window.
    """

    psi: float | None = 0.2
    ks: float | None = None
    missing: float | None = 0.2
    unseen: float | None = 0.2
    joint: float | None = None
    columns: int | float = 1
    among: frozenset[str] | None = None
    windows: int = 1
    of: int = 1
    disarm_psi: float | None = None
    disarm_ks: float | None = None

    def evaluate(self, observation: Observation, now: datetime) -> Firing | Quiet:
        """Fire, say how far off, or say why it can't be told."""
        if observation.champion is None:
            return _cant_tell("no version is live, so there is no baseline", "a live version")
        if not observation.windows:
            return _cant_tell("no window has been measured yet", "rows for a full window")
        history = self._looks(observation.windows)
        looks = history[-self.of :]
        newest = looks[-1]
        if not newest.can_tell:
            return _cant_tell(
                f"nothing in window {newest.window.seq} could be evaluated ({_why(newest)})"
                f"{_listed(_unknown([newest]))}",
                "a window in which watched columns can be evaluated",
            )
        drifted = [look for look in looks if look.drifted]
        if newest.drifted and len(drifted) >= self.windows:
            return Firing(
                model=observation.model,
                trigger=TriggerKind.CONCEPT_DRIFT,
                dedupe_key=f"concept_drift:{newest.window.seq}",
                reason=f"{self._counted(len(drifted), looks)} drifted; {_strongest(newest)}",
                evidence=self._evidence(drifted, looks, history),
            )
        return self._quiet(newest, drifted, looks)

    def _looks(self, windows: Sequence[Window]) -> list[_Look]:
        """All windows, oldest first, each knowing what had moved before it."""
        hysteresis = self.disarm_psi is not None or self.disarm_ks is not None
        looks: list[_Look] = []
        armed: frozenset[str] = frozenset()
        for window in windows:
            look = self._look(window, armed)
            if hysteresis:
                known = {column.score.column for column in look.columns}
                # A column that can't be told now is neither armed nor disarmed by that.
                armed = frozenset(c.score.column for c in look.moved) | (armed - known)
            looks.append(look)
        return looks

    def _look(self, window: Window, armed: frozenset[str]) -> _Look:
        columns: list[_Column] = []
        unknown: list[tuple[str, str, str]] = []
        absent = set(self.among or ()) - {score.column for score in window.report.columns}
        if self.psi is not None or self.ks is not None:
            unknown += [(name[:TEXT], self._first, "not_in_window") for name in sorted(absent)]
        for score in window.report.columns:
            if not self._counts(score):
                continue
            column, blind = self._column(score, armed=score.column in armed)
            unknown += blind
            if column is not None:
                columns.append(column)
        columns.sort(key=lambda c: (-c.best.share, c.score.column))
        # The small constant: 0.07 * 100 is 7.000000000000001, and 7 columns are meant.
        needed = (
            self.columns
            if isinstance(self.columns, int)
            else max(1, math.ceil(self.columns * len(columns) - 1e-9))
        )
        return _Look(
            window=window,
            columns=tuple(columns),
            unknown=tuple(unknown) + self._joint_unknown(window),
            needed=needed,
            joint=self._joint(window),
            beside=tuple(self._beside(window)),
        )

    def _counts(self, score: DriftScore) -> bool:
        """Whether the column may make a window a drifted one."""
        return score.role is Role.FEATURE if self.among is None else score.column in self.among

    def _beside(self, window: Window) -> Iterator[_Column]:
        """Target and predictions, where they don't count; without readings where nobody can tell."""
        for score in window.report.columns:
            if score.role is Role.FEATURE or self._counts(score):
                continue
            column, _ = self._column(score)
            yield column or _Column(score=score, readings=())

    def _joint(self, window: Window) -> Reading | None:
        """With what is certain of it: the lower end of its interval."""
        found = window.report.joint
        if self.joint is None or found is None or found.low is None:
            return None
        return Reading(name="AUC", value=found.low, threshold=self.joint, noise=0.5, nothing=0.5)

    def _joint_unknown(self, window: Window) -> tuple[tuple[str, str, str], ...]:
        found = window.report.joint
        if self.joint is None or (found is not None and found.low is not None):
            return ()
        return ((TOGETHER, "AUC", "not_measured" if found is None else found.reason or "not_evaluated"),)

    def _column(
        self, score: DriftScore, *, armed: bool = False
    ) -> tuple[_Column | None, list[tuple[str, str, str]]]:
        """What can be told of a column, if anything, and what of it can't."""
        readings: list[Reading] = []
        unknown: list[tuple[str, str, str]] = []
        for name, statistic, threshold in self._watched(score):
            reason = why_unknown(statistic)
            if reason is None:
                readings.append(reading_of(name, statistic, threshold, score, self._disarm(name)))
            elif name not in SHARES:
                unknown.append((score.column[:TEXT], name, reason))
        column = _Column(score=score, readings=tuple(readings), armed=armed)
        return (column if column.can_tell else None), unknown

    @property
    def _first(self) -> str:
        """Name of a statistic that is watched."""
        return "psi" if self.psi is not None else "ks"

    def _disarm(self, name: str) -> float | None:
        return {"psi": self.disarm_psi, "ks": self.disarm_ks}.get(name)

    def _watched(self, score: DriftScore) -> Iterator[tuple[str, Statistic, float]]:
        """The statistics of a column that have a threshold; a categorical column has no KS, and reports of older
        releases say nothing of the change of a share."""
        thresholds = {"psi": self.psi, "ks": self.ks, "missing": self.missing, "unseen": self.unseen}
        for name, threshold in thresholds.items():
            statistic = score.statistics.get(name)
            if threshold is None or statistic is None:
                continue
            if name not in SHARES or (statistic.effect is not None and statistic.p_value is not None):
                yield name, statistic, threshold

    def _counted(self, count: int, looks: Sequence[_Look]) -> str:
        text = (
            f"{count} of the last {len(looks)} windows"
            if len(looks) > 1
            else f"window {looks[-1].window.seq}"
        )
        blind = sum(not look.can_tell for look in looks)
        return f"{text} ({blind} could not be evaluated)" if blind else text

    def _evidence(
        self, drifted: Sequence[_Look], looks: Sequence[_Look], history: Sequence[_Look]
    ) -> JsonDict:
        newest = looks[-1]
        by_name = [(look.window, {c.score.column: c for c in look.columns}) for look in history]
        return {
            "seen": "data drift",
            "window": newest.window.seq,
            "windows": [look.window.seq for look in drifted],
            "looked_at": [look.window.seq for look in looks],
            "since_window": drifted[0].window.seq,
            "since_batch": drifted[0].window.first_batch_seq,
            "needed": {
                "psi": self.psi,
                "ks": self.ks,
                "missing": self.missing,
                "unseen": self.unseen,
                "joint": self.joint,
                "columns": newest.needed,
                "among": None if self.among is None else sorted(self.among)[:TOP_COLUMNS],
                "disarm_psi": self.disarm_psi,
                "disarm_ks": self.disarm_ks,
                "windows": self.windows,
                "of": self.of,
            },
            "columns_moved": len(newest.moved),
            "columns_evaluated": len(newest.columns),
            "columns": [
                _spelt(column) | _since(column.score.column, by_name) for column in newest.moved[:TOP_COLUMNS]
            ],
            "beside": [_spelt(column) for column in newest.beside],
            "joint": _joint_spelt(newest, self.joint),
            "not_evaluated": _unknown(looks)[:TOP_COLUMNS],
            "not_evaluated_count": sum(len(look.unknown) for look in looks),
        }

    def _quiet(self, newest: _Look, drifted: Sequence[_Look], looks: Sequence[_Look]) -> Quiet:
        """How far the newest window is; where it has drifted, how many more are needed. `progress` is the share of
        what the sentence counts."""
        if newest.drifted:
            reason = (
                f"{self._counted(len(drifted), looks)} drifted, {self.windows} of {self.of} are needed; "
                f"{_strongest(newest)}"
            )
            needed = counted(self.windows - len(drifted), "more drifted window")
            progress = len(drifted) / self.windows
        else:
            reason = f"{_strongest(newest)} in window {newest.window.seq}"
            if drifted:
                reason += f"; {self._counted(len(drifted), looks)} drifted"
            needed = (
                f"{newest.needed} columns beyond their mark"
                if newest.needed > 1
                else f"column {newest.columns[0].score.column[:TEXT]} at {_mark(newest.columns[0].best)}"
                if newest.columns
                else ""
            )
            if newest.joint is not None:
                needed += f"{' or ' if needed else ''}{TOGETHER} at {_mark(newest.joint)}"
            if self.windows > 1:
                needed += f", in {self.windows} of {self.of} windows"
            progress = newest.share
        return Quiet(
            trigger=TriggerKind.CONCEPT_DRIFT,
            reason=reason + _told_beside(newest) + _listed(_unknown(looks)),
            needed=needed,
            progress=progress,
        )


def standing(
    score: DriftScore, *, psi: float | None, ks: float | None, missing: float | None, unseen: float | None
) -> tuple[float, bool] | None:
    """How one column stands at these thresholds; None if that can't be told.

    Returns
    -------
    (float, bool)
        How much of what it needs to have moved it has, and whether it has moved.
    """
    column, _ = ConceptDrift(psi=psi, ks=ks, missing=missing, unseen=unseen)._column(score)
    return None if column is None else (column.best.share, column.moved)


def _since(name: str, history: Sequence[tuple[Window, Mapping[str, _Column]]]) -> dict[str, Any]:
    """The first window of a column's present unbroken run of moved ones, among those observed. A window in which it
    can't be told does not break the run."""
    since = history[-1][0]
    for window, columns in reversed(history):
        found = columns.get(name)
        if found is not None and not found.moved:
            break
        if found is not None:
            since = window
    return {"since_window": since.seq, "since_batch": since.first_batch_seq}


def _cant_tell(reason: str, needed: str) -> Quiet:
    return Quiet(trigger=TriggerKind.CONCEPT_DRIFT, reason=f"{CANT_TELL}: {reason}", needed=needed)


def _why(look: _Look) -> str:
    reasons = sorted({reason for _, _, reason in look.unknown})
    fallback = look.window.report.reason or "no watched statistics"
    return ", ".join(reasons[:TOP_COLUMNS])[:TEXT] if reasons else fallback


def _strongest(look: _Look) -> str:
    """The sentence for people: ``column price PSI 0.13 of 0.2``."""
    together = "" if look.joint is None else f"{TOGETHER} {look.joint}"
    if not look.columns:
        return together
    first = look.columns[0]
    text = f"column {first.score.column[:TEXT]} {first.best}"
    if look.needed > 1:
        text = f"{len(look.moved)} of {look.needed} columns moved, most of all {text}"
    return ", ".join(part for part in (text, together) if part)


def _told_beside(look: _Look) -> str:
    """Target and predictions that moved, and don't count."""
    moved = [f"{column.score.role.value} {column.best}" for column in look.beside if column.moved]
    return f"; besides, {' and '.join(moved)}" if moved else ""


def _joint_spelt(look: _Look, needed: float | None) -> JsonDict | None:
    """What the classifier says, as evidence; also where it is measured and not watched."""
    found = look.window.report.joint
    if found is None:
        return None
    return {
        "auc": found.auc,
        "low": found.low,
        "high": found.high,
        "p_value": found.p_value,
        "needed": needed,
        "moved": look.joint is not None and look.joint.moved,
        "rows": [found.baseline_rows, found.window_rows],
        "leaned_on": [[name[:TEXT], loss] for name, loss in found.leaned_on],
        "reason": found.reason,
    }


def _mark(reading: Reading) -> str:
    return f"{reading.name.upper()} {reading.needed:.3g}"


def _spelt(column: _Column) -> dict[str, Any]:
    """A moved column as evidence."""
    score = column.score
    spelt: dict[str, Any] = {
        "column": score.column[:TEXT],
        "kind": score.kind.value,
        "role": score.role.value,
    }
    for reading in column.readings:
        spelt[reading.name] = {"value": reading.value, "needed": reading.needed, "moved": reading.moved}
    if not column.readings:
        spelt["reason"] = next((s.reason for s in score.statistics.values() if s.value is None), None)
    spelt["direction"] = score.direction
    spelt["rows"] = [column.score.baseline_rows, column.score.window_rows]
    spelt["moved"] = [[cell[:TEXT], change] for cell, change in column.score.moved]
    return spelt


def _listed(unknown: Sequence[dict[str, Any]]) -> str:
    """The first few of them in a sentence."""
    if not unknown:
        return ""
    some = ", ".join(f"{u['statistic'].upper()} of {u['column']} ({u['reason']})" for u in unknown[:NAMED])
    more = f" and {len(unknown) - NAMED} more" if len(unknown) > NAMED else ""
    return f"; can't tell: {some}{more}"


def _unknown(looks: Sequence[_Look]) -> list[dict[str, Any]]:
    """What could not be evaluated, newest window first."""
    return [
        {"window": look.window.seq, "column": column, "statistic": name, "reason": reason}
        for look in reversed(looks)
        for column, name, reason in look.unknown
    ]
