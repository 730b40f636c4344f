"""Rows to profiles. A baseline takes two passes over what can be read again, and one, through sketches, over a stream
that can't; a window takes one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, islice, pairwise
from typing import Any, Protocol, TypeVar

import numpy as np
import pyarrow as pa

from ct_daemon.drift.binning import Cells, NumericCells, category_cells
from ct_daemon.drift.edges import SAMPLE, Draft, cells_of, counts_of, draft_for
from ct_daemon.drift.names import NameCounts
from ct_daemon.drift.places import Floats
from ct_daemon.drift.profile import Baseline, ColumnProfile, Profile, numeric_column, uncounted_column
from ct_daemon.drift.tally import Tally
from ct_daemon.errors import SourceError
from ct_daemon.scan import passes
from ct_daemon.scan.columns import kind_of
from ct_daemon.scan.counting import CATEGORICAL, NUMERIC, Picked, name_column
from ct_daemon.scan.parts import Part, TablePart
from ct_daemon.types import ColumnKind

T = TypeVar("T")
GROUP = 200
"""So many columns of a baseline are looked at together, which bounds the memory."""


class Spread(Protocol):
    """Where passes run."""

    def map(self, do: Callable[..., T], tasks: Sequence[tuple[Any, ...]]) -> Iterable[T]:
        """The results of ``do(*task)`` for each task, in the order of the tasks."""
        ...


class Here:
    """In this process, one part after the other."""

    def map(self, do: Callable[..., T], tasks: Sequence[tuple[Any, ...]]) -> Iterator[T]:
        """See `Spread`; nothing is done before it is asked for."""
        return (do(*task) for task in tasks)


HERE = Here()


# --- windows -------------------------------------------------------------------------------------------------


def profile_parts_like(
    parts: Sequence[Part], like: Profile, watch: Sequence[str] | None = None, spread: Spread = HERE
) -> Profile:
    """Profile of a window on the cells of a baseline.

    Parameters
    ----------
    watch : sequence of str, optional
        Profile only these columns (else those of the baseline). One that the baseline does not have is recorded as
        `not_in_baseline`.

    Returns
    -------
    Profile
        A column that can't be counted is there with its reason: `column_missing`, `kind_changed`, `unsupported`.
    """
    names = list(like.columns) if watch is None else list(watch)
    cells = {name: bare(like.columns[name]) for name in names if name in like.columns}
    return passes.together(spread.map(passes.count, [(part, cells, names) for part in parts]))


def bare(column: ColumnProfile) -> ColumnProfile:
    """The column without its counts: what is needed to count another."""
    if column.cells is None:
        return column
    return _empty(column.kind, column.cells)


def _empty(kind: ColumnKind, cells: Cells) -> ColumnProfile:
    return ColumnProfile(kind=kind, cells=cells, counts=np.zeros(len(cells), dtype=np.int64), missing=0)


def profile_like(table: pa.Table, baseline: Baseline, watch: Sequence[str] | None = None) -> Profile:
    """The same of a table."""
    return profile_parts_like([TablePart(table)], baseline.blocks[0], watch)


def profile_stream_like(
    reader: pa.RecordBatchReader, like: Profile, watch: Sequence[str] | None = None
) -> Profile:
    """The same of a stream of batches."""
    return passes.together(profile_parts_like([TablePart(table)], like, watch) for table in tables_of(reader))


STREAM_ROWS = 1 << 18


def tables_of(reader: pa.RecordBatchReader) -> Iterator[pa.Table]:
    """Batches of a stream put together until there are enough rows; one table at least."""
    batches: list[pa.RecordBatch] = []
    rows, given = 0, False
    for batch in reader:
        batches.append(batch)
        rows += batch.num_rows
        if rows >= STREAM_ROWS:
            yield pa.Table.from_batches(batches, reader.schema)
            batches, rows, given = [], 0, True
    if batches or not given:
        yield pa.Table.from_batches(batches, reader.schema)


# --- baselines -----------------------------------------------------------------------------------------------


def kinds_of_parts(parts: Sequence[Part]) -> dict[str, ColumnKind]:
    """Kinds of all columns of all parts; a column that is empty in some is what it is in the others.

    Raises
    ------
    SourceError
        `schema_differs` when a column has different kinds.
    """
    kinds: dict[str, ColumnKind] = {}
    for part in parts:
        for field in part.schema:
            kind = kind_of(field.type)
            known = kinds.get(field.name, ColumnKind.EMPTY)
            if ColumnKind.EMPTY not in (kind, known) and kind is not known:
                raise SourceError(
                    f"the column {field.name!r} is {kind.value} in {part.name} and {known.value} before it; "
                    "give it the same type everywhere",
                    reason="schema_differs",
                )
            kinds[field.name] = kind if known is ColumnKind.EMPTY else known
    return kinds


def profile_parts(
    parts: Sequence[Part],
    kinds: Mapping[str, ColumnKind] | None = None,
    spread: Spread = HERE,
    columns: Sequence[str] | None = None,
) -> Profile:
    """Baseline of rows that can be read again.

    Parameters
    ----------
    kinds : mapping of column to kind, optional
        Columns to profile, else all, or those that `columns` names.
    """
    wanted = kinds_of_parts(parts) if kinds is None else kinds
    if columns is not None:
        wanted = {name: wanted[name] for name in columns}
    rows = sum(part.rows for part in parts)
    found: dict[str, ColumnProfile] = {
        name: uncounted_column(kind, "unsupported" if kind is ColumnKind.UNSUPPORTED else "baseline_empty")
        for name, kind in wanted.items()
    }
    countable = iter([name for name, kind in wanted.items() if kind in (*NUMERIC, *CATEGORICAL)])
    while group := list(islice(countable, GROUP)):
        found |= _group(parts, {name: wanted[name] for name in group}, rows, spread)
    return Profile(rows=rows, columns=found)


def _group(
    parts: Sequence[Part], kinds: Mapping[str, ColumnKind], rows: int, spread: Spread
) -> dict[str, ColumnProfile]:
    samples, names = _look(parts, kinds, rows, spread)
    drafts = {name: draft_for(sample, whole=rows <= SAMPLE) for name, sample in samples.items()}
    counting = {name: draft.for_counting() for name, draft in drafts.items()}
    tallies: dict[str, Tally] = {}
    for found in spread.map(passes.tally, [(part, counting) for part in parts]):
        for name, tally in found.items():
            if name in tallies:
                tallies[name].merge(tally)
            else:
                tallies[name] = tally
    done: dict[str, ColumnProfile] = {}
    again: dict[str, ColumnProfile] = {}
    for name, kind in kinds.items():
        if name in drafts:
            tally = tallies.get(name) or drafts[name].tally()
            cells = cells_of(drafts[name], tally)
            if rows > SAMPLE:
                done[name] = _numbers(drafts[name], tally, cells, kind, rows)
            else:
                again[name] = _empty(kind, cells)
        else:
            counted = names[name]
            categories = category_cells(counted.counts, more=counted.error > 0)
            if counted.error:
                again[name] = _empty(kind, categories)
            else:
                done[name] = name_column(counted, categories, kind, rows)
    if again:
        exact = passes.together(spread.map(passes.count, [(part, again, list(again)) for part in parts]))
        done |= exact.columns
    return {name: done[name] for name in kinds}


def _look(
    parts: Sequence[Part], kinds: Mapping[str, ColumnKind], rows: int, spread: Spread
) -> tuple[dict[str, Floats], dict[str, NameCounts]]:
    """Samples of the numeric columns, ascending, and the names of the categorical ones."""
    chosen = passes.sampled_rows(rows)
    starts = list(accumulate((part.rows for part in parts), initial=0))
    tasks = []
    for part, start in zip(parts, starts, strict=False):
        low, high = np.searchsorted(chosen, [start, start + part.rows])
        tasks.append((part, kinds, chosen[low:high] - start))
    picked: dict[str, list[Floats]] = {name: [] for name, kind in kinds.items() if kind in NUMERIC}
    names = {name: NameCounts() for name in kinds if name not in picked}
    for found in spread.map(passes.look, tasks):
        for name, column in found.items():
            if isinstance(column, Picked):
                picked[name].append(column.values)
            else:
                names[name].merge(column)
    return {name: np.sort(np.concatenate([np.empty(0), *some])) for name, some in picked.items()}, names


def _numbers(draft: Draft, tally: Tally, cells: NumericCells, kind: ColumnKind, rows: int) -> ColumnProfile:
    column = numeric_column(tally, cells, kind, finite=counts_of(draft, tally, cells))
    return column.with_missing(rows - column.rows)


def new_baseline(table: pa.Table, features: Mapping[str, ColumnKind], blocks: int = 8) -> Baseline:
    """Baseline of training rows.

    Parameters
    ----------
    table : pyarrow.Table
        Rows in time order; consecutive stretches of equal length become the blocks.
    features : mapping of column to kind
        Columns to profile; one that `table` lacks or has in another kind is recorded as such.
    blocks : int
        Number of blocks (fewer when there are fewer rows).
    """
    wrong = {name: reason for name, kind in features.items() if (reason := _why_not(table, name, kind))}
    kinds = {name: kind for name, kind in features.items() if name not in wrong}
    whole = profile_parts([TablePart(table)], kinds)
    columns = {
        name: uncounted_column(kind, wrong[name]) if name in wrong else whole.columns[name]
        for name, kind in features.items()
    }
    total = Profile(rows=table.num_rows, columns=columns)
    count = min(blocks, max(table.num_rows, 1))
    if count == 1:
        return Baseline(blocks=(total,))
    bounds = np.linspace(0, table.num_rows, count + 1).astype(np.int64).tolist()
    stretches = [table.slice(start, end - start) for start, end in pairwise(bounds)]
    profiles = [profile_parts_like([TablePart(stretch)], total) for stretch in stretches]
    return Baseline(blocks=tuple(_block(profile, columns) for profile in profiles))


def _block(profile: Profile, whole: Mapping[str, ColumnProfile]) -> Profile:
    """What can't be counted in a baseline has the same reason in each block; values are kept of the whole or not at
    all."""
    columns = {}
    for name, column in profile.columns.items():
        if whole[name].reason is not None:
            columns[name] = whole[name]
        else:
            columns[name] = column if whole[name].sample is not None else replace(column, sample=None)
    return Profile(rows=profile.rows, columns=columns)


def _why_not(table: pa.Table, name: str, kind: ColumnKind) -> str | None:
    if kind is ColumnKind.UNSUPPORTED:
        return "unsupported"
    if name not in table.column_names:
        return "column_missing"
    found = kind_of(table.schema.field(name).type)
    if found is ColumnKind.EMPTY or kind is ColumnKind.EMPTY:
        return "baseline_empty"
    return None if found is kind else "kind_changed"
