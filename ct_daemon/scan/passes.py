"""Passes over a part: each is a pure function of it that gives something which merges. So parts can be read here one
after the other, or anywhere at the same time, with the same counts to the last bit.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from ct_daemon.drift.edges import SAMPLE, Draft
from ct_daemon.drift.names import NameCounts
from ct_daemon.drift.places import Ints
from ct_daemon.drift.profile import ColumnProfile, Profile, uncounted_column
from ct_daemon.drift.tally import Tally
from ct_daemon.scan.columns import kind_of
from ct_daemon.scan.counting import NUMERIC, Picked, count_draft, count_like, count_names, pick
from ct_daemon.scan.parts import Part
from ct_daemon.scan.read import faults_of
from ct_daemon.types import ColumnKind

T = TypeVar("T")
SEED = 20_260_101


def workers() -> int:
    """Threads that count at the same time: as many as this process may use cores."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def for_each(part: Part, names: Sequence[str], do: Callable[[str], T]) -> dict[str, T]:
    """`do` for each column of a part, several at a time; decoding of one overlaps with counting of another."""

    def safely(name: str) -> T:
        with faults_of(part.name):
            return do(name)

    threads = min(workers(), len(names))
    try:
        if threads <= 1:
            return {name: safely(name) for name in names}
        with ThreadPoolExecutor(max_workers=threads) as pool:
            return dict(zip(names, pool.map(safely, names), strict=True))
    finally:
        part.close()


# --- a baseline: look, then count, then choose the cells ----------------------------------------------------


def sampled_rows(rows: int) -> Ints:
    """Which of all rows are looked at: all of few, else one out of each stretch of equal length, ascending."""
    if rows <= SAMPLE:
        return np.arange(rows)
    every = -(-rows // (SAMPLE // 2))
    starts = np.arange(0, rows, every)
    jump = np.random.default_rng(SEED).integers(0, every, starts.size)
    return np.asarray(np.minimum(starts + jump, rows - 1), dtype=np.int64)


def look(part: Part, kinds: Mapping[str, ColumnKind], rows: Ints) -> dict[str, Picked | NameCounts]:
    """The first pass: a sample of each numeric column at `rows` of the part, the names of each categorical one."""
    here = _with_values(part, kinds)

    def column(name: str) -> Picked | NameCounts:
        pieces = part.column(name)
        return pick(pieces, rows) if kinds[name] in NUMERIC else count_names(pieces)

    return for_each(part, here, column)


def tally(part: Part, drafts: Mapping[str, Draft]) -> dict[str, Tally]:
    """The second pass: each numeric column counted as its draft says."""
    here = _with_values(part, drafts)
    return for_each(part, here, lambda name: count_draft(part.column(name), drafts[name]))


def _with_values(part: Part, names: Iterable[str]) -> list[str]:
    """Those that the part has and that are not empty."""
    types = {field.name: field.type for field in part.schema}
    return [name for name in names if name in types and kind_of(types[name]) is not ColumnKind.EMPTY]


# --- a window: count on the cells of a baseline --------------------------------------------------------------


def count(part: Part, like: Mapping[str, ColumnProfile], watch: Sequence[str]) -> Profile:
    """Each watched column counted on the baseline's cells, or with the reason why it can't be."""
    kinds = {field.name: kind_of(field.type) for field in part.schema}
    found = {name: kinds.get(name) for name in watch}
    why = {name: _why_not(found[name], like.get(name)) for name in watch}
    counted = for_each(
        part,
        [name for name in watch if why[name] is None],
        lambda name: count_like(part.column(name), like[name]),
    )
    columns = {
        name: counted[name] if reason is None else _uncounted(found[name], reason, like.get(name))
        for name, reason in why.items()
    }
    return Profile(rows=part.rows, columns=columns)


def _why_not(found: ColumnKind | None, base: ColumnProfile | None) -> str | None:
    if base is None:
        return "not_in_baseline"
    if found is None:
        return "column_missing"
    if base.cells is None:
        return base.reason or "unsupported"
    if found is ColumnKind.UNSUPPORTED:
        return "unsupported"
    return None if found in (base.kind, ColumnKind.EMPTY) else "kind_changed"


def _uncounted(found: ColumnKind | None, reason: str, base: ColumnProfile | None) -> ColumnProfile:
    """`kind` is as found where that is the reason, else the baseline's."""
    own = base is None or reason in ("unsupported", "kind_changed")
    kind = found if own or base is None else base.kind
    return uncounted_column(kind or ColumnKind.EMPTY, reason)


def together(profiles: Iterable[Profile]) -> Profile:
    """The profile of several parts. Where a part lacks a column that others have, it is missing in all its rows; a
    column that can't be counted in one part can't be counted.

    Raises
    ------
    ValueError
        Without parts.
    """
    parts = list(profiles)
    if not parts:
        raise ValueError("a profile needs at least one part")
    columns = {
        name: _column_together([(part.rows, part.columns[name]) for part in parts])
        for name in parts[0].columns
    }
    return Profile(rows=sum(part.rows for part in parts), columns=columns)


def _column_together(parts: Sequence[tuple[int, ColumnProfile]]) -> ColumnProfile:
    broken = [column for _, column in parts if column.reason not in (None, "column_missing")]
    counted = [column for _, column in parts if column.reason is None]
    if broken or not counted:
        there = [column for column in broken if column.kind is not ColumnKind.EMPTY]
        return [*there, *broken, parts[0][1]][0]
    total = counted[0]
    for column in counted[1:]:
        total = total.merge(column)
    absent = sum(rows for rows, column in parts if column.reason is not None)
    return total.with_missing(absent) if absent else total
