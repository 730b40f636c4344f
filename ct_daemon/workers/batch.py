"""The worker's program: ``python -m ct_daemon.workers.batch`` answers requests on stdin until it is closed.

The six operations of `protocols.Worker`. Each reads files and writes whole files or none, and nothing is kept
between requests but loaded models: a request can be repeated at any time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ct_daemon.artifacts import LoadedVersion, load_version
from ct_daemon.dataset.contract import check, first_contract, refine
from ct_daemon.dataset.frames import decoded, labels_of, names_of, numbers_of, to_frame
from ct_daemon.dataset.manifest import read_snapshot
from ct_daemon.dataset.snapshots import SEQ, load_rows
from ct_daemon.drift.compare import compare as compare_profiles
from ct_daemon.drift.profile import Baseline
from ct_daemon.errors import ArtifactError, ContractError, CtDaemonError, SourceError, StateError
from ct_daemon.feedback import join, losses
from ct_daemon.manifests import read_within
from ct_daemon.protocols import (
    CompareRequest,
    JoinRequest,
    TakeRequest,
    TakeResult,
    TrainSpec,
    ValidateRequest,
    ValidateResult,
    VerifyRequest,
    VerifyResult,
)
from ct_daemon.scan.columns import contract_of, kind_of
from ct_daemon.scan.profiles import load_baseline, profile_like, save_baseline
from ct_daemon.scan.read import read_table, write_table
from ct_daemon.scoring.predict import Scorer, predict_frame, write_predictions
from ct_daemon.types import BatchKind, ColumnKind, Columns, Contract, DriftReport, Snapshot, Task
from ct_daemon.workers.judging import evaluate
from ct_daemon.workers.serve import Operations, serve

RELATIVE_ERROR = 1e-9
"""Golden rows: numbers may differ by this share, for sums taken in another order on another machine."""
YEAR_9999_S = 253_402_300_799.0


def operations(scorer: Scorer) -> Operations:
    """What the worker answers, by name."""
    return {
        "take": (TakeRequest, partial(take, scorer=scorer)),
        "compare": (CompareRequest, compare),
        "join": (JoinRequest, join),
        "validate": (ValidateRequest, validate),
        "evaluate": (TrainSpec, evaluate),
        "verify": (VerifyRequest, verify),
    }


# --- take ------------------------------------------------------------------------------------------------


def take(request: TakeRequest, scorer: Scorer) -> TakeResult:
    """Read a staged file, hold it to the contract, store its rows, score them.

    What is wrong with the file is in the result's `reason`; a champion that can't score rows which are within the
    contract is in `scoring_reason`, and the batch is good all the same.

    Raises
    ------
    StateError
        `disk_refused` if the state folder takes no more: the file is not at fault and can be taken later.
    """
    try:
        table = read_table(
            Path(request.staged), request.name, max_rows=request.max_rows, max_columns=request.max_columns
        )
        batch = arrived(table, request.contract, request.columns, request.kind, request.task)
        _store(batch.rows, Path(request.object_path))
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


def _store(rows: pa.Table, path: Path) -> None:
    """Objects are named by the digest of the file they came in and written whole: one that is there is complete."""
    if path.exists():
        return
    try:
        write_table(rows, path)
    except OSError as error:
        raise _disk_refused(path, error) from error


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
        raise _disk_refused(path, error) from error
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


def _disk_refused(path: Path, error: OSError) -> StateError:
    return StateError(
        f"{path} can't be written: {error.strerror or error}; check space and permissions of the state folder",
        reason="disk_refused",
    )


# --- from a file to a batch ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """A batch within its contract.

    `rows` is what gets stored: nested and binary columns are left out, the time column holds UTC timestamps, a column
    without any value has the type null, and other types are few, so that all batches of a model fit together. Of
    labels, only row id and target are kept. `labels` is the target as `dataset.frames.labels_of` gives it.
    """

    rows: pa.Table
    found: Contract
    labels: pa.ChunkedArray | None
    event_from_at: datetime | None = None
    event_until_at: datetime | None = None


def arrived(
    table: pa.Table, contract: Contract | None, columns: Columns, kind: BatchKind, task: Task
) -> Arrived:
    """Make a batch of a table, or say why not.

    Raises
    ------
    ContractError
        With one of the reasons of `dataset.contract.check` (and the details of all faults), or `row_id_missing`,
        `row_id_repeated`, `time_missing`, `time_unreadable` for what stands in the rows.
    """
    if kind is BatchKind.LABELS:
        table = table.select(
            [name for name in (columns.row_id, columns.target) if name in table.column_names]
        )
    found = _found(table)
    faults = check(contract, found, columns, kind, task)
    if faults:
        raise ContractError("; ".join(fault.detail for fault in faults), reason=faults[0].reason)
    if columns.row_id is not None:
        _check_row_ids(table[columns.row_id], columns.row_id)
    first = last = None
    if kind is BatchKind.ROWS and columns.time is not None:
        times = _times(table[columns.time], columns.time)
        first, last = _span(times, columns.time)
        table = table.set_column(table.column_names.index(columns.time), columns.time, times)
    rows = _storable(table, found, columns)
    target = columns.target
    return Arrived(
        rows=rows,
        found=found,
        labels=labels_of(rows[target], task, target) if target in rows.column_names else None,
        event_from_at=first,
        event_until_at=last,
    )


def _found(table: pa.Table) -> Contract:
    """The columns as found; one in which every value is missing tells no kind, whatever its type."""
    kinds = contract_of(table).columns
    return Contract(
        columns={
            name: ColumnKind.EMPTY if _all_missing(table[name]) else kind for name, kind in kinds.items()
        }
    )


def _all_missing(column: pa.ChunkedArray) -> bool:
    if column.null_count == len(column):
        return True
    return pa.types.is_floating(column.type) and bool(pc.all(pc.is_nan(column)).as_py())


def _check_row_ids(column: pa.ChunkedArray, name: str) -> None:
    ids = names_of(column, name)
    nameless = ids.null_count + (pc.sum(pc.equal(ids, "")).as_py() or 0)
    if nameless:
        raise ContractError(
            f"{nameless} of {len(ids)} rows have no row id in {name!r}; give every row one",
            reason="row_id_missing",
        )
    if pc.count_distinct(ids).as_py() == len(ids):
        return
    counts = ids.value_counts()
    repeated = counts.filter(pc.greater(counts.field("counts"), 1)).field("values")
    raise ContractError(
        f"{len(repeated)} row ids stand more than once in {name!r}, such as {repeated[0].as_py()!r}; a row id "
        "names one row",
        reason="row_id_repeated",
    )


def _times(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """Times as UTC timestamps in microseconds; null where there is none.

    Text is ISO 8601, numbers are seconds since 1970; what has no zone counts as UTC.
    """
    kind = kind_of(column.type)
    if kind is ColumnKind.DATETIME:
        return decoded(column)
    if kind is ColumnKind.CATEGORICAL:
        texts = pd.Series(names_of(column, name).to_numpy(), dtype=object)
        try:
            times = pd.to_datetime(texts, format="ISO8601", utc=True)
        except ValueError as error:
            raise _unreadable(name, str(error).partition("You might")[0].strip()) from error
        return decoded(pa.chunked_array([pa.array(times)]))
    seconds = numbers_of(column, name)
    known = ~np.isnan(seconds)
    if np.any(np.abs(seconds[known]) > YEAR_9999_S):
        raise _unreadable(name, f"{seconds[known].max():g} is no number of seconds since 1970")
    micros = np.rint(np.where(known, seconds, 0.0) * 1e6).astype(np.int64)
    return pa.chunked_array([pa.array(micros, mask=~known)]).cast(pa.timestamp("us"))


def _span(times: pa.ChunkedArray, name: str) -> tuple[datetime, datetime]:
    """The first and the last of them."""
    ends = pc.min_max(times)
    try:
        first, last = ends["min"].as_py(), ends["max"].as_py()
    except (OverflowError, ValueError) as error:
        raise _unreadable(name, "there are times beyond the years 1 to 9999") from error
    if first is None:
        raise ContractError(f"the time column {name!r} is empty", reason="time_missing")
    return first.replace(tzinfo=UTC), last.replace(tzinfo=UTC)


def _unreadable(name: str, why: str) -> ContractError:
    return ContractError(
        f"the time column {name!r} can't be read: {why}; give times, ISO 8601 text or seconds since 1970",
        reason="time_unreadable",
    )


def _storable(table: pa.Table, found: Contract, columns: Columns) -> pa.Table:
    """What `Arrived.rows` says. Row ids and targets keep their digits: they are compared by name, not joined."""
    exact = (columns.row_id, columns.target)
    stored = {}
    for name, kind in found.columns.items():
        if kind is ColumnKind.EMPTY:
            stored[name] = pa.nulls(table.num_rows)
        elif kind is not ColumnKind.UNSUPPORTED:
            column = decoded(table[name])
            stored[name] = column if name in exact else _plain(column)
    return pa.table(stored)


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """In a type that Arrow joins with the others of its kind: integers up to 64 bits with a sign, floats, text."""
    kind = column.type
    if pa.types.is_decimal(kind) or pa.types.is_uint64(kind) or pa.types.is_float16(kind):
        return column.cast(pa.float64(), safe=False)
    if pa.types.is_string_view(kind):
        return column.cast(pa.string())
    return column


# --- compare ---------------------------------------------------------------------------------------------


def compare(request: CompareRequest) -> DriftReport:
    """Profile the rows of all objects together on the cells of the baseline, and compare.

    Raises
    ------
    ArtifactError
        If the baseline is missing or altered.
    SourceError
        `object_unreadable` if stored rows can't be read.
    ContractError
        `contract_broken` if a column has types in the objects that don't fit together.
    StateError
        `disk_refused` if the profile can't be written.
    """
    baseline = load_baseline(Path(request.baseline), request.baseline_digest)
    whole = baseline.merge()
    watched = [name for name in whole.columns if request.watch is None or name in request.watch]
    table = _together([_columns(Path(path), watched) for path in request.objects])
    profile, values = profile_like(table, baseline, request.watch)
    if request.profile_path is not None:
        path = Path(request.profile_path)
        try:
            save_baseline(Baseline(blocks=(profile,)), path)
        except OSError as error:
            raise _disk_refused(path, error) from error
    return compare_profiles(whole, profile, values)


def _columns(path: Path, names: Iterable[str]) -> pa.Table:
    """Those of the columns that a stored object has."""
    try:
        with pq.ParquetFile(path) as file:
            there = set(file.schema_arrow.names)
            table = file.read(columns=[name for name in names if name in there])
    except (OSError, pa.ArrowException) as error:
        raise SourceError(
            f"the stored rows {path.name} can't be read ({error}); put the file back from a backup",
            reason="object_unreadable",
        ) from error
    # Without any column, Arrow forgets the number of rows as soon as tables are joined.
    return table if table.num_columns else pa.table({"": pa.nulls(table.num_rows)})


def _together(tables: list[pa.Table]) -> pa.Table:
    """One below the other; a column that one of them lacks is missing there."""
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowTypeError, pa.ArrowInvalid) as error:
        raise ContractError(
            f"the batches of the window don't agree on a column's type ({error}); list it under data.ignore"
        ) from error


# --- validate --------------------------------------------------------------------------------------------


def validate(request: ValidateRequest) -> ValidateResult:
    """Look at a whole snapshot before training on it: are the parts as recorded, are there labels enough, and in
    what form are the columns? The contract in the result has every column that has a value by now.

    Raises
    ------
    ArtifactError
        If the snapshot's manifest is missing or altered.
    """
    snapshot = read_snapshot(Path(request.snapshot))
    promised = None if request.contract is None else first_contract(request.contract, snapshot.columns)
    rows = sum(part.rows for part in snapshot.parts if part.kind is BatchKind.ROWS)
    blank = ValidateResult(rows=rows, labelled_rows=0, contract=promised or Contract(columns={}))
    state = Path(request.state)
    try:
        _check_names(snapshot)
        wanted = None if promised is None else promised.columns
        table = load_rows(snapshot, state, request.task, wanted)
        blank = replace(blank, labelled_rows=table.num_rows)
        _check_labels(snapshot, table, request)
        return replace(blank, contract=_contract(snapshot, state, table, promised, request.task))
    except ContractError as error:
        own = ("part_altered", "too_few_rows", "single_class", "no_features")
        return replace(
            blank, reason=error.reason if error.reason in own else "contract_broken", detail=str(error)
        )


def _check_names(snapshot: Snapshot) -> None:
    """A part is a file named by the digest that it is recorded with; `load_rows` looks into it."""
    for part in snapshot.parts:
        if Path(part.path).stem != part.digest:
            raise ContractError(
                f"batch {part.seq} is recorded with digest {part.digest} but lies in {part.path}; start another run",
                reason="part_altered",
            )


def _check_labels(snapshot: Snapshot, table: pa.Table, request: ValidateRequest) -> None:
    if table.num_rows < request.min_rows:
        raise ContractError(
            f"{table.num_rows} rows have a label, {request.min_rows} are needed; wait for more or lower "
            "training.min_rows",
            reason="too_few_rows",
        )
    target = table[snapshot.columns.target]
    if request.task is Task.CLASSIFICATION and pc.count_distinct(target).as_py() < 2:
        raise ContractError(
            f"all {table.num_rows} labelled rows have the same {snapshot.columns.target!r}; wait for others",
            reason="single_class",
        )


def _contract(
    snapshot: Snapshot, state: Path, table: pa.Table, promised: Contract | None, task: Task
) -> Contract:
    """The contract with the kinds of the snapshot, once the snapshot is found to keep it."""
    target = snapshot.columns.target
    found = {name: k for name, k in contract_of(table).columns.items() if name not in (SEQ, target)}
    roles = replace(snapshot.columns, row_id=None, time=None)
    faults = check(promised, Contract(columns=found), roles, BatchKind.ROWS, task)
    if faults:
        raise ContractError("; ".join(fault.detail for fault in faults), reason=faults[0].reason)
    contract = refine(
        promised or first_contract(Contract(columns=found), snapshot.columns), Contract(columns=found)
    )
    if contract.columns[target] is not ColumnKind.EMPTY:
        return contract
    return refine(contract, Contract(columns={target: _target_kind(snapshot, state)}))


def _target_kind(snapshot: Snapshot, state: Path) -> ColumnKind:
    """Of the labels as they were delivered: `load_rows` gives classes as text, whatever they were."""
    target = snapshot.columns.target
    kinds = {
        part.seq: contract_of(_columns(state / part.path, (target,))).columns.get(target, ColumnKind.EMPTY)
        for part in snapshot.parts
    }
    told = {seq: kind for seq, kind in kinds.items() if kind is not ColumnKind.EMPTY}
    if len(set(told.values())) > 1:
        seqs = ", ".join(f"{kind.value} in batch {seq}" for seq, kind in list(told.items())[:8])
        raise ContractError(f"the labels {target!r} are of several kinds ({seqs}); deliver them in one")
    return next(iter(told.values()), ColumnKind.EMPTY)


# --- verify ----------------------------------------------------------------------------------------------


def verify(request: VerifyRequest) -> VerifyResult:
    """Load a version from its files and predict its golden rows again."""
    try:
        loaded = load_version(request.version)
        golden = json.loads(read_within(Path(request.version.path), "golden.json"))
        answers = predict_frame(loaded, to_frame(pa.Table.from_pylist(golden["rows"]), loaded.features))
    except ArtifactError as error:
        return VerifyResult(rows=0, reason=error.reason, detail=str(error))
    differ = int(np.count_nonzero(~_same(np.asarray(golden["predictions"]), answers, loaded.task)))
    if differ == 0:
        return VerifyResult(rows=len(answers))
    return VerifyResult(
        rows=len(answers),
        reason="golden_rows_differ",
        detail=f"{differ} of {len(answers)} golden rows of version {request.version.version} get another answer than "
        "when it was made; are the libraries the same as in its manifest?",
    )


def _same(recorded: NDArray[np.generic], answers: NDArray[np.generic], task: Task) -> NDArray[np.bool_]:
    """Row by row: the same class, or the same number but for rounding."""
    if task is Task.CLASSIFICATION:
        return np.asarray(recorded.astype(str) == answers.astype(str))
    return np.isclose(
        recorded.astype(np.float64), answers.astype(np.float64), rtol=RELATIVE_ERROR, atol=1e-12
    )


if __name__ == "__main__":
    serve(operations(Scorer()))
