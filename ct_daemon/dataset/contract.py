"""What a batch must look like to be taken. Pure, and light enough for the daemon's own process.

The first accepted batch of rows fixes a model's contract: every feature and the target, each with its kind. Later
batches may bring more columns and may leave a column empty; they may not lose a column or change its kind.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ct_daemon.types import BatchKind, ColumnKind, Columns, Contract, Task

NO_VALUES = frozenset({ColumnKind.EMPTY, ColumnKind.UNSUPPORTED})
TIME_KINDS = frozenset({ColumnKind.DATETIME, ColumnKind.NUMERIC, ColumnKind.CATEGORICAL})
"""Times, seconds since 1970, or text in ISO 8601 (which the reader of the values has to prove)."""
TARGET_KINDS: Mapping[Task, frozenset[ColumnKind]] = {
    Task.CLASSIFICATION: frozenset(
        {ColumnKind.NUMERIC, ColumnKind.BOOLEAN, ColumnKind.CATEGORICAL, ColumnKind.EMPTY}
    ),
    Task.REGRESSION: frozenset({ColumnKind.NUMERIC, ColumnKind.EMPTY}),
}
_NAMED = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One way in which a batch breaks its contract: a slug, and a sentence that names the columns."""

    reason: str
    detail: str


def first_contract(found: Contract, columns: Columns) -> Contract:
    """The contract that a model gets from its first batch.

    Parameters
    ----------
    found : Contract
        All columns of the batch.
    columns : Columns
        What they mean.

    Returns
    -------
    Contract
        The features in the order found, without nested and binary columns, then the target. A target that has not
        been seen yet (labels come later) is `EMPTY`, which any kind fits.
    """
    kinds = {
        name: kind
        for name, kind in found.columns.items()
        if name not in columns.not_features and kind is not ColumnKind.UNSUPPORTED
    }
    return Contract(columns=kinds | {columns.target: found.columns.get(columns.target, ColumnKind.EMPTY)})


def refine(contract: Contract, found: Contract) -> Contract:
    """The contract with each column that was empty so far given the first real kind found for it."""
    return Contract(
        columns={
            name: _refined(kind, found.columns.get(name, ColumnKind.EMPTY))
            for name, kind in contract.columns.items()
        }
    )


def _refined(known: ColumnKind, found: ColumnKind) -> ColumnKind:
    return found if known is ColumnKind.EMPTY and found is not ColumnKind.UNSUPPORTED else known


def fits(expected: ColumnKind, found: ColumnKind) -> bool:
    """May a column of kind `found` stand where `expected` is promised? Empty fits any, unsupported fits none."""
    return found is not ColumnKind.UNSUPPORTED and (
        ColumnKind.EMPTY in (expected, found) or expected is found
    )


def check(
    contract: Contract | None, found: Contract, columns: Columns, kind: BatchKind, task: Task
) -> tuple[Fault, ...]:
    """Hold the columns of a batch against the contract.

    Parameters
    ----------
    contract : Contract or None
        What was promised; None for a model's first batch.
    found : Contract
        The columns of the batch.
    columns : Columns
        What they mean. A column that is ignored by now is not asked for, even if the contract has it.
    kind : BatchKind
        A batch of labels needs only row id and target; a batch of rows may lack the target.
    task : Task
        Decides which kinds the target may have.

    Returns
    -------
    tuple of Fault
        Empty when the batch fits. Reasons: `columns_missing`, `columns_retyped`, `no_features`, `row_id_missing`,
        `target_missing`, `time_missing`, `time_unreadable`.
    """
    promised = {} if contract is None else dict(contract.columns)
    faults = [_row_id_fault(found, columns, kind), _target_fault(promised, found, columns, kind, task)]
    if kind is BatchKind.ROWS:
        features = {name: k for name, k in promised.items() if name not in columns.not_features}
        faults += [
            _missing(features, found),
            _retyped(features, found),
            _no_features(features, found, columns),
        ]
        faults += [_time_fault(found, columns)]
    return tuple(fault for fault in faults if fault is not None)


def _missing(features: Mapping[str, ColumnKind], found: Contract) -> Fault | None:
    missing = [name for name in features if name not in found.columns]
    return Fault(reason="columns_missing", detail=f"missing: {_names(missing)}") if missing else None


def _retyped(features: Mapping[str, ColumnKind], found: Contract) -> Fault | None:
    changed = [
        f"{name!r} (was {kind.value}, is {found.columns[name].value})"
        for name, kind in features.items()
        if name in found.columns and not fits(kind, found.columns[name])
    ]
    return Fault(reason="columns_retyped", detail=f"changed kind: {_listed(changed)}") if changed else None


def _no_features(features: Mapping[str, ColumnKind], found: Contract, columns: Columns) -> Fault | None:
    """A batch whose features are all empty can't be evaluated, which is not the same as "nothing has changed"."""
    names = features or [name for name in found.columns if name not in columns.not_features]
    if any(found.columns.get(name, ColumnKind.EMPTY) not in NO_VALUES for name in names):
        return None
    return Fault(
        reason="no_features", detail="no feature column holds a value that can be compared or trained on"
    )


def _row_id_fault(found: Contract, columns: Columns, kind: BatchKind) -> Fault | None:
    if columns.row_id is None:
        late = kind is BatchKind.LABELS
        return (
            Fault(reason="row_id_missing", detail="labels need data.row_id in the settings") if late else None
        )
    row_id = found.columns.get(columns.row_id, ColumnKind.EMPTY)
    if row_id is ColumnKind.EMPTY:
        return Fault(
            reason="row_id_missing", detail=f"the row id column {columns.row_id!r} is absent or empty"
        )
    if row_id is ColumnKind.UNSUPPORTED:
        return Fault(
            reason="columns_retyped", detail=f"the row id column {columns.row_id!r} is nested or binary"
        )
    return None


def _target_fault(
    promised: Mapping[str, ColumnKind], found: Contract, columns: Columns, kind: BatchKind, task: Task
) -> Fault | None:
    name = columns.target
    if name not in found.columns:
        absent = Fault(reason="target_missing", detail=f"the target column {name!r} is absent")
        return absent if kind is BatchKind.LABELS else None
    is_now = found.columns[name]
    if is_now not in TARGET_KINDS[task]:
        detail = f"the target column {name!r} is {is_now.value}, which is nothing for {task.value}"
        return Fault(reason="columns_retyped", detail=detail)
    was = promised.get(name, ColumnKind.EMPTY)
    if not fits(was, is_now):
        detail = f"the target column {name!r} was {was.value}, is {is_now.value}"
        return Fault(reason="columns_retyped", detail=detail)
    return None


def _time_fault(found: Contract, columns: Columns) -> Fault | None:
    if columns.time is None:
        return None
    kind = found.columns.get(columns.time, ColumnKind.EMPTY)
    if kind is ColumnKind.EMPTY:
        return Fault(reason="time_missing", detail=f"the time column {columns.time!r} is absent or empty")
    if kind not in TIME_KINDS:
        detail = f"the time column {columns.time!r} is {kind.value}; give times, seconds since 1970, or ISO 8601 text"
        return Fault(reason="time_unreadable", detail=detail)
    return None


def _names(names: Iterable[str]) -> str:
    return _listed([repr(name) for name in names])


def _listed(items: list[str]) -> str:
    """The first few, so that a file with ten thousand columns does not fill the log."""
    more = f" and {len(items) - _NAMED} more" if len(items) > _NAMED else ""
    return ", ".join(items[:_NAMED]) + more
