"""Holds predictions against labels: at once where they came along, and anew when labels batches tell more.

Row ids and classes are compared by name (`dataset.frames.names_of`), so an id that is a number in one file and text
in another is the same id. What counts as a label is settled by `dataset.frames.labels_of`, and which of several
counts by `dataset.labels`, as for training.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ct_daemon.dataset.frames import labels_of, names_of
from ct_daemon.dataset.labels import labels_in_force, late_labels
from ct_daemon.errors import ContractError, SourceError
from ct_daemon.evaluation.metrics import row_losses
from ct_daemon.protocols import JoinRequest, JoinResult, LabelsFile, ScoredRows
from ct_daemon.scoring.predict import PREDICTION, ROW_ID
from ct_daemon.types import Outcome, Task

Losses = tuple[int, float, float]
"""Labelled rows, sum of errors, sum of squared errors (as in `Outcome`)."""

_OWN, _SEQ = "own", "seq"


def losses(labels: pa.ChunkedArray, predictions: pa.ChunkedArray, task: Task) -> Losses | None:
    """What predictions cost over the rows that have a label; None when no row has one.

    Parameters
    ----------
    labels, predictions : pyarrow.ChunkedArray
        Row by row, as `dataset.frames.labels_of` gives them; predictions have no gaps.
    task : Task
    """
    known = pc.is_valid(labels)
    truth = labels.filter(known)
    if len(truth) == 0:
        return None
    errors, squared = row_losses(task, truth.to_numpy(), predictions.filter(known).to_numpy())
    return len(truth), float(errors.sum()), float(squared.sum())


def join(request: JoinRequest) -> JoinResult:
    """Hold each scored batch against all labels of its rows, those that came along and those of labels batches.

    The outcome is the whole one, not what labels batches add. Time: one pass over all rows with one hash table of
    the labels.

    Raises
    ------
    ContractError
        `row_id_missing` if no row id column is configured; `contract_broken` if a file holds what can't be compared.
    SourceError
        `object_unreadable` if a stored file can't be read, or predictions and rows don't belong together.
    """
    columns, task = request.columns, request.task
    if columns.row_id is None:
        raise ContractError("labels are joined by row id: set data.row_id", reason="row_id_missing")
    if not request.scored:
        return JoinResult(outcomes=())
    late = late_labels((_labels(file, columns.row_id, columns.target, task) for file in request.labels), task)
    tables = [_scored(scored, columns.target, task) for scored in request.scored]
    rows = pa.concat_tables(tables)
    labels = labels_in_force(rows[_OWN], rows[_SEQ], rows[ROW_ID], late)
    outcomes = []
    start = 0
    for scored, table in zip(request.scored, tables, strict=True):
        found = losses(labels.slice(start, table.num_rows), table[PREDICTION], task)
        start += table.num_rows
        if found is not None:
            outcomes.append(_outcome(scored, found))
    return JoinResult(outcomes=tuple(outcomes))


def _outcome(scored: ScoredRows, found: Losses) -> Outcome:
    rows, error_sum, squared_sum = found
    return Outcome(
        batch_seq=scored.batch_seq,
        version=scored.version,
        rows=rows,
        error_sum=error_sum,
        squared_sum=squared_sum,
    )


def _labels(
    file: LabelsFile, row_id: str, target: str, task: Task
) -> tuple[int, pa.ChunkedArray, pa.ChunkedArray]:
    table = _read(file.path, (row_id, target))
    return file.batch_seq, names_of(table[row_id], row_id), labels_of(table[target], task, target)


def _scored(scored: ScoredRows, target: str, task: Task) -> pa.Table:
    """Row ids, predictions and the labels that came along."""
    table = _read(scored.predictions, (ROW_ID, PREDICTION))
    own = _read(scored.rows, (target,), optional=True)
    if own.num_rows != table.num_rows:
        raise SourceError(
            f"{own.num_rows} rows are stored for {table.num_rows} predictions in {Path(scored.predictions).name}; "
            "put both back from a backup",
            reason="object_unreadable",
        )
    return pa.table(
        {
            ROW_ID: names_of(table[ROW_ID], ROW_ID),
            PREDICTION: labels_of(table[PREDICTION], task, PREDICTION),
            _OWN: labels_of(own[target], task, target),
            _SEQ: pa.array(np.full(table.num_rows, scored.batch_seq, dtype=np.int64)),
        }
    )


def _read(path: str, names: tuple[str, ...], *, optional: bool = False) -> pa.Table:
    """These columns of a stored file; one that is `optional` and not there is missing in every row."""
    try:
        with pq.ParquetFile(path) as file:
            there = set(file.schema_arrow.names) if optional else set(names)
            table = file.read(columns=[name for name in names if name in there])
            nothing = pa.chunked_array([pa.nulls(file.metadata.num_rows)])
        return pa.table({name: table[name] if name in there else nothing for name in names})
    except (OSError, KeyError, pa.ArrowException) as error:
        raise SourceError(
            f"the stored file {Path(path).name} can't be read ({error}); put it back from a backup",
            reason="object_unreadable",
        ) from error
