"""Profiles and comparisons as small tables for a notebook, and profiles as plain documents."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from html import escape
from typing import TYPE_CHECKING, Any

from ct_daemon.types import ColumnKind

if TYPE_CHECKING:
    from ct_daemon.drift.profile import ColumnProfile, Profile

SHOWN = 100
"""So many columns are shown."""
LONG = 200
"""Texts are cut to so many characters."""
_UNITS = ((86_400.0, "d"), (3600.0, "h"), (60.0, "min"))

TITLES = ("column", "kind", "rows", "missing", "low", "high", "mean", "sd")


def summary(found: Profile) -> dict[str, Any]:
    """A profile as a plain document, without what only counting needs: rows, missing, extremes, mean, standard
    deviation. Datetimes are seconds since 1970 UTC."""
    return {
        "rows": found.rows,
        "schema": found.schema,
        "columns": {name: _summary(column) for name, column in found.columns.items()},
    }


def _summary(column: ColumnProfile) -> dict[str, Any]:
    if column.reason is not None:
        return {"kind": column.kind.value, "reason": column.reason}
    low, high, mean, sd = _numbers(column)
    numeric = {"low": low, "high": high, "mean": mean, "sd": sd}
    return {
        "kind": column.kind.value,
        "rows": column.present,
        "missing": column.missing,
        **{key: value for key, value in numeric.items() if value is not None},
        "rank_error": column.rank_error,
    }


def _numbers(column: ColumnProfile) -> tuple[float | None, ...]:
    moments = column.moments
    mean, sd = (moments.mean, moments.sd) if moments is not None else (None, None)
    found = (column.low, column.high, mean, sd)
    return tuple(value if value is not None and math.isfinite(value) else None for value in found)


def row(name: str, column: ColumnProfile) -> tuple[str, ...]:
    """A column of a profile as texts, in the order of `TITLES`; where there is nothing to tell, empty ones."""
    if column.reason is not None:
        return (name, column.kind.value, *[""] * 6)
    low, high, mean, sd = _numbers(column)
    times = column.kind is ColumnKind.DATETIME
    texts = [_text(value, times) for value in (low, high, mean)]
    spread = "" if sd is None else _span(sd) if times else number(sd)
    return (name, column.kind.value, f"{column.present:,}", f"{column.missing:,}", *texts, spread)


def number(value: float) -> str:
    """A few digits."""
    return f"{value:.4g}" if 0.001 <= abs(value) < 1e6 or value == 0 else f"{value:.3g}"


def _text(value: float | None, times: bool) -> str:
    if value is None:
        return ""
    return _day(value) if times else number(value)


def _day(seconds: float) -> str:
    try:
        return f"{datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds):%Y-%m-%d}"
    except OverflowError:
        return number(seconds)


def _span(seconds: float) -> str:
    """In its largest unit."""
    unit, name = next((unit for unit in _UNITS if seconds >= unit[0]), (1.0, "s"))
    return f"{seconds / unit:.3g} {name}"


def profile(found: Profile) -> str:
    """A table of the columns of a profile, as HTML."""
    rows = [(*row(name, column), column.reason or "") for name, column in found.columns.items()]
    return html(f"profile of {found.rows:,} rows", (*TITLES, ""), rows)


def html(head: str, titles: Sequence[str], rows: Sequence[Iterable[str]], foot: str = "") -> str:
    """A table as HTML, with everything that comes from data made harmless."""
    lines = [f"<p>{escape(head)}</p><table><thead><tr>"]
    lines += [f"<th>{escape(title)}</th>" for title in titles]
    lines.append("</tr></thead><tbody>")
    for cells in rows[:SHOWN]:
        lines.append("<tr>" + "".join(f"<td>{escape(_cut(cell))}</td>" for cell in cells) + "</tr>")
    lines.append("</tbody></table>")
    if len(rows) > SHOWN:
        lines.append(f"<p>and {len(rows) - SHOWN:,} more columns</p>")
    if foot:
        lines.append(f"<p>{escape(foot)}</p>")
    return "".join(lines)


def _cut(text: str) -> str:
    return text if len(text) <= LONG else text[: LONG - 1] + "…"
