"""Two sets of files against each other, for the command `ct-daemon drift`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from ct_daemon.config import ConceptDriftTrigger
from ct_daemon.drift.compare import compare
from ct_daemon.drift.ranking import ranked
from ct_daemon.errors import SourceError
from ct_daemon.scan.columns import kinds_of
from ct_daemon.scan.profiles import new_baseline, profile_like
from ct_daemon.scan.read import read_table
from ct_daemon.triggers.concept_drift import standing
from ct_daemon.types import DriftScore, Statistic

_DEFAULTS = ConceptDriftTrigger()
THRESHOLDS = {
    "psi": _DEFAULTS.psi,
    "ks": _DEFAULTS.ks,
    "missing": _DEFAULTS.missing,
    "unseen": _DEFAULTS.unseen,
}
"""Those that columns are held to."""
_MORE = ("p_value", "critical", "expected", "effect", "error", "reason")
EXACT_ROWS = 1_000_000
"""Up to so many rows on the baseline's side KS is exact, else bounded."""


def compare_files(
    baseline_paths: Sequence[Path],
    window_paths: Sequence[Path],
    *,
    min_rows: int = 50,
    max_rows: int = 20_000_000,
    max_columns: int = 10_000,
) -> dict[str, Any]:
    """Drift of every column between two sets of files, as a plain JSON document.

    Returns
    -------
    dict
        ``{"rows": {"baseline": n, "window": m}, "thresholds": {"psi": ..., ...}, "columns": {NAME: {"kind":
        "numeric", "statistics": {"ks": {"value": ..., "p_value": ..., "critical": ..., "error": ...}, ...}, "moved":
        [{"cell": ..., "change": ...}], "direction": "up", "shift": ..., "spread_ratio": ..., "verdict": "moved"}},
        "ranking": [{"column": NAME, "by": "ks", "evidence": ..., "effect": ...}]}``. A statistic has of `p_value`,
        `critical`, `expected`, `effect`, `error` and `reason` what is known of it. The verdict is `moved`, `calm` or
        `unknown`, by the default thresholds of the drift trigger and the noise of samples of this size. What can't
        be evaluated has ``"value": null`` and a ``"reason"``; a column on one side only is `column_missing` or
        `not_in_baseline`. The ranking begins with the column that moved most (see `drift.ranking`).

    Raises
    ------
    SourceError
        When a file can't be read (see `read_table`; `out_of_memory` if it is too large), or files of one side do not
        fit together (`schema_differs`).
    """
    base = _read(baseline_paths, max_rows, max_columns)
    window = _read(window_paths, max_rows, max_columns)
    baseline = new_baseline(base, kinds_of(base), blocks=1, sample_rows=EXACT_ROWS)
    watch = list(dict.fromkeys([*base.column_names, *window.column_names]))
    profile, values = profile_like(window, baseline, watch)
    report = compare(baseline.merge(), profile, values, min_rows=min_rows)
    document: dict[str, Any] = {
        "rows": {"baseline": report.baseline_rows, "window": report.window_rows},
        "columns": {score.column: _column(score) for score in report.columns},
        "thresholds": dict(THRESHOLDS),
        "ranking": [
            {"column": one.column, "by": one.by, "evidence": one.evidence, "effect": one.effect}
            for one in ranked(report)
        ],
    }
    if report.reason is not None:
        document["reason"] = report.reason
    return document


def _read(paths: Sequence[Path], max_rows: int, max_columns: int) -> pa.Table:
    if not paths:
        raise SourceError("no files were given; name at least one file of each side", reason="no_files")
    tables: list[pa.Table] = []
    for path in paths:
        left = max_rows - sum(table.num_rows for table in tables)
        tables.append(_read_one(path, left, max_columns))
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        names = ", ".join(path.name for path in paths)
        raise SourceError(
            f"the files {names} do not fit together: {error}; give their columns the same types",
            reason="schema_differs",
        ) from error


def _read_one(path: Path, max_rows: int, max_columns: int) -> pa.Table:
    try:
        return read_table(path, path.name, max_rows=max_rows, max_columns=max_columns)
    except OSError as error:
        raise SourceError(
            f"{path} can't be read: {error.strerror}; name a file that is there and open to this user",
            reason="unreadable",
        ) from error
    except MemoryError as error:
        raise SourceError(
            f"{path} needs more memory than there is; compare a part of it", reason="out_of_memory"
        ) from error


def _column(score: DriftScore) -> dict[str, Any]:
    stands = standing(score, **THRESHOLDS)
    return {
        "kind": score.kind.value,
        "rows": {"baseline": score.baseline_rows, "window": score.window_rows},
        "statistics": {name: _statistic(statistic) for name, statistic in score.statistics.items()},
        "moved": [{"cell": cell, "change": change} for cell, change in score.moved],
        "direction": score.direction,
        "shift": score.shift,
        "spread_ratio": score.spread_ratio,
        "verdict": "unknown" if stands is None else "moved" if stands[1] else "calm",
    }


def _statistic(statistic: Statistic) -> dict[str, Any]:
    """The value, and of the rest what is known."""
    return {"value": statistic.value} | {
        name: known for name in _MORE if (known := getattr(statistic, name)) is not None
    }
