"""What `compare` gives: a report with a verdict on each column, as a document, a line, and a table for a notebook."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from ct_daemon.codec import plain
from ct_daemon.drift import display
from ct_daemon.drift.ranking import ranked
from ct_daemon.scan import verdicts
from ct_daemon.scan.verdicts import MOVED, what, why
from ct_daemon.triggers.concept_drift import CANT_TELL
from ct_daemon.types import DriftReport, DriftScore
from ct_daemon.words import counted

_TITLES = ("column", "kind", "PSI", "noise", "KS", "missing", "verdict", "what changed")


def _marks() -> str:
    marks = verdicts.THRESHOLDS
    return (
        f"PSI at {marks['psi']:g} or more, KS at {marks['ks']:g}, missing by {100 * marks['missing']:g} points or "
        f"unseen by {100 * marks['unseen']:g}"
    )


LEGEND = (
    f"moved: {_marks()}, and beyond chance; changed: beyond chance, but less; calm: no more than chance gives "
    "samples of this size (one in 1,000 exceeds it); noise: PSI that chance reaches"
)
"""What the verdicts mean."""


@dataclass(frozen=True, repr=False)
class Comparison:
    """A window held against a baseline."""

    report: DriftReport

    @property
    def columns(self) -> dict[str, DriftScore]:
        """What was found, by column."""
        return {score.column: score for score in self.report.columns}

    @property
    def moved(self) -> tuple[str, ...]:
        """The columns that moved, the one with the strongest evidence first."""
        return tuple(score.column for word, score in verdicts.in_order(self.report) if word == MOVED)

    def to_dict(self) -> dict[str, Any]:
        """As plain dicts, lists, strings and numbers; what ``ct-daemon drift --json`` prints.

        Returns
        -------
        dict
            ``{"rows": {"baseline": n, "window": m}, "thresholds": {"psi": ..., "ks": ..., ...}, "columns": {NAME:
            {"kind": "numeric", "statistics": {"ks": {"value": ..., "p_value": ..., "critical": ..., "error": ...},
            ...}, "moved": [{"cell": ..., "change": ...}], "direction": "up", "shift": ..., "spread_ratio": ...,
            "verdict": "moved"}}, "ranking": [{"column": NAME, "by": "ks", "evidence": ..., "effect": ...}]}``. A
            statistic has of `p_value`, `critical`, `expected`, `effect`, `error` and `reason` what is known of it.
            The verdict is `moved`, `calm` or `unknown`, by the default thresholds of the drift trigger and the noise
            of samples of this size. What can't be evaluated has ``"value": null`` and a ``"reason"``; a column on one
            side only is `column_missing` or `not_in_baseline`. The ranking begins with the column that moved most
            (see `drift.ranking`).
        """
        document: dict[str, Any] = {
            "rows": {"baseline": self.report.baseline_rows, "window": self.report.window_rows},
            "thresholds": dict(verdicts.THRESHOLDS),
            "ranking": [
                {"column": one.column, "by": one.by, "evidence": one.evidence, "effect": one.effect}
                for one in ranked(self.report)
            ],
            "columns": {score.column: _column_document(score) for score in self.report.columns},
        }
        if self.report.reason is not None:
            document["reason"] = self.report.reason
        return document

    def headline(self) -> str:
        """Rows and verdicts in one line."""
        report = self.report
        words = Counter(word for word, _ in verdicts.in_order(report))
        found = ", ".join(f"{words[word]:,} {word}" for word in verdicts.ORDER if words[word])
        rows = f"baseline {counted(report.baseline_rows, 'row')}, window {counted(report.window_rows, 'row')}"
        text = f"{rows}; {counted(len(report.columns), 'column')}" + (f": {found}" if found else "")
        return text if report.reason is None else f"{text}; {CANT_TELL}: {verdicts.because(report.reason)}"

    def __repr__(self) -> str:
        return f"<Comparison: {self.headline()}>"

    def _repr_html_(self) -> str:
        rows = [
            (score.column, score.kind.value, *_figures(score), word, "; ".join(what(score) + why(score)))
            for word, score in verdicts.in_order(self.report)
        ]
        return display.html(self.headline(), _TITLES, rows, LEGEND)


def _figures(score: DriftScore) -> list[str]:
    psi = score.statistics.get("psi")
    values = [psi and psi.value, psi and psi.critical]
    values += [one and one.value for one in map(score.statistics.get, ("ks", "missing"))]
    return ["" if value is None else f"{value:.3f}" for value in values]


def _column_document(score: DriftScore) -> dict[str, Any]:
    return score_document(score) | {"verdict": verdicts.verdict(score)}


def score_document(score: DriftScore) -> dict[str, Any]:
    """One column of a comparison as a plain document; what is not known is left out."""
    found = plain(score)
    found["rows"] = {"baseline": found.pop("baseline_rows"), "window": found.pop("window_rows")}
    found["moved"] = [{"cell": cell, "change": change} for cell, change in found["moved"]]
    found["statistics"] = {
        name: {key: value for key, value in one.items() if value is not None or key == "value"}
        for name, one in found["statistics"].items()
    }
    del found["column"], found["role"]
    return {key: value for key, value in found.items() if value is not None}
