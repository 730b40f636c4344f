"""Baselines and other profiles as plain JSON documents. Reading one executes nothing and believes nothing: every
length, order and sum is checked, and a document of another format version is refused.

Arrays are base64 of little-endian numbers: edges of float64, counts of the smallest unsigned type that holds them
("u2:..." is uint16).
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping
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
from ct_daemon.drift.places import PLACES, Affine, Floats, Ints, Logarithmic, PlaceMap
from ct_daemon.drift.profile import Baseline, ColumnProfile, Moments, Profile, uncounted_column
from ct_daemon.errors import ArtifactError
from ct_daemon.types import ColumnKind

FORMAT = "ct-daemon/baseline"
FORMAT_VERSION = 2
COLUMN_BYTES = 64 * 1024
"""No column takes more room."""

_WIDTHS = (1, 2, 4, 8)
_PREFIXES = frozenset(f"u{width}:" for width in _WIDTHS)
_LARGEST = 1 << 48
"""No cell counts so many rows: sums of them stay exact."""
_BLOCK = frozenset({"counts", "missing", "low", "high", "moments", "rank_error", "sample"})
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
        "schema": first.schema,
        "rows": [block.rows for block in baseline.blocks],
        "columns": columns,
    }


def _column_document(column: ColumnProfile, blocks: list[ColumnProfile]) -> dict[str, Any]:
    document: dict[str, Any] = {"kind": column.kind.value}
    if column.reason is not None:
        return {**document, "reason": column.reason}
    if isinstance(column.cells, NumericCells):
        document |= {
            "edges": _packed(column.cells.edges),
            "cuts": _packed(column.cells.cuts),
            "centre": column.cells.centre,
            "map": _map_document(column.cells.place_map),
        }
    elif isinstance(column.cells, CategoryCells):
        document |= {"categories": list(column.cells.categories), "folded": column.cells.folded}
    document["blocks"] = [_block_document(block) for block in blocks]
    return document


def _map_document(place_map: PlaceMap) -> list[str | float]:
    if isinstance(place_map, Affine):
        return ["affine", place_map.centre, place_map.scale, place_map.shift]
    if isinstance(place_map, Logarithmic):
        return ["logarithmic", place_map.first, place_map.shift]
    raise TypeError(f"a map of type {type(place_map).__name__} has no document")


def _block_document(block: ColumnProfile) -> dict[str, Any]:
    document: dict[str, Any] = {"counts": _packed_counts(block.counts), "missing": block.missing}
    if block.low is not None:
        document |= {"low": block.low, "high": block.high}
    if block.moments is not None:
        document["moments"] = [block.moments.count, block.moments.total, block.moments.squares]
    if block.rank_error:
        document["rank_error"] = block.rank_error
    if block.sample is not None:
        document["sample"] = _packed(block.sample)
    return document


def _packed(values: Floats) -> str:
    return base64.b64encode(values.astype("<f8").tobytes()).decode()


def _packed_counts(counts: Ints) -> str:
    largest = int(counts.max()) if counts.size else 0
    width = next(width for width in _WIDTHS if largest < 1 << (8 * width))
    return f"u{width}:" + base64.b64encode(counts.astype(f"<u{width}").tobytes()).decode()


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
    _expect(whole.keys() == {"format", "version", "schema", "rows", "columns"}, "its keys differ")
    rows = _whole_numbers(whole["rows"], "rows")
    _expect(len(rows) > 0, "it has no blocks")
    _expect(isinstance(whole["columns"], Mapping), "columns is not an object")
    columns = {name: _column(name, column, rows) for name, column in whole["columns"].items()}
    baseline = Baseline(
        blocks=tuple(
            Profile(rows=n, columns={name: blocks[i] for name, blocks in columns.items()})
            for i, n in enumerate(rows)
        )
    )
    _expect(baseline.blocks[0].schema == whole["schema"], "its schema is not that of its columns")
    return baseline


def _column(name: str, document: object, rows: tuple[int, ...]) -> list[ColumnProfile]:
    """The column in each block."""
    _expect(isinstance(document, Mapping), f"column {name!r} is not an object")
    column: Mapping[str, Any] = document  # type: ignore[assignment]
    kind = ColumnKind(str(column.get("kind")))
    if "reason" in column:
        _expect(column.keys() == {"kind", "reason"}, f"the keys of column {name!r} differ")
        _expect(column["reason"] in _UNCOUNTED, f"column {name!r} has an unknown reason")
        return [uncounted_column(kind, column["reason"]) for _ in rows]
    _expect(len(canonical(column)) <= COLUMN_BYTES, f"column {name!r} is too large")
    cells = _cells(name, kind, column)
    blocks = column.get("blocks")
    if not isinstance(blocks, list) or len(blocks) != len(rows):
        raise ValueError(f"column {name!r} does not have one entry a block")
    return [_block(name, kind, cells, block, n) for block, n in zip(blocks, rows, strict=True)]


def _cells(name: str, kind: ColumnKind, column: Mapping[str, Any]) -> Cells:
    if kind in _NUMERIC:
        _expect(
            column.keys() == {"kind", "edges", "cuts", "centre", "map", "blocks"},
            f"the keys of column {name!r} differ",
        )
        edges, cuts = _unpacked(column["edges"], name), _unpacked(column["cuts"], name)
        _expect(edges.size <= MAX_EDGES, f"column {name!r} has too many edges")
        for ascending in (edges, cuts):
            _expect(bool(np.all(np.isfinite(ascending))), f"an edge of column {name!r} is not finite")
            _expect(
                bool(np.all(ascending[1:] > ascending[:-1])), f"edges of column {name!r} are not ascending"
            )
        _expect(bool(np.isin(cuts, edges).all()), f"a cut of column {name!r} is not an edge")
        _expect(bool(cuts.size) == bool(edges.size), f"column {name!r} has edges without cuts")
        (centre,) = _numbers([column["centre"]], name)
        return NumericCells(edges=edges, cuts=cuts, centre=centre, place_map=_map(name, column["map"]))
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


def _map(name: str, document: object) -> PlaceMap:
    if isinstance(document, list) and document[:1] == ["affine"] and len(document) == 4:
        centre, scale, shift = _numbers(document[1:], name)
        _expect(
            1e-307 < scale < 1e300 and abs(shift) <= PLACES, f"the map of column {name!r} is out of range"
        )
        return Affine(centre=centre, scale=scale, shift=shift)
    if isinstance(document, list) and document[:1] == ["logarithmic"] and len(document) == 3:
        first, shift = _whole_numbers(document[1:], name)
        _expect(shift <= 52, f"the map of column {name!r} is out of range")
        return Logarithmic(first=first, shift=shift)
    raise ValueError(f"column {name!r} has an unknown map")


def _block(name: str, kind: ColumnKind, cells: Cells, document: object, rows: int) -> ColumnProfile:
    _expect(isinstance(document, Mapping), f"a block of column {name!r} is not an object")
    block: Mapping[str, Any] = document  # type: ignore[assignment]
    _expect({"counts", "missing"} <= block.keys() <= _BLOCK, f"the keys of a block of column {name!r} differ")
    counts = _unpacked_counts(block["counts"], name)
    missing, rank_error = _whole_numbers([block["missing"], block.get("rank_error", 0)], name)
    _expect(counts.size == len(cells), f"column {name!r} has {counts.size} counts for {len(cells)} cells")
    _expect(
        int(counts.sum()) + missing == rows, f"the counts of column {name!r} do not add up to {rows} rows"
    )
    _expect(rank_error <= rows, f"column {name!r} has a bound beyond its rows")
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
        moments=_moments(name, cells, counts, block["moments"]) if "moments" in block else None,
        rank_error=rank_error,
    )


def _moments(name: str, cells: Cells, counts: Ints, document: object) -> Moments:
    if not isinstance(document, list) or len(document) != 3 or not isinstance(cells, NumericCells):
        raise ValueError(f"column {name!r} has moments that are none")
    (count,) = _whole_numbers(document[:1], name)
    total, squares = _numbers(document[1:], name)
    _expect(count == int(counts[1:-1].sum()), f"the moments of column {name!r} are of other values")
    _expect(squares >= 0, f"column {name!r} has a sum of squares below 0")
    return Moments(centre=cells.centre, count=count, total=total, squares=squares)


def _sample(name: str, cells: Cells, counts: Ints, text: object) -> Floats:
    if not isinstance(cells, NumericCells):
        raise ValueError(f"column {name!r} can't have a sample")
    values = _unpacked(text, name)
    _expect(
        values.size == int(counts.sum()), f"the sample of column {name!r} has another length than its counts"
    )
    _expect(not np.isnan(values).any(), f"the sample of column {name!r} holds NaN")
    _expect(bool(np.all(values[1:] >= values[:-1])), f"the sample of column {name!r} is not in order")
    recount = bool(np.array_equal(cells.count(values), counts))
    _expect(recount, f"the sample of column {name!r} does not fit its counts")
    return values


def _bytes(text: object, name: str) -> bytes:
    if not isinstance(text, str):
        raise ValueError(f"an array of column {name!r} is not text")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"an array of column {name!r} is not base64") from error


def _unpacked(text: object, name: str) -> Floats:
    content = _bytes(text, name)
    _expect(len(content) % 8 == 0, f"an array of column {name!r} is not of whole numbers")
    return np.frombuffer(content, dtype="<f8").astype(np.float64)


def _unpacked_counts(text: object, name: str) -> Ints:
    if not isinstance(text, str) or text[:3] not in _PREFIXES:
        raise ValueError(f"the counts of column {name!r} are not packed counts")
    width = int(text[1])
    content = _bytes(text[3:], name)
    _expect(len(content) % width == 0, f"the counts of column {name!r} are not whole")
    counts = np.frombuffer(content, dtype=f"<u{width}")
    _expect(bool(np.all(counts < _LARGEST)), f"a count of column {name!r} is too large")
    return counts.astype(np.int64)


def _whole_numbers(value: object, name: str) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(type(item) is int and 0 <= item < 2**63 for item in value):
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
