"""Two sets of rows against each other, for the command `ct-daemon drift`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ct_daemon.config import ConceptDriftTrigger
from ct_daemon.errors import SourceError
from ct_daemon.scan.door import Comparison, compare, score_document
from ct_daemon.scan.profiles import HERE, Spread
from ct_daemon.triggers.concept_drift import has_moved
from ct_daemon.types import DriftScore

DEFAULTS = ConceptDriftTrigger()
"""The thresholds that columns are held to."""
_VERDICTS = {True: "moved", False: "calm", None: "unknown"}


def compare_files(
    baseline_paths: Sequence[Path],
    window_paths: Sequence[Path],
    *,
    min_rows: int = 50,
    spread: Spread = HERE,
) -> dict[str, Any]:
    """Drift of every column between two sets of files, as a plain JSON document.

    Parameters
    ----------
    baseline_paths, window_paths : sequence of Path
        Files of rows, or one saved profile.
    spread : Spread, optional
        Where files are read.

    Returns
    -------
    dict
        ``{"rows": {"baseline": n, "window": m}, "thresholds": {"psi": ..., "ks": ...}, "columns": {NAME: {"kind":
        "numeric", "statistics": {"ks": {"value": ..., "p_value": ..., "error": ...}, ...}, "moved": [{"cell": ...,
        "change": ...}], "verdict": "moved"}}}``. The verdict is `moved`, `calm` or `unknown`, by the default
        thresholds of the drift trigger and the noise of samples of this size. What can't be evaluated has ``"value":
        null`` and a ``"reason"``; a column on one side only is `column_missing` or `not_in_baseline`.

    Raises
    ------
    SourceError
        When a file can't be read (see `read_table`; `out_of_memory` if it is too large), or files of one side do not
        fit together (`schema_differs`).
    ArtifactError
        When a saved profile can't be read, or the window's was counted on other cells (`schema_differs`).
    """
    found = compare(_data(baseline_paths), _data(window_paths), min_rows=min_rows, spread=spread)
    return document_of(found)


def document_of(found: Comparison) -> dict[str, Any]:
    """A comparison with the verdict on each column."""
    document = found.to_dict()
    document["columns"] = {name: _column(score) for name, score in found.columns.items()}
    document["thresholds"] = {"psi": DEFAULTS.psi, "ks": DEFAULTS.ks}
    return document


def _data(paths: Sequence[Path]) -> Path | Sequence[Path]:
    if not paths:
        raise SourceError("no files were given; name at least one file of each side", reason="no_files")
    return paths[0] if len(paths) == 1 else paths


def _column(score: DriftScore) -> dict[str, Any]:
    return score_document(score) | {"verdict": _VERDICTS[has_moved(score, psi=DEFAULTS.psi, ks=DEFAULTS.ks)]}
