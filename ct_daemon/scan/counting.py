"""Columns of Arrow arrays to what `drift` counts with. A column is taken piece by piece and never held as a whole."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ct_daemon.drift.binning import CategoryCells, NumericCells
from ct_daemon.drift.edges import Draft
from ct_daemon.drift.names import NameCounts
from ct_daemon.drift.places import Floats, Ints
from ct_daemon.drift.profile import ColumnProfile, numeric_column
from ct_daemon.drift.tally import Tally
from ct_daemon.scan.columns import floats_of, is_text, names_of
from ct_daemon.types import ColumnKind

NUMERIC = (ColumnKind.NUMERIC, ColumnKind.DATETIME)
CATEGORICAL = (ColumnKind.CATEGORICAL, ColumnKind.BOOLEAN)


@dataclass(frozen=True, slots=True)
class Picked:
    """Values at chosen rows of a numeric column."""

    values: Floats
    """Finite ones."""


def pick(pieces: Iterable[pa.Array], rows: Ints) -> Picked:
    """The values at these rows, counted from the first row of the pieces; `rows` ascending."""
    kept: list[Floats] = []
    start = 0
    for piece in pieces:
        low, high = np.searchsorted(rows, [start, start + len(piece)])
        if high > low:
            chosen = rows[low:high] - start
            every = chosen.size == len(piece)
            kept.append(floats_of(piece if every else piece.take(pa.array(chosen))))
        start += len(piece)
    values = np.concatenate([np.empty(0), *kept])
    return Picked(values[np.isfinite(values)] + 0.0)


def count_names(pieces: Iterable[pa.Array]) -> NameCounts:
    """How often each category occurs."""
    counted = NameCounts()
    for piece in pieces:
        names, counts = names_of(piece)
        counted.add(names.to_pylist(), counts.tolist())
    return counted


def count_draft(pieces: Iterable[pa.Array], draft: Draft) -> Tally:
    """Count a numeric column of a baseline before its edges are known."""
    tally = draft.tally()
    for piece in pieces:
        tally.add(floats_of(piece))
    return tally


def count_like(pieces: Iterable[pa.Array], base: ColumnProfile) -> ColumnProfile:
    """Count a column on the cells of a baseline, which it must have."""
    if isinstance(base.cells, NumericCells):
        tally = Tally(base.cells.grid, centre=base.cells.centre)
        for piece in pieces:
            tally.add(floats_of(piece))
        return numeric_column(tally, base.cells, base.kind)
    if isinstance(base.cells, CategoryCells):
        return _categories(pieces, base.cells, base.kind)
    raise ValueError("the column was not counted in the baseline")


def name_column(counted: NameCounts, cells: CategoryCells, kind: ColumnKind, rows: int) -> ColumnProfile:
    """Profile of a baseline's column from its names."""
    counts = np.array([*(counted.counts[name] for name in cells.categories), 0], dtype=np.int64)
    counts[-1] = counted.total - counts.sum()
    return ColumnProfile(
        kind=kind, cells=cells, counts=counts, missing=rows - counted.total, rank_error=counted.error
    )


def _categories(pieces: Iterable[pa.Array], cells: CategoryCells, kind: ColumnKind) -> ColumnProfile:
    known = pa.array(cells.categories, pa.large_string())
    counts, missing = np.zeros(len(cells), dtype=np.int64), 0
    for piece in pieces:
        if pa.types.is_null(piece.type):
            missing += len(piece)
            continue
        if not pa.types.is_dictionary(piece.type) and is_text(piece.type):
            # Looking each text up is quicker than finding the different ones first.
            places = pc.fill_null(pc.index_in(piece, value_set=known.cast(piece.type)), len(cells) - 1)
            counts += np.bincount(places.to_numpy(), minlength=len(cells))
            counts[-1] -= piece.null_count
            missing += piece.null_count
            continue
        names, often = names_of(piece)
        there = names.is_valid().to_numpy(zero_copy_only=False)
        places = pc.fill_null(pc.index_in(names, value_set=known), len(cells) - 1).to_numpy()
        counts += np.bincount(places[there], weights=often[there], minlength=len(cells)).astype(np.int64)
        missing += int(often[~there].sum())
    return ColumnProfile(kind=kind, cells=cells, counts=counts, missing=missing)
