"""The domain classifier: what it sees, what it leans on, how often it is wrong, and what it can't tell."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from ct_daemon.types import JointDrift
from ct_daemon.workers.joint import MAX_COLUMNS, comparable, compare_jointly, sample_size


def pair(rows: int, rho: float, seed: int, extra: int = 2) -> pa.Table:
    """Two standard normals of this correlation, and others that mean nothing."""
    random = np.random.default_rng(seed)
    a = random.normal(size=rows)
    b = rho * a + np.sqrt(1 - rho**2) * random.normal(size=rows)
    noise = {f"n{i}": random.normal(size=rows) for i in range(extra)}
    return pa.table({"a": a, "b": b, **noise})


def ask(base: pa.Table, window: pa.Table) -> JointDrift:
    return compare_jointly(base, window, base.column_names)


def test_a_correlation_that_flips_is_seen_and_the_two_columns_are_named() -> None:
    found = ask(pair(1500, 0.6, 1), pair(700, -0.6, 2))
    assert found.reason is None
    assert found.low is not None
    assert found.low > 0.6
    assert found.p_value is not None
    assert found.p_value < 1e-6
    assert {name for name, _ in found.leaned_on} == {"a", "b"}
    assert (found.baseline_rows, found.window_rows, found.columns) == (1500, 700, 4)


def test_no_column_by_itself_shows_that_flip() -> None:
    for name in ("a", "b"):
        found = compare_jointly(pair(1500, 0.6, 1), pair(700, -0.6, 2), [name])
        assert found.low is not None
        assert found.low < 0.53


@pytest.mark.slow
def test_false_alarms_are_as_rare_as_the_p_value_says() -> None:
    """60 looks at nothing: at 5 % three alarms are expected, nine or more come once in 500 such tests."""
    found = [ask(pair(200, 0.5, seed), pair(200, 0.5, 1000 + seed)) for seed in range(60)]
    p_values = np.array([one.p_value for one in found], dtype=float)
    assert (p_values < 0.05).sum() < 9
    assert 0.3 < p_values.mean() < 0.7
    assert np.mean([one.auc for one in found]) == pytest.approx(0.5, abs=0.015)


@pytest.mark.slow
def test_a_joint_drift_is_found_nearly_always_in_windows_of_the_default_size() -> None:
    found = [ask(pair(500, 0.5, seed), pair(500, -0.5, 1000 + seed)) for seed in range(12)]
    assert sum(one.p_value is not None and one.p_value < 0.001 for one in found) >= 11


def test_too_few_rows_are_told_and_are_not_called_no_drift() -> None:
    found = ask(pair(1000, 0.5, 1), pair(99, -0.5, 2))
    assert (found.reason, found.auc, found.p_value) == ("too_few_rows", None, None)
    assert found.window_rows == 99


def test_the_same_tables_give_the_same_answer() -> None:
    base, window = pair(300, 0.5, 1), pair(300, 0.0, 2)
    assert ask(base, window) == ask(base, window)
    assert compare_jointly(base, window, base.column_names, seed=5) != ask(base, window)


def test_kinds_of_all_sorts_are_looked_at() -> None:
    """Each column by itself is as before; `text` and `flag` together are not."""

    def make(same: bool, seed: int) -> pa.Table:
        random = np.random.default_rng(seed)
        flag = random.random(600) < 0.5
        red = flag if same else ~flag
        start = datetime(2026, 1, 1, tzinfo=UTC)
        return pa.table(
            {
                "flag": pa.array(flag),
                "text": pa.array(["red" if one else "blue" for one in red], mask=random.random(600) < 0.05),
                "at": pa.array([start + timedelta(days=float(day)) for day in random.random(600)]),
                "code": pa.array(["x", "y", "z"] * 200).dictionary_encode(),
                "lists": pa.array([[1]] * 600),
                "gone": pa.nulls(600),
            }
        )

    found = ask(make(True, 1), make(False, 2))
    assert found.columns == 4
    assert found.auc is not None
    assert found.auc > 0.9
    assert {name for name, _ in found.leaned_on} == {"flag", "text"}


def test_missing_values_are_told_from_present_ones_and_infinities_do_no_harm() -> None:
    random = np.random.default_rng(1)
    values = random.normal(size=400)
    holes = np.where(random.random(400) < 0.5, np.nan, values)
    holes[:3] = [np.inf, -np.inf, 1e308]
    found = ask(pa.table({"x": values}), pa.table({"x": holes}))
    assert found.low is not None
    assert found.low > 0.6


def test_columns_that_cannot_be_held_against_each_other_are_left_out() -> None:
    base = pa.table({"x": [1.0], "y": [1], "only": [1.0], "empty": pa.nulls(1)})
    window = pa.table({"x": ["a"], "y": pa.nulls(1), "new": [1.0], "empty": pa.nulls(1)})
    assert comparable(base, window, ["x", "y", "only", "new", "empty", "absent"]) == ["y"]
    found = compare_jointly(base, window, ["x", "only"])
    assert (found.reason, found.columns) == ("no_columns", 0)


def test_samples_are_bounded_in_rows_and_columns() -> None:
    assert [sample_size(columns) for columns in (1, 50, 100, 500, 100_000)] == [5000, 5000, 5000, 1000, 500]
    wide = pa.table({f"c{i}": np.zeros(120) for i in range(MAX_COLUMNS + 1)})
    found = ask(wide, wide)
    assert (found.columns, found.p_value) == (MAX_COLUMNS, 1.0)
    assert found.auc == pytest.approx(0.5)
    long = pa.table({"x": np.arange(30_000.0)})
    found = ask(long, long)
    assert (found.baseline_rows, found.window_rows) == (5000, 5000)


def test_of_many_columns_the_one_that_moved_is_found() -> None:
    random = np.random.default_rng(4)
    base = pa.table({f"c{i}": random.normal(size=300) for i in range(150)})
    window = pa.table({f"c{i}": random.normal(loc=2.0 if i == 77 else 0.0, size=300) for i in range(150)})
    found = ask(base, window)
    assert found.leaned_on[0][0] == "c77"
    assert len(found.leaned_on) <= 5
