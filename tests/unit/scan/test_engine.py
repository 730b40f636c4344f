"""The engine from data to statistics: every kind of column against plain numpy and scipy, however the rows come."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ct_daemon.drift.binning import CategoryCells, NumericCells
from ct_daemon.drift.edges import SAMPLE
from ct_daemon.drift.profile import ColumnProfile, Profile
from ct_daemon.errors import SourceError
from ct_daemon.scan.columns import floats_of
from ct_daemon.scan.door import compare, profile
from ct_daemon.types import ColumnKind


def counted_plainly(values: np.ndarray, cells: NumericCells) -> list[int]:
    present = np.sort(values[~np.isnan(values)])
    return cells.count(present).tolist()


def plain_columns(found: Profile) -> dict[str, tuple[Any, ...]]:
    """What must be equal to the last bit; sums of floats depend on the order of the rows."""
    return {
        name: (c.kind, c.cells, c.counts.tolist(), c.missing, c.low, c.high, c.reason)
        for name, c in found.columns.items()
    }


ZONE = timezone(timedelta(hours=9))
COLUMNS = st.one_of(
    st.tuples(st.just(pa.float64()), st.lists(st.none() | st.floats(), max_size=40)),
    st.tuples(st.just(pa.float32()), st.lists(st.none() | st.floats(width=32), max_size=40)),
    st.tuples(st.just(pa.int64()), st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), max_size=40)),
    st.tuples(st.just(pa.uint64()), st.lists(st.none() | st.integers(2**53 - 2, 2**64 - 1), max_size=40)),
    st.tuples(st.just(pa.int8()), st.lists(st.none() | st.integers(-128, 127), max_size=40)),
    st.tuples(
        st.just(pa.decimal128(20, 4)),
        st.lists(st.none() | st.decimals(-(10**9), 10**9, places=4, allow_nan=False), max_size=40),
    ),
    st.tuples(
        st.just(pa.timestamp("us", "Asia/Tokyo")),
        st.lists(
            st.none() | st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(ZONE)),  # noqa: DTZ001
            max_size=40,
        ),
    ),
    st.tuples(st.just(pa.date32()), st.lists(st.none() | st.dates(), max_size=40)),
    st.tuples(st.just(pa.bool_()), st.lists(st.none() | st.booleans(), max_size=40)),
    st.tuples(st.just(pa.string()), st.lists(st.none() | st.text(max_size=5), max_size=40)),
    st.tuples(
        st.just(pa.dictionary(pa.int8(), pa.string())),
        st.lists(st.none() | st.sampled_from(["a", "b", ""]), max_size=40),
    ),
)


@given(COLUMNS, st.integers(0, 40), st.data())
def test_any_column_is_counted_as_plain_code_counts_it(
    column: tuple[pa.DataType, list[Any]], cut: int, data: st.DataObject
) -> None:
    type_, values = column
    array = pa.array(values, type_)
    before = array.to_pylist()
    baseline = profile(pa.table({"c": array}))
    table = pa.table({"c": pa.chunked_array([array.slice(cut), array.slice(0, cut)], type_)})
    window = profile(table, like=baseline)
    for found in (baseline.columns["c"], window.columns["c"]):
        assert found.rows == len(values)
        assert_counted(found, array)
    assert repr(array.to_pylist()) == repr(before)
    compared = compare(baseline, window, min_rows=1)
    for name, statistic in compared.columns["c"].statistics.items():
        if statistic.value is not None and name in ("psi", "ks", "js", "total_variation", "wasserstein"):
            assert statistic.value == pytest.approx(0.0, abs=1e-7), name  # the same rows


def assert_counted(found: ColumnProfile, array: pa.Array) -> None:
    if found.reason is not None:
        assert found.reason == "baseline_empty"
    elif isinstance(found.cells, NumericCells):
        values = floats_of(array)
        assert found.counts.tolist() == counted_plainly(values, found.cells)
        assert found.missing == np.isnan(values).sum()
        finite = values[np.isfinite(values)]
        assert (found.low, found.high) == ((finite.min(), finite.max()) if finite.size else (None, None))
    else:
        assert isinstance(found.cells, CategoryCells)
        names = Counter(
            str(v).lower() if isinstance(v, bool) else v for v in array.to_pylist() if v is not None
        )
        told = dict(zip(found.cells.categories, found.counts.tolist(), strict=False))
        assert told == dict(names)
        assert found.counts[-1] == 0


@given(st.integers(0, 2**32 - 1), st.integers(60, 1200), st.integers(60, 1200), st.sampled_from([0, 1, 2]))
def test_ks_is_that_of_scipy_within_its_error(seed: int, n: int, m: int, digits: int) -> None:
    g = np.random.default_rng(seed)
    base = np.round(g.normal(size=n) * 3, digits or 12)
    window = np.round(g.normal(size=m) * 3 + g.choice([0, 0.3]), digits or 12)
    baseline = profile({"x": base})
    ks = compare(baseline, profile({"x": window}, like=baseline)).columns["x"].statistics["ks"]
    exact = stats.ks_2samp(base, window)
    assert ks.error == 0  # both sides fit
    assert ks.value == pytest.approx(exact.statistic, abs=1e-12)


def test_long_columns_keep_to_the_certified_error() -> None:
    g = np.random.default_rng(5)
    n = SAMPLE * 3
    base = {
        "x": g.normal(size=n),
        "tail": np.exp(g.normal(size=n) * 2),
        "cents": np.round(g.gamma(2, 30, n), 2),
    }
    window = {
        "x": g.normal(size=n) + 0.05,
        "tail": np.exp(g.normal(size=n) * 2.1),
        "cents": base["cents"] + 1,
    }
    baseline = profile(base)
    found = compare(baseline, profile(window, like=baseline)).columns
    for name, score in found.items():
        ks, exact = score.statistics["ks"], stats.ks_2samp(base[name], window[name])
        assert abs(ks.value - exact.statistic) <= ks.error <= 0.005
        w = stats.wasserstein_distance(base[name], window[name])
        iqr = np.subtract(*np.quantile(base[name], [0.75, 0.25])) / 1.3489795003921634
        distance = score.statistics["wasserstein"]
        assert abs(distance.value - w / iqr) <= distance.error + 0.01 * distance.value
        psi = plain_psi(base[name], window[name])
        assert score.statistics["psi"].value == pytest.approx(psi, rel=0.02, abs=2e-4)


def plain_psi(base: np.ndarray, window: np.ndarray) -> float:
    cuts = np.unique(np.quantile(base, np.arange(1, 10) / 10))
    p, q = (np.bincount(np.searchsorted(cuts, x), minlength=cuts.size + 1) + 0.5 for x in (base, window))
    p, q = p / p.sum(), q / q.sum()
    return float(np.sum((q - p) * np.log(q / p)))


def test_psi_of_columns_that_fit_is_the_textbook_value() -> None:
    g = np.random.default_rng(6)
    base, window = g.normal(size=20_000), g.normal(size=5000) + 0.4
    baseline = profile({"x": base})
    found = compare(baseline, profile({"x": window}, like=baseline)).columns["x"].statistics["psi"]
    assert found.value == pytest.approx(plain_psi(base, window), rel=1e-12)


# --- however the rows come -------------------------------------------------------------------------------


def mixed(n: int, seed: int) -> pa.Table:
    g = np.random.default_rng(seed)
    return pa.table(
        {
            "x": pa.array(g.normal(size=n), mask=g.random(n) < 0.1),
            "k": g.integers(0, 40, n),
            "word": pa.array(g.choice(["a", "b", "c"], n), mask=g.random(n) < 0.1),
            "flag": g.random(n) < 0.5,
            "at": pa.array(np.arange(n) * 1_000_000, pa.timestamp("us", "UTC")),
        }
    )


def test_files_tables_and_streams_give_the_same_counts(tmp_path: Path) -> None:
    base, window = mixed(SAMPLE + 5000, 0), mixed(9000, 1)
    paths = []
    for i in range(3):
        paths.append(tmp_path / f"{i}.parquet")
        pq.write_table(window.slice(3000 * i, 3000), paths[-1], row_group_size=700 + i)
    baseline = profile(base)
    whole = plain_columns(profile(window, like=baseline))
    stream = pa.RecordBatchReader.from_batches(window.schema, window.to_batches(max_chunksize=100))
    assert plain_columns(profile(paths, like=baseline)) == whole
    assert plain_columns(profile([str(p) for p in reversed(paths)], like=baseline)) == whole
    assert plain_columns(profile(stream, like=baseline)) == whole
    assert plain_columns(profile(window.to_pandas(), like=baseline)) == whole
    merged = profile(paths[0], like=baseline).merge(profile(paths[1:], like=baseline))
    assert plain_columns(merged) == whole
    pq.write_table(base, tmp_path / "base.parquet", row_group_size=9000)
    assert plain_columns(profile(tmp_path / "base.parquet")) == plain_columns(baseline)


def test_a_baseline_does_not_depend_on_how_its_rows_are_cut_into_files(tmp_path: Path) -> None:
    table = mixed(SAMPLE * 2, 2)
    cuts = [0, 1, 4000, 4000, 50_000, table.num_rows]
    paths = []
    for i, (start, end) in enumerate(pairwise(cuts)):
        paths.append(tmp_path / f"{i}.parquet")
        pq.write_table(table.slice(start, end - start), paths[-1])
    assert plain_columns(profile(paths)) == plain_columns(profile(table))


def test_a_stream_is_seen_once_and_its_error_is_kept() -> None:
    g = np.random.default_rng(8)
    schema = pa.schema([("x", pa.float64()), ("word", pa.string())])
    seen: list[np.ndarray] = []

    def batches() -> Any:
        for _ in range(40):
            seen.append(np.append(g.normal(size=9999), np.nan))
            yield pa.record_batch([seen[-1], g.choice(["a", "b"], 10_000)], schema=schema)

    baseline = profile(pa.RecordBatchReader.from_batches(schema, batches()))
    column = baseline.columns["x"]
    values = np.concatenate(seen)
    assert baseline.rows == values.size
    assert column.missing == 40
    assert 0 < column.rank_error < 0.002 * values.size
    assert isinstance(column.cells, NumericCells)
    true = np.cumsum(counted_plainly(values, column.cells))
    assert np.abs(np.cumsum(column.counts) - true).max() <= column.rank_error
    assert column.moments is not None
    assert column.moments.mean == pytest.approx(np.nanmean(values), abs=1e-9)
    window = g.normal(size=20_000) + 0.1
    ks = compare(baseline, profile({"x": window}, like=baseline)).columns["x"].statistics["ks"]
    exact = stats.ks_2samp(values[~np.isnan(values)], window).statistic
    assert abs(ks.value - exact) <= ks.error < 0.01
    short = pa.RecordBatchReader.from_batches(
        schema, [pa.record_batch([[1.0, 2.0], ["a", "b"]], schema=schema)]
    )
    assert profile(short).columns["x"].rank_error == 0
    assert profile(pa.RecordBatchReader.from_batches(schema, [])).rows == 0


def test_many_names_are_folded_and_counted_exactly_where_rows_can_be_read_again() -> None:
    g = np.random.default_rng(9)
    once = [f"id-{i}" for i in range(60_000)]
    names = [*once, *(["often"] * 5000), *(["seldom"] * 900)]
    g.shuffle(names)
    found = profile({"name": names}).columns["name"]
    assert isinstance(found.cells, CategoryCells)
    assert found.cells.categories[:2] == ("often", "seldom")
    assert found.counts[:2].tolist() == [5000, 900]
    assert (found.cells.folded, found.rank_error, found.present) == (True, 0, len(names))


# --- the field's mistakes --------------------------------------------------------------------------------


def test_one_outlier_in_a_window_hides_no_shift() -> None:
    """With bins over baseline and window together, PSI falls from 1.03 to 0.02 here."""
    g = np.random.default_rng(10)
    base, window = g.normal(size=10_000), g.normal(size=10_000) + 1
    baseline = profile({"x": base})
    clean = compare(baseline, profile({"x": window}, like=baseline)).columns["x"].statistics["psi"].value
    window[17] = 1000.0
    dirty = compare(baseline, profile({"x": window}, like=baseline)).columns["x"].statistics["psi"].value
    assert clean == pytest.approx(1.0, abs=0.1)
    assert dirty == pytest.approx(clean, rel=0.01)


def test_one_outlier_in_a_baseline_hides_no_shift() -> None:
    g = np.random.default_rng(11)
    base, window = g.normal(size=100_000), g.normal(size=10_000) + 1
    values = []
    for outlier in (0.0, 1e12):
        base[5] = outlier
        baseline = profile({"x": base})
        values.append(compare(baseline, profile({"x": window}, like=baseline)).columns["x"].statistics)
    for name in ("psi", "ks", "wasserstein"):
        assert values[1][name].value == pytest.approx(values[0][name].value, rel=0.03)


def test_fifty_rows_without_change_are_noise_and_said_to_be() -> None:
    """At 0.1, PSI of 50 rows fires in four of five windows; beyond its critical value it hardly ever is."""
    g = np.random.default_rng(12)
    baseline = profile({"x": g.normal(size=5000)})
    found = [
        compare(baseline, profile({"x": g.normal(size=50)}, like=baseline)).columns["x"].statistics["psi"]
        for _ in range(200)
    ]
    assert np.mean([psi.value > 0.1 for psi in found]) > 0.6
    assert np.mean([psi.value > psi.critical for psi in found]) <= 0.02
    assert np.mean([psi.value for psi in found]) == pytest.approx(
        np.mean([p.expected for p in found]), rel=0.2
    )


def test_a_cell_that_is_empty_on_one_side_keeps_psi_finite() -> None:
    baseline = profile({"x": np.arange(1000.0), "word": ["a"] * 500 + ["b"] * 500})
    window = {"x": np.full(200, 5.0), "word": ["c"] * 200}
    found = compare(baseline, profile(window, like=baseline)).columns
    assert 1 < found["x"].statistics["psi"].value < 20
    assert 1 < found["word"].statistics["psi"].value < 20
    assert found["word"].statistics["unseen"].value == 1.0


def test_what_is_no_table_is_refused() -> None:
    for data in (42, [1, 2, 3], {"x": [1, "a"]}, {"x": [1, 2], "y": [1]}):
        with pytest.raises(SourceError) as caught:
            profile(data)
        assert caught.value.reason == "not_tabular"
    with pytest.raises(SourceError) as caught:
        profile([])
    assert caught.value.reason == "no_files"
    with pytest.raises(SourceError) as caught:
        profile("gone.parquet")
    assert caught.value.reason == "file_missing"


def test_a_broken_file_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(mixed(5000, 0), path)
    content = path.read_bytes()
    for broken in (b"PAR1", content[:-100]):
        path.write_bytes(broken)
        with pytest.raises(SourceError, match=r"rows\.parquet"):
            profile(path)


def test_decimals_beyond_a_float_and_moments_of_numbers_without_end() -> None:
    huge = pa.array([Decimal("123456789012345678901234567890.5")] * 3, pa.decimal128(38, 1))
    assert profile({"d": huge}).columns["d"].low == pytest.approx(1.2345678901234568e29)
    wide = profile({"x": [1e308, -1e308, np.inf]}).columns["x"]
    assert wide.moments is None
    assert (wide.low, wide.high) == (-1e308, 1e308)


def test_dates_are_told_in_utc() -> None:
    late = datetime(2024, 5, 1, tzinfo=UTC)
    table = pa.table(
        {"at": pa.array([late + timedelta(hours=i) for i in range(400)], pa.timestamp("ms", "UTC"))}
    )
    baseline = profile(table)
    assert baseline.columns["at"].kind is ColumnKind.DATETIME
    later = pa.table({"at": pa.array([late + timedelta(days=90)] * 100, pa.timestamp("ns", "Asia/Tokyo"))})
    found = compare(baseline, profile(later, like=baseline)).columns["at"]
    assert found.direction == "up"
    assert found.moved[0][0].startswith("x > 2024-05-")
