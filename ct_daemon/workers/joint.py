"""Joint drift: how well can a classifier tell rows of the window from rows of the baseline?

It sees what no column shows by itself, such as two columns that no longer move together. Both samples are cut into
blocks. Each block but the first is scored by boosted trees that were fitted on the blocks before it: no row is scored
by a model that has seen it, and the p-value holds whatever the trees have learnt (`drift.joint`). Rows are taken as
independent, as for every other statistic here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from ct_daemon.drift.joint import Part, part_of, separation
from ct_daemon.drift.places import Floats
from ct_daemon.scan.columns import codes, kind_of, numbers
from ct_daemon.types import ColumnKind, JointDrift

Places = npt.NDArray[np.intp]

SAMPLE_ROWS = 5_000
"""Of each side, at most."""
SAMPLE_CELLS = 500_000
"""Rows times columns of each side: with more than a hundred columns the sample has fewer rows ..."""
LEAST_SAMPLE = 500
"""... but not fewer than this."""
MAX_COLUMNS = 1_000
"""Of more columns so many are looked at, drawn once: the time is bounded."""
MIN_ROWS = 100
"""Of each side: fewer can't tell."""
BLOCKS = 8
CERTAIN = 0.05
"""Above this p-value nobody asks what the classifier leaned on: it leaned on noise."""
NAMED = 5
"""So many columns that it leaned on are named ..."""
LEAST_SHARE = 0.1
"""... if the AUC falls by at least this share of what it falls by without the first of them."""
TRIED_AT_ONCE = 64
SHUFFLES = 2
SEED = 0
LARGEST = 1e300
"""Infinities are told apart from everything else, and no number is larger."""

_KINDS = (ColumnKind.NUMERIC, ColumnKind.BOOLEAN, ColumnKind.DATETIME, ColumnKind.CATEGORICAL)


def compare_jointly(base: pa.Table, window: pa.Table, columns: Iterable[str], seed: int = SEED) -> JointDrift:
    """Tell the rows of two tables apart.

    Parameters
    ----------
    columns : iterable of str
        Columns to look at; those that a side lacks, that differ in kind or that have no value are left out.
    seed : int
        The same seed, tables and columns give the same answer.

    Returns
    -------
    JointDrift
        Its `reason` is `no_columns`, or `too_few_rows` where a side has fewer than 100 rows: never "no drift".
    """
    random = np.random.default_rng(seed)
    names = comparable(base, window, columns)
    if len(names) > MAX_COLUMNS:
        names = [names[i] for i in np.sort(random.choice(len(names), MAX_COLUMNS, replace=False))]
    if not names:
        return JointDrift(reason="no_columns")
    rows = sample_size(len(names))
    sides = [sampled(table.select(names), rows, random) for table in (base, window)]
    n, m = (side.num_rows for side in sides)
    if min(n, m) < MIN_ROWS:
        return JointDrift(baseline_rows=n, window_rows=m, columns=len(names), reason="too_few_rows")
    values = np.column_stack([_values(sides[0][name], sides[1][name]) for name in names])
    is_window = np.arange(n + m) >= n
    # Small fits on several threads wait for each other, on a busy machine for minutes.
    with threadpool_limits(1):
        return _told_apart(values, is_window, names, random)


def comparable(base: pa.Table, window: pa.Table, columns: Iterable[str]) -> list[str]:
    """Those of the columns that both tables have in the same kind, with at least one value on either side."""
    return [
        name for name in dict.fromkeys(columns) if _kind(base, name) is not None and _fits(base, window, name)
    ]


