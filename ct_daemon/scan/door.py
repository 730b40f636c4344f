"""The drift engine for your own programs: `profile` and `compare`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from ct_daemon.codec import plain
from ct_daemon.drift import display
from ct_daemon.drift.compare import compare as compare_profiles
from ct_daemon.drift.profile import Profile
from ct_daemon.errors import ArtifactError
from ct_daemon.scan.parts import parts_of
from ct_daemon.scan.profiles import (
    HERE,
    Spread,
    profile_parts,
    profile_parts_like,
    profile_stream_like,
)
from ct_daemon.scan.stored import SUFFIX, load_profile
from ct_daemon.scan.streaming import profile_stream
from ct_daemon.types import DriftReport, DriftScore


def profile(
    data: Any,  # noqa: ANN401  (any frame)
    *,
    like: Profile | str | os.PathLike[str] | None = None,
    columns: Sequence[str] | None = None,
    spread: Spread = HERE,
) -> Profile:
    """What is kept of many rows: counts over cells, a few kilobytes a column.

    Parameters
    ----------
    data
        A path or a list of paths (Parquet, CSV, JSON lines), a mapping of names to arrays, an Arrow table, or any
        frame that speaks the Arrow C interface (pandas, polars). An Arrow record-batch reader is taken as a stream
        that is seen once: a baseline of it is sketched, with a bound on the error.
    like : Profile or path of a saved one, optional
        The baseline on whose cells to count; without it, `data` is the baseline.
    columns : sequence of str, optional
        Only these.
    spread : Spread, optional
        Where files are read: `ct_daemon.Cluster` for a Dask cluster, else here. The counts are the same.

    Returns
    -------
    Profile
        Give a baseline and a window to `compare`. Profiles on the same cells merge: ``monday.merge(tuesday)``.

    Raises
    ------
    SourceError
        When `data` can't be read, with a reason.
    ArtifactError
        When `like` is no saved profile.
    ClusterError
        When a cluster does not deliver.

    Examples
    --------
    >>> import numpy as np
    >>> baseline = profile({"x": np.arange(1000) % 10})
    >>> window = profile({"x": np.arange(1000) % 5}, like=baseline)
    >>> compare(baseline, window).columns["x"].statistics["ks"].value
    0.5
    """
    base = load_profile(Path(like)) if isinstance(like, (str, os.PathLike)) else like
    parts = parts_of(data)
    if isinstance(parts, pa.RecordBatchReader):
        if base is not None:
            return profile_stream_like(parts, base, columns)
        found = profile_stream(parts)
        return found if columns is None else found.only(columns)
    if base is not None:
        return profile_parts_like(parts, base, columns, spread)
    return profile_parts(parts, columns=columns, spread=spread)


@dataclass(frozen=True)
class Comparison:
    """A window held against a baseline."""

    report: DriftReport

    @property
    def columns(self) -> dict[str, DriftScore]:
        """What was found, by column."""
        return {score.column: score for score in self.report.columns}

    def to_dict(self) -> dict[str, Any]:
        """As plain dicts, lists, strings and numbers: ``{"rows": {"baseline": n, "window": m}, "columns": {NAME:
        {"kind": ..., "statistics": {"ks": {"value": ..., "p_value": ..., "error": ...}, ...}}}}``."""
        document: dict[str, Any] = {
            "rows": {"baseline": self.report.baseline_rows, "window": self.report.window_rows},
            "columns": {score.column: score_document(score) for score in self.report.columns},
        }
        if self.report.reason is not None:
            document["reason"] = self.report.reason
        return document

    def _repr_html_(self) -> str:
        return display.comparison(self.report)


def score_document(score: DriftScore) -> dict[str, Any]:
    """One column of a comparison as a plain document; what is not known is left out."""
    found = plain(score)
    found["rows"] = {"baseline": found.pop("baseline_rows"), "window": found.pop("window_rows")}
    found["moved"] = [{"cell": cell, "change": change} for cell, change in found["moved"]]
    found["statistics"] = {
        name: {key: value for key, value in one.items() if value is not None or key == "value"}
        for name, one in found["statistics"].items()
    }
    del found["column"]
    return {key: value for key, value in found.items() if value is not None}


def compare(
    baseline: Any,  # noqa: ANN401
    window: Any,  # noqa: ANN401
    *,
    min_rows: int = 50,
    spread: Spread = HERE,
) -> Comparison:
    """Hold a window against a baseline, column by column.

    Parameters
    ----------
    baseline, window : Profile, path of a saved one (``.json``), or data as for `profile`
        A window's profile must have been counted on the cells of this baseline (``profile(data, like=baseline)``).
    min_rows : int
        With fewer rows nothing is said: "can't tell" is never shown as "no drift".
    spread : Spread, optional
        Where files are read; see `profile`.

    Returns
    -------
    Comparison
        ``.columns[name].statistics["ks"].value``, ``.to_dict()``; a table in a notebook.

    Raises
    ------
    SourceError, ArtifactError
        When data or a saved profile can't be read; `schema_differs` when the window was counted on other cells.
    """
    base = _profile_of(baseline, None, spread)
    try:
        return Comparison(compare_profiles(base, _profile_of(window, base, spread), min_rows=min_rows))
    except ValueError as error:
        raise ArtifactError(f"{error}", reason="schema_differs") from error


def _profile_of(data: Any, like: Profile | None, spread: Spread) -> Profile:  # noqa: ANN401
    if isinstance(data, Profile):
        return data
    if isinstance(data, (str, os.PathLike)) and Path(data).suffix == SUFFIX:
        return load_profile(Path(data))
    if like is None:
        return profile(data, spread=spread)
    parts = parts_of(data)
    if isinstance(parts, pa.RecordBatchReader):
        names = parts.schema.names
    else:
        names = [name for part in parts for name in part.schema.names]
    watch = list(dict.fromkeys([*like.columns, *names]))
    return profile(
        parts if isinstance(parts, pa.RecordBatchReader) else data, like=like, columns=watch, spread=spread
    )
