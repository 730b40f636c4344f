"""An operation of the worker: look at a whole snapshot before training on it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from ct_daemon.dataset.contract import check, first_contract, refine
from ct_daemon.dataset.manifest import read_snapshot
from ct_daemon.dataset.snapshots import SEQ, load_rows
from ct_daemon.errors import ContractError
from ct_daemon.protocols import ValidateRequest, ValidateResult
from ct_daemon.scan.columns import contract_of
from ct_daemon.types import BatchKind, ColumnKind, Contract, Snapshot, Task
from ct_daemon.workers.objects import read_columns

MANY_CLASSES, ROWS_A_CLASS = 50, 10
"""More classes than these many, and than one for so many rows, are no classes."""


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
        own = ("part_altered", "too_few_rows", "too_many_classes", "single_class", "no_features")
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
    if request.task is not Task.CLASSIFICATION:
        return
    classes = pc.count_distinct(target).as_py()
    if classes > max(MANY_CLASSES, table.num_rows // ROWS_A_CLASS):
        raise ContractError(
            f"{snapshot.columns.target!r} has {classes} classes in {table.num_rows} rows; if it is a number to be "
            "predicted, set data.task: regression",
            reason="too_many_classes",
        )
    if classes < 2:
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
        part.seq: contract_of(read_columns(state / part.path, (target,))).columns.get(
            target, ColumnKind.EMPTY
        )
        for part in snapshot.parts
    }
    told = {seq: kind for seq, kind in kinds.items() if kind is not ColumnKind.EMPTY}
    if len(set(told.values())) > 1:
        seqs = ", ".join(f"{kind.value} in batch {seq}" for seq, kind in list(told.items())[:8])
        raise ContractError(f"the labels {target!r} are of several kinds ({seqs}); deliver them in one")
    return next(iter(told.values()), ColumnKind.EMPTY)
