"""What a look at the data suggests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ct_daemon.config.values import checked_slug
from ct_daemon.init_config import row_id_of, slug_of, targets_of, task_of, time_of
from ct_daemon.init_config.proposals import Look, SeenColumn, values_of
from ct_daemon.types import ColumnKind, Task

N, C, D, B = ColumnKind.NUMERIC, ColumnKind.CATEGORICAL, ColumnKind.DATETIME, ColumnKind.BOOLEAN


def column(name: str, kind: ColumnKind = N, distinct: int = 2, **more: object) -> SeenColumn:
    values = {"integers": kind is N, "least": 0.0, "most": 9.0} if kind is N else {}
    return SeenColumn(name=name, kind=kind, distinct=distinct, **(values | more))


def look(*columns: SeenColumn, rows: int = 100) -> Look:
    return Look(name="f.csv", rows=rows, whole=True, columns=columns)


@pytest.mark.parametrize(
    ("names", "first", "sure"),
    [
        (["a", "target", "z"], "target", True),
        (["y", "a", "label"], "label", True),
        (["a", "Target", "z"], "Target", True),
        (["a", "is_target", "z"], "is_target", True),
        (["target_mean", "a", "target_max"], "target_mean", False),
        (["a", "b", "z"], "z", False),
    ],
)
def test_a_target_is_known_by_its_name_or_guessed_by_its_place(
    names: list[str], first: str, sure: bool
) -> None:
    found = targets_of(look(*map(column, names)))
    assert found[0].name == first
    assert {one.name for one in found} == set(names)
    assert found[0].sure is sure
    assert not any(one.sure for one in found[1:])


@pytest.mark.parametrize(
    "useless",
    [
        column("target", distinct=1),
        column("target", ColumnKind.EMPTY, 0),
        column("target", ColumnKind.UNSUPPORTED, 0),
        column("target", C, 101),
        column("target", C, 5, moments=True),
        column("target", D, 5),
    ],
    ids=lambda c: f"{c.kind.value}-{c.distinct}",
)
def test_what_can_not_be_predicted_is_no_target(useless: SeenColumn) -> None:
    assert [one.name for one in targets_of(look(column("x"), useless))] == ["x"]


def test_row_id_and_time_are_no_targets() -> None:
    seen = look(column("y_id", distinct=100), column("at", D, 100), column("x"))
    assert [one.name for one in targets_of(seen)] == ["x"]


@pytest.mark.parametrize(
    ("target", "task"),
    [
        (column("y", C, 3), Task.CLASSIFICATION),
        (column("y", B, 2), Task.CLASSIFICATION),
        (column("y", N, 20), Task.CLASSIFICATION),
        (column("y", N, 21), Task.REGRESSION),
        (column("y", N, 2, integers=False), Task.CLASSIFICATION),
        (column("y", N, 3, integers=False), Task.REGRESSION),
    ],
)
def test_the_values_tell_the_task(target: SeenColumn, task: Task) -> None:
    found, why = task_of(target)
    assert found is task
    assert "different value" in why


@pytest.mark.parametrize("name", ["id", "row_id", "customerId", "ID", "order-nr", "uuid"])
def test_a_row_id_is_named_like_one_and_names_each_row(name: str) -> None:
    found = row_id_of(look(column("x", distinct=100), column(name, distinct=100)))
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize(
    "no",
    [
        column("id", distinct=99),
        column("id", distinct=100, missing=1),
        column("id", distinct=100, integers=False),
        column("id", D, 100),
        column("width", distinct=100),
        column("paid", distinct=100),
    ],
    ids=lambda c: f"{c.name}-{c.kind.value}-{c.distinct}",
)
def test_what_names_no_rows_is_no_row_id(no: SeenColumn) -> None:
    assert row_id_of(look(no)) is None


def test_one_row_has_no_row_id() -> None:
    assert row_id_of(look(column("id", distinct=1), rows=1)) is None


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        ([column("seen", D, 9)], "seen"),
        ([column("seen", C, 9, moments=True)], "seen"),
        ([column("born", D, 9), column("event_time", D, 9)], "event_time"),
        ([column("at", D, 9), column("timestamp", D, 9)], "timestamp"),
        ([column("created_at", D, 9), column("born", D, 9)], "created_at"),
        ([column("created_at", D, 9), column("updated_at", D, 9)], None),
        ([column("born", D, 9), column("died", D, 9)], None),
        ([column("at", D, 9, missing=1)], None),
        ([column("at", D, 1)], None),
        ([column("ts", N, 9, least=1.7e9, most=1.8e9)], "ts"),
        ([column("ts", N, 9, least=1.7e12, most=1.8e12)], None),
        ([column("price", N, 9, least=1.7e9, most=1.8e9)], None),
    ],
)
def test_the_time_is_what_can_be_one_and_is_named_so_where_several_can(
    columns: list[SeenColumn], found: str | None
) -> None:
    proposal = time_of(look(*columns))
    assert (proposal and proposal.name) == found


@given(st.text())
def test_the_name_of_a_model_is_usable_whatever_the_target_is_called(text: str) -> None:
    assert checked_slug(slug_of(text)) == slug_of(text)


def test_values_are_told_in_few_words() -> None:
    assert (
        values_of(column("a", C, 2, examples=("no", "yes"), missing=3))
        == "2 different values: no, yes, 3 missing"
    )
    assert values_of(column("a", C, 9, examples=tuple("abcdefghi"))) == "9 different values: a, b, c, d, e, …"
    assert values_of(column("a", N, 50, least=-1.0, most=2.5)) == "50 different values, -1 to 2.5"
    assert values_of(column("a", D, 7, examples=("2026-01-01",))) == "7 different values, from 2026-01-01"
    assert values_of(column("a", C, 1, examples=("\x1b[2J\n",))) == "1 different value: �[2J�"
