"""A first baseline from a stream of batches that is seen once and may have no end in sight: quantiles and frequent
categories are sketched, with a bound on their error that the baseline keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from ct_daemon.drift.binning import NumericCells, category_cells
from ct_daemon.drift.edges import EMPTY, SAMPLE, cells_of, draft_for, numeric_cells
from ct_daemon.drift.names import NameCounts
from ct_daemon.drift.places import Floats, Ints
from ct_daemon.drift.profile import ColumnProfile, Profile, numeric_column, uncounted_column
from ct_daemon.drift.sketch import BUFFER, QuantileSketch
from ct_daemon.drift.tally import Tally
from ct_daemon.scan.columns import floats_of, kind_of, names_of
from ct_daemon.scan.counting import CATEGORICAL, NUMERIC, name_column
from ct_daemon.scan.parts import TablePart
from ct_daemon.scan.passes import for_each
from ct_daemon.scan.profiles import tables_of
from ct_daemon.types import ColumnKind

MANY_COLUMNS = 64
"""With more, each has a smaller sketch."""


def profile_stream(reader: pa.RecordBatchReader, columns: Sequence[str] | None = None) -> Profile:
    """Baseline of a stream of batches, in one pass.

    While a column has few values, all are held and its counts are exact. Beyond, `rank_error` of its profile bounds
    the error of each cumulative count.

    Parameters
    ----------
    columns : sequence of str, optional
        Only these, which the stream must have.
    """
    kinds = {field.name: kind_of(field.type) for field in reader.schema}
    if columns is not None:
        kinds = {name: kinds[name] for name in columns}
    buffer = BUFFER if len(kinds) <= MANY_COLUMNS else BUFFER // 4
    numbers = {
        name: _Numbers(QuantileSketch(buffer=buffer)) for name, kind in kinds.items() if kind in NUMERIC
    }
    names = {name: NameCounts() for name, kind in kinds.items() if kind in CATEGORICAL}
    rows = 0
    for table in tables_of(reader):
        part = TablePart(table, name="the stream")

        def see(name: str, part: TablePart = part) -> None:
            for piece in part.column(name):
                if name in numbers:
                    numbers[name].add(floats_of(piece))
                else:
                    seen, counts = names_of(piece)
                    names[name].add(seen.to_pylist(), counts.tolist())

        for_each(part, [*numbers, *names], see)
        rows += table.num_rows
    found: dict[str, ColumnProfile] = {}
    for name, kind in kinds.items():
        if name in numbers:
            found[name] = numbers[name].finish(kind)
        elif name in names:
            cells = category_cells(names[name].counts, more=names[name].error > 0)
            found[name] = name_column(names[name], cells, kind, rows)
        else:
            reason = "unsupported" if kind is ColumnKind.UNSUPPORTED else "baseline_empty"
            found[name] = uncounted_column(kind, reason)
    return Profile(rows=rows, columns=found)


@dataclass
class _Numbers:
    """A numeric column so far."""

    sketch: QuantileSketch
    tally: Tally = field(default_factory=lambda: Tally(EMPTY.grid))
    """Counts what needs no cells: missing, infinite, extremes, sums."""

    def add(self, values: Floats) -> None:
        self.tally.add(values)
        self.sketch.add(values[np.isfinite(values)])

    def finish(self, kind: ColumnKind) -> ColumnProfile:
        """The profile of the column."""
        values, upto = self.sketch.ranked()
        if self.sketch.error == 0:
            cells = numeric_cells(values)
            counts = np.diff(
                np.searchsorted(values, cells.edges, side="right"), prepend=0, append=values.size
            )
            return self._column(cells, counts, kind)
        ranks = np.linspace(0, upto[-1], SAMPLE // 2, endpoint=False).astype(np.int64) + 1
        sample = values[np.searchsorted(upto, ranks)]
        sample[0], sample[-1] = self.tally.low, self.tally.high
        draft = draft_for(sample, whole=False)
        drafted = draft.tally()
        drafted.add(sample)
        cells = cells_of(draft, drafted)
        reached = np.append(0, upto)[np.searchsorted(values, cells.edges, side="right")]
        reached[cells.edges >= self.tally.high] = self.sketch.count
        return self._column(cells, np.diff(reached, prepend=0, append=self.sketch.count), kind)

    def _column(self, cells: NumericCells, counts: Ints, kind: ColumnKind) -> ColumnProfile:
        column = numeric_column(self.tally, cells, kind, finite=counts)
        moments = None if column.moments is None else column.moments.about(cells.centre)
        return replace(column, moments=moments, rank_error=self.sketch.error)
