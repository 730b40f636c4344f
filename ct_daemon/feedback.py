"""Holds predictions against labels: at once where they came along, by row id where they come later.

Row ids and classes are compared by name (`dataset.frames.names_of`), so an id that is a number in one file and text
in another is the same id. What counts as a label is settled by `dataset.frames.labels_of`; where a newer file has
none for a row, an older label stands.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ct_daemon.dataset.frames import labels_of, names_of
from ct_daemon.errors import ContractError, SourceError
from ct_daemon.evaluation.metrics import row_losses
from ct_daemon.protocols import JoinRequest, JoinResult
from ct_daemon.scoring.predict import PREDICTION, ROW_ID
from ct_daemon.types import Columns, Outcome, Task

Losses = tuple[int, float, float]
"""Labelled rows, sum of errors, sum of squared errors (as in `Outcome`)."""


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
    """Hold each prediction file against the labels of its rows.

    A row labelled several times counts once, with the label from the newest file. Time: one pass over all rows
    with one hash table of the labels.

    Raises
    ------
    ContractError
        `row_id_missing` if no row id column is configured; `contract_broken` if a file holds what can't be compared.
    SourceError
        `object_unreadable` if a stored file can't be read.
    """
    if request.columns.row_id is None:
        raise ContractError("labels are joined by row id: set data.row_id", reason="row_id_missing")
    if not request.predictions or not request.labels:
        return JoinResult(outcomes=())
    truth = _newest_first(request.labels, request.columns, request.columns.row_id, request.task)
    files = [_predictions(path, request.task) for _, _, path in request.predictions]
    rows = pa.concat_tables(files)
    # Where an id stands more than once among the labels, index_in gives its first place: the newest.
    place = pc.index_in(rows[ROW_ID], value_set=truth[ROW_ID])
    known = pc.is_valid(place)
    errors, squared = row_losses(
        request.task,
        truth["label"].take(place.filter(known)).to_numpy(),
        rows[PREDICTION].filter(known).to_numpy(),
    )
    file_of = np.repeat(np.arange(len(files)), [file.num_rows for file in files])[known.to_numpy()]
    labelled = np.bincount(file_of, minlength=len(files))
    error_sums = np.bincount(file_of, weights=errors, minlength=len(files))
    squared_sums = np.bincount(file_of, weights=squared, minlength=len(files))
    return JoinResult(
        outcomes=tuple(
            Outcome(
                batch_seq=seq,
                version=version,
                rows=int(labelled[i]),
                error_sum=float(error_sums[i]),
                squared_sum=float(squared_sums[i]),
            )
            for i, (seq, version, _) in enumerate(request.predictions)
            if labelled[i]
        )
    )


def _newest_first(paths: tuple[str, ...], columns: Columns, row_id: str, task: Task) -> pa.Table:
    """All labels that count, the newest file first."""
    tables = []
    for path in reversed(paths):
        table = _read(path, (row_id, columns.target))
        ids = names_of(table[row_id], row_id)
        labels = labels_of(table[columns.target], task, columns.target)
        both = pc.and_(pc.is_valid(ids), pc.is_valid(labels))
        tables.append(pa.table({ROW_ID: ids, "label": labels}).filter(both))
    return pa.concat_tables(tables)


def _predictions(path: str, task: Task) -> pa.Table:
    table = _read(path, (ROW_ID, PREDICTION))
    return pa.table(
        {ROW_ID: names_of(table[ROW_ID], ROW_ID), PREDICTION: labels_of(table[PREDICTION], task, PREDICTION)}
    )


def _read(path: str, names: tuple[str, str]) -> pa.Table:
    try:
        with pq.ParquetFile(path) as file:
            return file.read(columns=list(names)).select(list(names))
    except (OSError, KeyError, pa.ArrowException) as error:
        raise SourceError(
            f"the stored file {Path(path).name} can't be read ({error}); put it back from a backup",
            reason="object_unreadable",
        ) from error
