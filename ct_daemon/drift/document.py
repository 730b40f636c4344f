"""Baselines as plain JSON documents. Reading one executes nothing and believes nothing: every length, order and sum
is checked, and a document of another format version is refused."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from ct_daemon.codec import canonical
from ct_daemon.drift.binning import (
    MAX_CATEGORIES,
    MAX_EDGES,
    CategoryCells,
    Cells,
    NumericCells,
)
from ct_daemon.drift.profile import Baseline, ColumnProfile, Profile
from ct_daemon.errors import ArtifactError
from ct_daemon.types import ColumnKind

FORMAT = "ct-daemon/baseline"
FORMAT_VERSION = 1
COLUMN_BYTES = 64 * 1024
"""No column takes more room."""

_UNCOUNTED = frozenset({"column_missing", "kind_changed", "unsupported", "not_in_baseline", "baseline_empty"})
_NUMERIC = frozenset({ColumnKind.NUMERIC, ColumnKind.DATETIME})
_CATEGORICAL = frozenset({ColumnKind.CATEGORICAL, ColumnKind.BOOLEAN})


def to_document(baseline: Baseline) -> dict[str, Any]:
    """The baseline as dicts, lists, strings and finite numbers.

    Raises
    ------
    ValueError
        When the blocks are not on common cells.
    ArtifactError
        `baseline_too_large` when a column takes more than 64 KiB.
    """
    first = baseline.merge()
    columns = {}
    for name, column in first.columns.items():
        columns[name] = _column_document(column, [block.columns[name] for block in baseline.blocks])
        if len(canonical(columns[name])) > COLUMN_BYTES:
            raise ArtifactError(
                f"the baseline of column {name!r} takes more than {COLUMN_BYTES // 1024} KiB; use fewer blocks",
                reason="baseline_too_large",
            )
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "rows": [block.rows for block in baseline.blocks],
        "columns": columns,
    }


def _column_document(column: ColumnProfile, blocks: list[ColumnProfile]) -> dict[str, Any]:
    document: dict[str, Any] = {"kind": column.kind.value}
    if column.reason is not None:
        return {**document, "reason": column.reason}
    if isinstance(column.cells, NumericCells):
        document |= {"edges": list(column.cells.edges), "cuts": list(column.cells.cuts)}
    elif isinstance(column.cells, CategoryCells):
        document |= {"categories": list(column.cells.categories), "folded": column.cells.folded}
    document["blocks"] = [_block_document(block) for block in blocks]
    return document


def _block_document(block: ColumnProfile) -> dict[str, Any]:
    document: dict[str, Any] = {"counts": list(block.counts), "missing": block.missing}
    if block.low is not None:
        document |= {"low": block.low, "high": block.high}
    if block.sample is not None:
        document["sample"] = base64.b64encode(block.sample).decode()
    return document


def from_document(document: object) -> Baseline:
    """The baseline that `to_document` wrote.

    Raises
    ------
    ArtifactError
        `baseline_version` when written in another format version, `baseline_malformed` when anything in it does
        not fit.
    """
    try:
        return _baseline(document)
    except ValueError as error:
        raise ArtifactError(
            f"this is not a usable baseline: {error}; restore the file or train again to make a new one",
            reason="baseline_malformed",
        ) from error


def _baseline(document: object) -> Baseline:
    _expect(isinstance(document, Mapping), "it is not a JSON object")
    whole: Mapping[str, Any] = document  # type: ignore[assignment]
    _expect(whole.get("format") == FORMAT, f"its format is not {FORMAT!r}")
    if whole.get("version") != FORMAT_VERSION:
        raise ArtifactError(
            f"the baseline has format version {whole.get('version')!r}, this release reads {FORMAT_VERSION}; "
            "train again to make a new one",
            reason="baseline_version",
        )
    _expect(whole.keys() == {"format", "version", "rows", "columns"}, "its keys differ")
    rows = _counts(whole["rows"], "rows")
    _expect(len(rows) > 0, "it has no blocks")
    _expect(isinstance(whole["columns"], Mapping), "columns is not an object")
    columns = {name: _column(name, column, rows) for name, column in whole["columns"].items()}
    return Baseline(
        blocks=tuple(
            Profile(rows=n, columns={name: blocks[i] for name, blocks in columns.items()})
            for i, n in enumerate(rows)
        )
    )


def _column(name: str, document: object, rows: tuple[int, ...]) -> list[ColumnProfile]:
    """The column in each block."""
    _expect(isinstance(document, Mapping), f"column {name!r} is not an object")
    column: Mapping[str, Any] = document  # type: ignore[assignment]
    kind = ColumnKind(str(column.get("kind")))
    if "reason" in column:
        _expect(column.keys() == {"kind", "reason"}, f"the keys of column {name!r} differ")
        _expect(column["reason"] in _UNCOUNTED, f"column {name!r} has an unknown reason")
        return [
            ColumnProfile(kind=kind, cells=None, counts=(), missing=0, reason=column["reason"]) for _ in rows
        ]
    _expect(len(canonical(column)) <= COLUMN_BYTES, f"column {name!r} is too large")
    cells = _cells(name, kind, column)
    blocks = column.get("blocks")
    if not isinstance(blocks, list) or len(blocks) != len(rows):
        raise ValueError(f"column {name!r} does not have one entry a block")
    return [_block(name, kind, cells, block, n) for block, n in zip(blocks, rows, strict=True)]


def _cells(name: str, kind: ColumnKind, column: Mapping[str, Any]) -> Cells:
    if kind in _NUMERIC:
        _expect(column.keys() == {"kind", "edges", "cuts", "blocks"}, f"the keys of column {name!r} differ")
        edges, cuts = _numbers(column["edges"], name), _numbers(column["cuts"], name)
        _expect(len(edges) <= MAX_EDGES, f"column {name!r} has too many edges")
        for ascending in (edges, cuts):
            _expect(all(a < b for a, b in pairwise(ascending)), f"edges of column {name!r} are not ascending")
        _expect(set(cuts) <= set(edges), f"a cut of column {name!r} is not an edge")
        _expect(bool(cuts) == bool(edges), f"column {name!r} has edges without cuts")
        return NumericCells(edges=edges, cuts=cuts)
    _expect(kind in _CATEGORICAL, f"column {name!r} of kind {kind.value} has no cells")
    _expect(
        column.keys() == {"kind", "categories", "folded", "blocks"}, f"the keys of column {name!r} differ"
    )
    names = column["categories"]
    if not isinstance(names, list) or not all(isinstance(category, str) for category in names):
        raise ValueError(f"categories of column {name!r} are not texts")
    _expect(len(names) <= MAX_CATEGORIES, f"column {name!r} has too many categories")
    _expect(len(set(names)) == len(names), f"column {name!r} has a category twice")
    _expect(isinstance(column["folded"], bool), f"folded of column {name!r} is not true or false")
    return CategoryCells(categories=tuple(names), folded=column["folded"])


def _block(name: str, kind: ColumnKind, cells: Cells, document: object, rows: int) -> ColumnProfile:
    _expect(isinstance(document, Mapping), f"a block of column {name!r} is not an object")
    block: Mapping[str, Any] = document  # type: ignore[assignment]
    _expect(
        {"counts", "missing"} <= block.keys() <= {"counts", "missing", "low", "high", "sample"},
        f"the keys of a block of column {name!r} differ",
    )
    counts = _counts(block["counts"], name)
    missing = _counts([block["missing"]], name)[0]
    _expect(len(counts) == len(cells), f"column {name!r} has {len(counts)} counts for {len(cells)} cells")
    _expect(sum(counts) + missing == rows, f"the counts of column {name!r} do not add up to {rows} rows")
    low, high = block.get("low"), block.get("high")
    _expect((low is None) == (high is None), f"column {name!r} has one extreme only")
    if low is not None:
        low, high = _numbers([low, high], name)
        _expect(low <= high, f"the extremes of column {name!r} are exchanged")
    return ColumnProfile(
        kind=kind,
        cells=cells,
        counts=counts,
        missing=missing,
        low=low,
        high=high,
        sample=_sample(name, cells, counts, block["sample"]) if "sample" in block else None,
    )


def _sample(name: str, cells: Cells, counts: tuple[int, ...], text: object) -> bytes:
    _expect(isinstance(text, str) and isinstance(cells, NumericCells), f"column {name!r} can't have a sample")
    try:
        sample = base64.b64decode(text, validate=True)  # type: ignore[arg-type]
    except binascii.Error as error:
        raise ValueError(f"the sample of column {name!r} is not base64") from error
    _expect(
        len(sample) == 8 * sum(counts), f"the sample of column {name!r} has another length than its counts"
    )
    values = np.frombuffer(sample, dtype="<f8")
    _expect(not np.isnan(values).any(), f"the sample of column {name!r} holds NaN")
    _expect(bool(np.all(values[1:] >= values[:-1])), f"the sample of column {name!r} is not in order")
    recount = tuple(cells.count(values).tolist()) if isinstance(cells, NumericCells) else ()
    _expect(recount == counts, f"the sample of column {name!r} does not fit its counts")
    return sample


def _counts(value: object, name: str) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(type(item) is int and 0 <= item < 2**62 for item in value):
        raise ValueError(f"{name!r} has something that is not a count")
    return tuple(value)


def _numbers(value: object, name: str) -> tuple[float, ...]:
    if not isinstance(value, list) or not all(type(item) in (int, float) for item in value):
        raise ValueError(f"{name!r} has something that is not a number")
    try:
        numbers = tuple(float(item) for item in value)
    except OverflowError as error:
        raise ValueError(f"{name!r} has a number that is too large") from error
    _expect(all(math.isfinite(item) for item in numbers), f"{name!r} has a number that is not finite")
    return numbers


def _expect(holds: bool, fault: str) -> None:
    if not holds:
        raise ValueError(fault)
