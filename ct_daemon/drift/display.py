"""Profiles and comparisons as small tables for a notebook."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from ct_daemon.drift.ranking import ranked
from ct_daemon.types import DriftReport, DriftScore

if TYPE_CHECKING:
    from ct_daemon.drift.profile import Profile

SHOWN = 100
"""So many columns are shown."""


def comparison(report: DriftReport) -> str:
    """A table of the columns, those that moved most first."""
    place = {one.column: number for number, one in enumerate(ranked(report))}
    scores = sorted(report.columns, key=lambda score: place.get(score.column, len(place)))
    rows = [
        [
            score.column,
            score.kind.value,
            *(_number(_value(score, name)) for name in ("psi", "ks", "missing", "unseen")),
            score.direction or "",
            "; ".join(f"{cell} {change:+.1%}" for cell, change in score.moved[:2]),
        ]
        for score in scores
    ]
    head = f"baseline {report.baseline_rows:,} rows, window {report.window_rows:,} rows"
    if report.reason is not None:
        head += f" — can't tell: {report.reason}"
    titles = ["column", "kind", "PSI", "KS", "missing", "unseen", "direction", "moved most"]
    return _table(head, titles, rows)


def profile(found: Profile) -> str:
    """A table of the columns."""
    rows = []
    for name, column in found.columns.items():
        moments = column.moments
        numbers = (moments.mean, moments.sd) if moments is not None and moments.count else (None, None)
        rows.append(
            [
                name,
                column.kind.value,
                f"{column.present:,}",
                f"{column.missing:,}",
                *(_number(x) for x in (column.low, column.high, *numbers)),
                column.reason or "",
            ]
        )
    titles = ["column", "kind", "rows", "missing", "low", "high", "mean", "sd", ""]
    return _table(f"profile of {found.rows:,} rows", titles, rows)


def _value(score: DriftScore, name: str) -> float | None:
    statistic = score.statistics.get(name)
    return None if statistic is None else statistic.value


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _table(head: str, titles: Sequence[str], rows: Sequence[Iterable[str]]) -> str:
    lines = [f"<p>{escape(head)}</p><table><thead><tr>"]
    lines += [f"<th>{escape(title)}</th>" for title in titles]
    lines.append("</tr></thead><tbody>")
    for row in rows[:SHOWN]:
        lines.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>")
    lines.append("</tbody></table>")
    if len(rows) > SHOWN:
        lines.append(f"<p>and {len(rows) - SHOWN} more columns</p>")
    return "".join(lines)
