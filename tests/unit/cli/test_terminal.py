"""Text fits the terminal and keeps together what belongs together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ct_daemon.terminal import GAP, Column, columns_of, table, wrapped

COLUMNS = (Column(title="name", flexible=True), Column(title="rows", right=True), Column(title="verdict"))


@pytest.mark.parametrize("bound", ["0.28 of 0.25", "-4.4 points", "95 %", "2026-11-24 09:35 UTC"])
def test_a_number_stays_with_what_it_belongs_to(bound: str) -> None:
    for length in range(20, 60):
        lines = wrapped(f"{'x' * length} {bound} and more words behind it", 60)
        assert any(bound in line for line in lines), lines


@given(st.text(max_size=300), st.integers(40, 120))
def test_no_line_is_wider_and_nothing_in_it_drives_the_terminal(text: str, width: int) -> None:
    for line in wrapped(text, width, first="  ", rest="    "):
        assert len(line) <= width
        assert line.isprintable()


@given(st.lists(st.text(max_size=60), min_size=1, max_size=5), st.integers(40, 120))
def test_columns_of_a_table_never_run_into_each_other(names: list[str], width: int) -> None:
    rows = table(COLUMNS, [(name, "1,234", "can't tell") for name in names], width)
    assert len({tuple(columns_of(cell) for cell in row) for row in rows}) == 1
    assert all(columns_of(GAP.join(row)) <= width for row in rows)
    assert all(row[2] == "can't tell" for row in rows[1:])
