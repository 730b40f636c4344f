"""An operation of the worker: take a file, that is read, check, store and score it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from ct_daemon.artifacts import LoadedVersion
from ct_daemon.dataset.frames import labels_of
from ct_daemon.errors import ContractError, CtDaemonError, SourceError, StateError
from ct_daemon.feedback import losses
from ct_daemon.protocols import TakeRequest, TakeResult
from ct_daemon.scan.read import read_table
from ct_daemon.scoring.predict import Scorer, write_predictions
from ct_daemon.types import BatchKind, Task
from ct_daemon.workers.arriving import Arrived, arrived
from ct_daemon.workers.objects import disk_refused, store_rows


def take(request: TakeRequest, scorer: Scorer) -> TakeResult:
    """Read a staged file, hold it to the contract, store its rows, score them.

    What is wrong with the file is in the result's `reason`; a champion that can't score rows which are within the
    contract is in `scoring_reason`, and the batch is good all the same.

    Raises
    ------
    StateError
        `disk_refused` if the state folder takes no more, `staging_unreadable` if it does not give back our copy: the
        file is not at fault and can be taken later.
    MemoryError
        If there is too little, whoever is at fault.
    """
    try:
        table = _read(request)
        batch = arrived(
            table,
            request.contract,
            request.columns,
            request.kind,
            request.task,
            labels_later=request.labels_later,
        )
        store_rows(batch.rows, Path(request.object_path))
    except (SourceError, ContractError) as error:
        return TakeResult(reason=error.reason, detail=str(error))
    result = TakeResult(
        rows=batch.rows.num_rows,
        labelled_rows=0 if batch.labels is None else len(batch.labels) - batch.labels.null_count,
        contract=batch.found,
        event_from_at=batch.event_from_at,
        event_until_at=batch.event_until_at,
    )
    return result if request.kind is BatchKind.LABELS else _scored(request, result, batch, scorer)


def _read(request: TakeRequest) -> pa.Table:
    staged = Path(request.staged)
    try:
        return read_table(staged, request.name, max_rows=request.max_rows, max_columns=request.max_columns)
    except OSError as error:
        raise StateError(
            f"our copy {staged} of {request.name} can't be read: {error.strerror}; look at the disk of the state "
            "folder (the file itself is taken again from where it arrived)",
            reason="staging_unreadable",
        ) from error


def _scored(request: TakeRequest, result: TakeResult, batch: Arrived, scorer: Scorer) -> TakeResult:
    """The result with what the champion says of the rows, and what their labels say of that."""
    if request.champion is None or request.predictions_path is None:
        return result
    path = Path(request.predictions_path)
    try:
        _check_task(scorer.version(request.champion), request.task)
        predictions = scorer.predict(request.champion, batch.rows)
        write_predictions(batch.rows, predictions, request.columns, path)
    except OSError as error:
        raise disk_refused(path, error) from error
    except CtDaemonError as error:
        return replace(result, scoring_reason=error.reason, scoring_detail=str(error))
    outcome = None
    if batch.labels is not None:
        answers = labels_of(pa.chunked_array([pa.array(predictions)]), request.task, "prediction")
        outcome = losses(batch.labels, answers, request.task)
    return replace(result, scored_rows=len(predictions), outcome=outcome)


def _check_task(champion: LoadedVersion, task: Task) -> None:
    if champion.task is not task:
        raise ContractError(
            f"version {champion.version} was trained for {champion.task.value} and the settings say {task.value}; "
            "train anew, or set data.task back",
            reason="task_changed",
        )