def sample_size(columns: int) -> int:
    """Rows of each side that are looked at, for so many columns."""
    return max(LEAST_SAMPLE, min(SAMPLE_ROWS, SAMPLE_CELLS // max(columns, 1)))


def sampled(table: pa.Table, rows: int, random: np.random.Generator) -> pa.Table:
    """At most so many rows, drawn without putting back, in their own order."""
    if table.num_rows <= rows:
        return table
    return table.take(pa.array(np.sort(random.choice(table.num_rows, rows, replace=False))))


# --- columns to numbers ------------------------------------------------------------------------------------


def _kind(table: pa.Table, name: str) -> ColumnKind | None:
    """None for a column that is not there."""
    return kind_of(table.schema.field(name).type) if name in table.column_names else None


def _fits(base: pa.Table, window: pa.Table, name: str) -> bool:
    """A side on which the column is empty does not tell its kind."""
    found = {_kind(base, name), _kind(window, name)} - {ColumnKind.EMPTY}
    return len(found) == 1 and found.issubset(_KINDS)


def _values(base: pa.ChunkedArray, window: pa.ChunkedArray) -> Floats:
    """Both sides of a column as numbers, one below the other; missing is NaN.

    A category is its place among those of both sides, the most frequent first: that says nothing about the sides.
    """
    kinds = (kind_of(base.type), kind_of(window.type))
    if ColumnKind.CATEGORICAL not in kinds:
        both = np.concatenate([numbers(base), numbers(window)])
        return np.asarray(np.clip(both, -LARGEST, LARGEST))
    texts = [column.cast(pa.large_string()) for column in (base, window)]
    places, names = codes(
        pa.chunked_array([chunk for text in texts for chunk in text.chunks], pa.large_string())
    )
    counts = np.bincount(places[places >= 0], minlength=len(names))
    order = sorted(range(len(names)), key=lambda i: (-counts[i], names[i]))
    rank = np.empty(len(names) + 1)
    rank[order] = np.arange(len(names))
    rank[-1] = np.nan
    return np.asarray(rank[places], dtype=np.float64)


# --- telling apart -----------------------------------------------------------------------------------------


def _told_apart(
    values: Floats, is_window: npt.NDArray[np.bool_], names: Sequence[str], random: np.random.Generator
) -> JointDrift:
    blocks = _blocks(is_window, random)
    parts: list[Part] = []
    for number in range(1, BLOCKS):
        seen, asked = blocks < number, blocks == number
        model = _model().fit(values[seen], is_window[seen])
        parts.append(_part(model, values[asked], is_window[asked]))
    found = separation(parts)
    leaned_on: tuple[tuple[str, float], ...] = ()
    if found.p_value < CERTAIN:
        leaned_on = _leaned_on(model, values[asked], is_window[asked], names, random)
    return JointDrift(
        baseline_rows=int((~is_window).sum()),
        window_rows=int(is_window.sum()),
        columns=len(names),
        auc=found.auc,
        low=found.low,
        high=found.high,
        p_value=found.p_value,
        leaned_on=leaned_on,
    )


def _model() -> HistGradientBoostingClassifier:
    """Small trees and few of them: a stronger model tells apart no better here, and takes longer."""
    return HistGradientBoostingClassifier(
        max_iter=40, max_leaf_nodes=15, learning_rate=0.1, early_stopping=False, random_state=0
    )


def _blocks(is_window: npt.NDArray[np.bool_], random: np.random.Generator) -> Places:
    """The block of each row: every block has its share of both sides."""
    blocks = np.empty(is_window.size, dtype=np.intp)
    for side in (False, True):
        rows = random.permutation(np.flatnonzero(is_window == side))
        blocks[rows] = np.arange(rows.size) * BLOCKS // rows.size
    return blocks


def _part(model: HistGradientBoostingClassifier, values: Floats, is_window: npt.NDArray[np.bool_]) -> Part:
    scores = model.decision_function(values)
    return part_of(scores[~is_window], scores[is_window])


def _leaned_on(
    model: HistGradientBoostingClassifier,
    values: Floats,
    is_window: npt.NDArray[np.bool_],
    names: Sequence[str],
    random: np.random.Generator,
) -> tuple[tuple[str, float], ...]:
    """Permutation importance on rows that the model has not seen.

    Where there are many columns, groups of them are shuffled together first and only the best groups are looked into:
    some hundred questions to the model, however many columns there are.
    """
    whole = _part(model, values, is_window).auc
    order = [random.permutation(len(values)) for _ in range(SHUFFLES)]

    def loss(group: Places) -> float:
        asked = values.copy()
        falls = []
        for shuffled in order:
            asked[:, group] = values[np.ix_(shuffled, group)]
            falls.append(whole - _part(model, asked, is_window).auc)
        return float(np.mean(falls))

    groups = np.array_split(np.arange(len(names)), min(TRIED_AT_ONCE, len(names)))
    while True:
        best = sorted(((loss(group), group) for group in groups), key=lambda one: -one[0])[:NAMED]
        best = [(fall, group) for fall, group in best if fall > 0 and fall >= LEAST_SHARE * best[0][0]]
        if all(group.size == 1 for _, group in best):
            return tuple((names[int(group[0])], fall) for fall, group in best)
        groups = [
            part
            for _, group in best
            for part in np.array_split(group, min(TRIED_AT_ONCE // NAMED, group.size))
        ]
