"""A batch is held to the contract: each reason, and what is let through."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ct_daemon.dataset.contract import check, first_contract, fits, refine
from ct_daemon.types import BatchKind, ColumnKind, Columns, Contract, Task

NUMERIC, BOOLEAN, CATEGORICAL = ColumnKind.NUMERIC, ColumnKind.BOOLEAN, ColumnKind.CATEGORICAL
DATETIME, EMPTY, UNSUPPORTED = ColumnKind.DATETIME, ColumnKind.EMPTY, ColumnKind.UNSUPPORTED
COLUMNS = Columns(target="y", row_id="id", time="at", ignore=("note",))
PROMISED = Contract(columns={"a": NUMERIC, "b": CATEGORICAL, "y": CATEGORICAL})
FULL = {"id": NUMERIC, "at": DATETIME, "a": NUMERIC, "b": CATEGORICAL, "y": CATEGORICAL}


def reasons(
    found: dict[str, ColumnKind],
    *,
    contract: Contract | None = PROMISED,
    columns: Columns = COLUMNS,
    kind: BatchKind = BatchKind.ROWS,
    task: Task = Task.CLASSIFICATION,
) -> list[str]:
    return [fault.reason for fault in check(contract, Contract(columns=found), columns, kind, task)]


def without(*names: str) -> dict[str, ColumnKind]:
    return {name: kind for name, kind in FULL.items() if name not in names}


def test_a_batch_like_the_first_has_no_fault():
    assert reasons(FULL) == []


def test_order_and_extra_columns_do_not_matter():
    assert reasons(dict(reversed(FULL.items())) | {"new": UNSUPPORTED, "note": UNSUPPORTED}) == []


def test_labels_may_come_later_than_rows():
    assert reasons(without("y")) == []


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (without("b"), "columns_missing"),
        (without("b") | {"B": CATEGORICAL}, "columns_missing"),
        (FULL | {"a": CATEGORICAL}, "columns_retyped"),
        (FULL | {"a": BOOLEAN}, "columns_retyped"),
        (FULL | {"a": UNSUPPORTED}, "columns_retyped"),
        (FULL | {"y": NUMERIC}, "columns_retyped"),
        (FULL | {"y": UNSUPPORTED}, "columns_retyped"),
        (FULL | {"a": EMPTY, "b": EMPTY}, "no_features"),
        (without("id"), "row_id_missing"),
        (FULL | {"id": EMPTY}, "row_id_missing"),
        (FULL | {"id": UNSUPPORTED}, "columns_retyped"),
        (without("at"), "time_missing"),
        (FULL | {"at": EMPTY}, "time_missing"),
        (FULL | {"at": BOOLEAN}, "time_unreadable"),
    ],
)
def test_a_broken_batch_of_rows_has_its_own_reason(found, reason):
    assert reasons(found) == [reason]


def test_every_fault_is_told_and_names_its_columns():
    found = Contract(columns=without("b", "id") | {"a": CATEGORICAL})
    faults = check(PROMISED, found, COLUMNS, BatchKind.ROWS, Task.CLASSIFICATION)
    assert {fault.reason for fault in faults} == {"row_id_missing", "columns_missing", "columns_retyped"}
    told = " ".join(fault.detail for fault in faults)
    assert "'b'" in told
    assert "'a' (was numeric, is categorical)" in told


def test_a_message_about_ten_thousand_columns_stays_short():
    wide = Contract(columns={f"c{i}": NUMERIC for i in range(10_000)})
    (fault, _) = check(
        wide, Contract(columns={"x": NUMERIC}), Columns(target="y"), BatchKind.ROWS, Task.REGRESSION
    )
    assert fault.reason == "columns_missing"
    assert fault.detail.endswith("and 9992 more")
    assert len(fault.detail) < 200


def test_a_name_with_control_characters_is_shown_harmless():
    contract = Contract(columns={"a\x1b[31m\n": NUMERIC})
    (fault, _) = check(
        contract, Contract(columns={}), Columns(target="y"), BatchKind.ROWS, Task.CLASSIFICATION
    )
    assert "\x1b" not in fault.detail
    assert "\n" not in fault.detail


@pytest.mark.parametrize("time", [DATETIME, NUMERIC, CATEGORICAL])
def test_time_may_be_a_time_or_seconds_or_text(time):
    assert reasons(FULL | {"at": time}) == []


def test_a_batch_of_labels_needs_only_row_id_and_target():
    assert reasons({"id": NUMERIC, "y": CATEGORICAL}, kind=BatchKind.LABELS) == []


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ({"y": CATEGORICAL}, "row_id_missing"),
        ({"id": NUMERIC}, "target_missing"),
        ({"id": NUMERIC, "y": NUMERIC}, "columns_retyped"),
    ],
)
def test_a_broken_batch_of_labels_has_its_own_reason(found, reason):
    assert reasons(found, kind=BatchKind.LABELS) == [reason]


def test_labels_without_a_configured_row_id_are_refused():
    assert reasons({"y": CATEGORICAL}, kind=BatchKind.LABELS, columns=Columns(target="y")) == [
        "row_id_missing"
    ]


@pytest.mark.parametrize(
    ("task", "target", "allowed"),
    [
        (Task.REGRESSION, NUMERIC, True),
        (Task.REGRESSION, EMPTY, True),
        (Task.REGRESSION, CATEGORICAL, False),
        (Task.REGRESSION, BOOLEAN, False),
        (Task.CLASSIFICATION, BOOLEAN, True),
        (Task.CLASSIFICATION, DATETIME, False),
    ],
)
def test_the_first_target_must_suit_the_task(task, target, allowed):
    found = reasons({"a": NUMERIC, "y": target}, contract=None, columns=Columns(target="y"), task=task)
    assert found == ([] if allowed else ["columns_retyped"])


def test_a_first_batch_of_roles_alone_has_no_features():
    assert reasons({"id": NUMERIC, "at": DATETIME, "y": CATEGORICAL, "note": NUMERIC}, contract=None) == [
        "no_features"
    ]


def test_a_column_that_is_ignored_by_now_is_not_asked_for():
    columns = Columns(target="y", row_id="id", time="at", ignore=("b",))
    assert reasons(without("b"), columns=columns) == []


def test_the_first_contract_is_the_features_and_the_target():
    found = Contract(columns=FULL | {"note": CATEGORICAL, "blob": UNSUPPORTED, "gap": EMPTY})
    assert first_contract(found, COLUMNS).columns == {
        "a": NUMERIC,
        "b": CATEGORICAL,
        "gap": EMPTY,
        "y": CATEGORICAL,
    }


def test_a_target_not_seen_yet_takes_the_first_kind_that_comes():
    contract = first_contract(Contract(columns=without("y")), COLUMNS)
    assert contract.columns["y"] is EMPTY
    assert reasons(FULL, contract=contract) == []
    assert refine(contract, Contract(columns={"y": BOOLEAN})).columns["y"] is BOOLEAN


kinds = st.sampled_from(ColumnKind)
contracts = st.dictionaries(st.sampled_from("abcdy"), kinds, min_size=1).map(
    lambda columns: Contract(columns=columns)
)


@given(contracts)
def test_a_batch_always_fits_the_contract_that_it_founded(found):
    columns = Columns(target="y")
    faults = check(first_contract(found, columns), found, columns, BatchKind.ROWS, Task.CLASSIFICATION)
    assert {fault.reason for fault in faults} <= {"no_features", "columns_retyped"}
    assert all(fault.reason != "columns_retyped" or "target" in fault.detail for fault in faults)


@given(contracts, contracts)
def test_refining_only_fills_what_was_empty_and_settles_after_one_pass(contract, found):
    refined = refine(contract, found)
    assert list(refined.columns) == list(contract.columns)
    for name, kind in contract.columns.items():
        assert refined.columns[name] is kind or kind is EMPTY
        assert refined.columns[name] is not UNSUPPORTED or kind is UNSUPPORTED
    assert refine(refined, found) == refined


@given(kinds, kinds)
def test_what_fits_is_the_same_kind_or_empty_on_either_side(expected, found):
    wanted = found is not UNSUPPORTED and (expected is found or EMPTY in (expected, found))
    assert fits(expected, found) is wanted
