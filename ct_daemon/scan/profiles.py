"""Tables to profiles, and baselines on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from ct_daemon.codec import canonical
from ct_daemon.drift.binning import (
    CategoryCells,
    Floats,
    Ints,
    NumericCells,
    category_cells,
    numeric_cells,
)
from ct_daemon.drift.document import from_document, to_document
from ct_daemon.drift.profile import (
    SAMPLE_ROWS,
    Baseline,
    ColumnProfile,
    Profile,
    category_column,
    numeric_column,
    split_missing,
    uncounted_column,
)
from ct_daemon.errors import ArtifactError
from ct_daemon.manifests import write_durably
from ct_daemon.scan.columns import codes, kind_of, numbers
from ct_daemon.types import ColumnKind

_NUMERIC = (ColumnKind.NUMERIC, ColumnKind.DATETIME)


def new_baseline(
    table: pa.Table,
    features: Mapping[str, ColumnKind],
    blocks: int = 8,
    sample_rows: int = SAMPLE_ROWS,
) -> Baseline:
    """Baseline of training rows.

    Parameters
    ----------
    table : pyarrow.Table
        Rows in time order; consecutive stretches of equal length become the blocks.
    features : mapping of column to kind
        Columns to profile; one that `table` lacks or has in another kind is recorded as such.
    blocks : int
        Number of blocks (fewer when there are fewer rows).
    sample_rows : int
        A table of so many rows or fewer has the values of its numeric columns kept, so that KS can be exact.
    """
    rows = table.num_rows
    bounds = np.linspace(0, rows, min(blocks, max(rows, 1)) + 1).astype(np.int64)
    spans = list(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True))
    columns = {
        name: _baseline_column(table, name, kind, spans, keep=rows <= sample_rows)
        for name, kind in features.items()
    }
    return Baseline(
        blocks=tuple(
            Profile(rows=end - start, columns={name: parts[i] for name, parts in columns.items()})
            for i, (start, end) in enumerate(spans)
        )
    )


def _baseline_column(
    table: pa.Table, name: str, kind: ColumnKind, spans: Sequence[tuple[int, int]], *, keep: bool
) -> list[ColumnProfile]:
    """One column in each block."""
    reason = _why_not(table, name, kind)
    if reason is not None:
        return [uncounted_column(kind, reason)] * len(spans)
    column = table.column(name)
    if kind in _NUMERIC:
        values = numbers(column)
        whole, _ = split_missing(values)
        cells = numeric_cells(whole)
        between = cells.count(whole)[1::2].any()  # else counts alone make KS exact
        parts = [split_missing(values[start:end]) for start, end in spans]
        return [numeric_column(kept, gone, cells, kind, keep=keep and bool(between)) for kept, gone in parts]
    places, names = codes(column)
    counts = _tally(places, len(names))
    found = category_cells(dict(zip(names, counts.tolist(), strict=True)))
    return [_category_part(places[start:end], names, found, kind) for start, end in spans]


def _why_not(table: pa.Table, name: str, kind: ColumnKind) -> str | None:
    if kind is ColumnKind.UNSUPPORTED:
        return "unsupported"
    if name not in table.column_names:
        return "column_missing"
    found = kind_of(table.schema.field(name).type)
    if found is ColumnKind.EMPTY or kind is ColumnKind.EMPTY:
        return "baseline_empty"
    return None if found is kind else "kind_changed"


def _tally(places: Ints, size: int) -> Ints:
    return np.bincount(places[places >= 0], minlength=size).astype(np.int64)


def _category_part(places: Ints, names: list[str], cells: CategoryCells, kind: ColumnKind) -> ColumnProfile:
    missing = int((places < 0).sum())
    return category_column(names, _tally(places, len(names)), missing, cells, kind)


def profile_like(
    table: pa.Table, baseline: Baseline, watch: Sequence[str] | None = None
) -> tuple[Profile, dict[str, Floats]]:
    """Profile of a window on the cells of a baseline.

    Parameters
    ----------
    table : pyarrow.Table
        The rows of the window.
    watch : sequence of str, optional
        Profile only these columns. One that the baseline does not have is recorded as `not_in_baseline`.

    Returns
    -------
    profile : Profile
        A column that can't be counted is there with its reason: `column_missing`, `kind_changed`, `unsupported`.
    values : dict of column to array of float
        Non-missing values of numeric and datetime columns, ascending.
    """
    like = baseline.blocks[0].columns
    columns: dict[str, ColumnProfile] = {}
    values: dict[str, Floats] = {}
    for name in like if watch is None else watch:
        base = like.get(name)
        columns[name], kept = _window_column(table, name, base)
        if kept is not None:
            values[name] = kept
    return Profile(rows=table.num_rows, columns=columns), values


def _window_column(
    table: pa.Table, name: str, base: ColumnProfile | None
) -> tuple[ColumnProfile, Floats | None]:
    there = name in table.column_names
    found = kind_of(table.schema.field(name).type) if there else ColumnKind.EMPTY
    if base is None:
        return uncounted_column(found, "not_in_baseline"), None
    if not there:
        return uncounted_column(base.kind, "column_missing"), None
    if base.cells is None:
        return uncounted_column(base.kind, base.reason or "unsupported"), None
    if found is ColumnKind.UNSUPPORTED:
        return uncounted_column(found, "unsupported"), None
    if found not in (base.kind, ColumnKind.EMPTY):
        return uncounted_column(found, "kind_changed"), None
    column = table.column(name)
    if isinstance(base.cells, NumericCells):
        kept, missing = split_missing(numbers(column))
        return numeric_column(kept, missing, base.cells, base.kind), kept
    return _category_part(*codes(column), base.cells, base.kind), None


def save_baseline(baseline: Baseline, path: Path) -> str:
    """Write a baseline as JSON, atomically and durably; returns the SHA-256 of the file in hex.

    Raises
    ------
    ArtifactError
        `baseline_too_large`.
    OSError
        When the disk does not take it.
    """
    content = canonical(to_document(baseline))
    write_durably(path, content)
    return hashlib.sha256(content).hexdigest()


def load_baseline(path: Path, digest: str) -> Baseline:
    """Read a baseline whose file has this SHA-256.

    Raises
    ------
    ArtifactError
        `baseline_missing`, `baseline_altered`, `baseline_malformed`, `baseline_version`.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ArtifactError(
            f"can't read the baseline {path}: {error.strerror}; restore it or train again",
            reason="baseline_missing",
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        raise ArtifactError(
            f"the baseline {path} was altered: its SHA-256 is {found}, recorded is {digest}; "
            "restore it or train again",
            reason="baseline_altered",
        )
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(
            f"the baseline {path} is not JSON: {error}; restore it or train again",
            reason="baseline_malformed",
        ) from error
    return from_document(document)
