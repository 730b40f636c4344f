"""Arrow columns as arrays, tables as profiles, baselines on disk, two sets of files compared."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from scipy import stats

from ct_daemon.drift.compare import compare
from ct_daemon.drift.profile import Baseline, Profile
from ct_daemon.drift.tally import SAMPLE_ROWS
from ct_daemon.errors import ArtifactError, SourceError
from ct_daemon.scan.columns import codes, contract_of, kind_of, numbers
from ct_daemon.scan.door import compare as compare_data
from ct_daemon.scan.profiles import new_baseline, profile_like
from ct_daemon.scan.stored import load_baseline, save_baseline
from ct_daemon.types import ColumnKind

K = ColumnKind


def chunked(values: object, type_: pa.DataType) -> pa.ChunkedArray:
    array = pa.array(values, type=type_)
    return pa.chunked_array([array.slice(0, 1), array.slice(1)])


# --- columns ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type_", "kind"),
    [
        (pa.int8(), K.NUMERIC),
        (pa.uint64(), K.NUMERIC),
        (pa.float16(), K.NUMERIC),
        (pa.float64(), K.NUMERIC),
        (pa.decimal128(9, 2), K.NUMERIC),
        (pa.bool_(), K.BOOLEAN),
        (pa.string(), K.CATEGORICAL),
        (pa.large_string(), K.CATEGORICAL),
        (pa.string_view(), K.CATEGORICAL),
        (pa.dictionary(pa.int8(), pa.string()), K.CATEGORICAL),
        (pa.dictionary(pa.int8(), pa.int64()), K.NUMERIC),
        (pa.date32(), K.DATETIME),
        (pa.date64(), K.DATETIME),
        (pa.timestamp("ns", "Europe/Zurich"), K.DATETIME),
        (pa.null(), K.EMPTY),
        (pa.binary(), K.UNSUPPORTED),
        (pa.list_(pa.int8()), K.UNSUPPORTED),
        (pa.struct([]), K.UNSUPPORTED),
        (pa.time32("s"), K.UNSUPPORTED),
        (pa.duration("s"), K.UNSUPPORTED),
        (pa.dictionary(pa.int8(), pa.binary()), K.UNSUPPORTED),
    ],
)
def test_each_arrow_type_has_a_kind(type_: pa.DataType, kind: ColumnKind) -> None:
    assert kind_of(type_) is kind
    assert contract_of(pa.schema([("c", type_)]).empty_table()).columns == {"c": kind}


MOMENT = datetime(2024, 2, 29, 12, 30, 15, 250_000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("type_", "value", "number"),
    [
        (pa.int64(), -3, -3.0),
        (pa.int64(), 2**62 + 1, 2.0**62),
        (pa.uint64(), 2**64 - 1, 2.0**64),
        (pa.float32(), 0.5, 0.5),
        (pa.float16(), np.float16(0.5), 0.5),
        (pa.decimal128(9, 2), Decimal("12.25"), 12.25),
        (pa.bool_(), True, 1.0),
        (pa.dictionary(pa.int8(), pa.int64()), 7, 7.0),
        (pa.date32(), date(1970, 1, 3), 172800.0),
        (pa.date64(), date(1969, 12, 31), -86400.0),
        (pa.timestamp("s"), datetime(1970, 1, 1, 1), 3600.0),  # noqa: DTZ001  (Arrow's timestamp without a zone)
        (pa.timestamp("ms", "UTC"), MOMENT, MOMENT.timestamp()),
        (pa.timestamp("us", "Asia/Tokyo"), MOMENT, MOMENT.timestamp()),
        (pa.timestamp("ns", "UTC"), MOMENT, MOMENT.timestamp()),
    ],
)
def test_numbers_are_float64_with_nan_for_missing(type_: pa.DataType, value: object, number: float) -> None:
    found = numbers(chunked([value, None, value], type_))
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, [number, np.nan, number])


def test_numbers_of_other_columns() -> None:
    assert np.isnan(numbers(chunked([None, None], pa.null()))).all()
    assert numbers(pa.chunked_array([], pa.int64())).size == 0
    with pytest.raises(ValueError, match="no numbers"):
        numbers(chunked(["a", "b"], pa.string()))


@pytest.mark.parametrize(
    "type_", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]
)
def test_codes_name_each_text(type_: pa.DataType) -> None:
    values = ["b", None, "a", "b", ""]
    places, names = codes(chunked(values, type_))
    assert [None if place < 0 else names[place] for place in places] == values


def test_codes_over_chunks_with_their_own_dictionaries() -> None:
    parts = [pa.array(["x", "y"]).dictionary_encode(), pa.array(["z", "y", None]).dictionary_encode()]
    places, names = codes(pa.chunked_array(parts))
    assert [None if place < 0 else names[place] for place in places] == ["x", "y", "z", "y", None]
    places, names = codes(pa.chunked_array([], pa.string()))
    assert (places.size, names) == (0, [])
    places, names = codes(chunked([True, False, None], pa.bool_()))
    assert [None if place < 0 else names[place] for place in places] == ["true", "false", None]


# --- profiles --------------------------------------------------------------------------------------------


def rows(n: int, seed: int = 0, shift: float = 0.0) -> pa.Table:
    g = np.random.default_rng(seed)
    x = g.normal(size=n) + shift
    return pa.table(
        {
            "x": pa.array(x, mask=g.random(n) < 0.05),
            "k": g.poisson(3, n),
            "word": pa.array(g.choice(["a", "b", "c"], n)).dictionary_encode(),
            "flag": g.random(n) < 0.3,
            "at": pa.array(np.arange(n) * 1_000_000, pa.timestamp("us")),
            "nested": pa.array([[1]] * n),
            "void": pa.nulls(n),
        }
    )


def without_sums(profile: Profile) -> Profile:
    """Sums of floats depend on their order in the last digits; all else must not."""
    columns = {name: replace(column, moments=None) for name, column in profile.columns.items()}
    return Profile(rows=profile.rows, columns=columns)


def features(table: pa.Table) -> dict[str, ColumnKind]:
    return dict(contract_of(table).columns)


def test_blocks_are_consecutive_equal_and_add_up() -> None:
    table = rows(1003)
    baseline = new_baseline(table, features(table), blocks=8)
    assert [block.rows for block in baseline.blocks] == [125, 125, 126, 125, 125, 126, 125, 126]
    assert without_sums(baseline.merge()) == without_sums(
        new_baseline(table, features(table), blocks=1).merge()
    )
    late = baseline.blocks[-1].columns["at"]
    assert late.high == 1002.0
    assert baseline.merge().columns["x"].missing == table.column("x").null_count
    assert len(new_baseline(table.slice(0, 3), features(table), blocks=8).blocks) == 3
    assert new_baseline(table.slice(0, 0), features(table)).merge().rows == 0


def test_a_window_in_parts_merges_to_the_whole() -> None:
    table, window = rows(900), rows(400, seed=1)
    baseline = new_baseline(table, features(table))
    whole = profile_like(window, baseline)
    parts = [profile_like(window.slice(start, 100), baseline) for start in range(0, 400, 100)]
    assert without_sums(parts[0].merge(parts[1]).merge(parts[2]).merge(parts[3])) == without_sums(whole)


def test_small_baselines_make_ks_exact_and_large_ones_bounded() -> None:
    window = rows(500, seed=1, shift=0.2)
    for n, exact in ((SAMPLE_ROWS, True), (SAMPLE_ROWS + 300, False)):
        table = rows(n)
        baseline = new_baseline(table, features(table))
        report = compare(baseline.merge(), profile_like(window, baseline))
        found = {score.column: score.statistics for score in report.columns}
        expected = stats.ks_2samp(*(t.column("x").drop_null().to_numpy() for t in (table, window)))
        assert (found["x"]["ks"].error == 0.0) is exact
        assert abs(found["x"]["ks"].value - expected.statistic) <= found["x"]["ks"].error + 1e-15
        assert found["k"]["ks"].error == 0.0
        assert (baseline.merge().columns["x"].sample is not None) is exact
        assert found["word"]["unseen"].value == 0.0
        assert found["flag"]["psi"].value < 0.1
        assert found["nested"]["psi"].reason == "unsupported"
        assert found["void"]["psi"].reason == "baseline_empty"


def test_columns_that_changed_or_went_are_recorded() -> None:
    table = rows(600)
    baseline = new_baseline(table, features(table) | {"never": K.NUMERIC, "k": K.CATEGORICAL})
    window = pa.table(
        {"x": ["1"] * 60, "word": pa.nulls(60), "flag": [[True]] * 60, "extra": range(60), "k": range(60)}
    )
    profile = profile_like(window, baseline, ["x", "word", "flag", "at", "extra", "never", "k"])
    reasons = {name: column.reason for name, column in profile.columns.items()}
    assert reasons == {
        "x": "kind_changed",
        "word": None,
        "flag": "unsupported",
        "at": "column_missing",
        "extra": "not_in_baseline",
        "never": "column_missing",
        "k": "kind_changed",
    }
    assert profile.columns["word"].missing == 60
    found = {score.column: score.statistics for score in compare(baseline.merge(), profile).columns}
    assert found["word"]["psi"].reason == "all_missing"
    assert found["word"]["missing"].value == 1.0
    assert {statistics["psi"].value for statistics in found.values()} == {None}


def test_watch_limits_the_columns() -> None:
    table = rows(300)
    profile = profile_like(rows(100, seed=2), new_baseline(table, features(table)), ("word", "x"))
    assert list(profile.columns) == ["word", "x"]


# --- on disk ---------------------------------------------------------------------------------------------


def test_a_baseline_on_disk_is_the_same_and_its_digest_guards_it(tmp_path: Path) -> None:
    table = rows(700)
    baseline = new_baseline(table, features(table))
    path = tmp_path / "baseline.json"
    digest = save_baseline(baseline, path)
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert load_baseline(path, digest) == baseline
    window = profile_like(rows(100, seed=3), baseline)
    own = tmp_path / "window.json"
    assert load_baseline(own, save_baseline(Baseline(blocks=(window,)), own)).blocks == (window,)
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ArtifactError) as caught:
        load_baseline(path, digest)
    assert caught.value.reason == "baseline_altered"


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[" * 100_000, b"\xff", b"null", b'{"format": NaN}', b"1e999"]
)
def test_a_file_that_is_no_baseline_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "baseline.json"
    path.write_bytes(content)
    with pytest.raises(ArtifactError) as caught:
        load_baseline(path, hashlib.sha256(content).hexdigest())
    assert caught.value.reason == "baseline_malformed"


def test_a_missing_baseline_is_an_artifact_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError) as caught:
        load_baseline(tmp_path / "gone.json", "")
    assert caught.value.reason == "baseline_missing"


def compare_files(baseline: list[Path], window: list[Path], **more: int) -> dict[str, Any]:
    return compare_data(baseline, window, **more).to_dict()


# --- two sets of files -----------------------------------------------------------------------------------


def test_files_are_compared_across_formats(tmp_path: Path) -> None:
    base, window = rows(6000), rows(900, seed=4, shift=0.3)
    flat = ["x", "k", "word", "flag"]
    pq.write_table(base.slice(0, 4000), tmp_path / "b1.parquet")
    pq.write_table(base.slice(4000), tmp_path / "b2.parquet")
    plain = window.select(flat).set_column(2, "word", window.column("word").cast(pa.string()))
    pa.csv.write_csv(plain.append_column("new", pa.array(range(900))), tmp_path / "w.csv")
    found = compare_files([tmp_path / "b1.parquet", tmp_path / "b2.parquet"], [tmp_path / "w.csv"])
    json.dumps(found, allow_nan=False)
    assert found["rows"] == {"baseline": 6000, "window": 900}
    assert list(found["columns"]) == [*base.column_names, "new"]
    expected = stats.ks_2samp(*(t.column("x").drop_null().to_numpy() for t in (base, window)))
    ks, ks_rows = found["columns"]["x"]["statistics"]["ks"], found["columns"]["x"]["rows"]["window"]
    assert 0 < ks["error"] < 0.003
    assert abs(ks["value"] - expected.statistic) <= ks["error"]
    assert ks["p_value"] == pytest.approx(expected.pvalue, rel=0.6)
    assert found["columns"]["x"]["kind"] == "numeric"
    assert found["columns"]["x"]["moved"][0].keys() == {"cell", "change"}
    assert found["columns"]["at"]["statistics"]["psi"] == {"value": None, "reason": "column_missing"}
    assert found["columns"]["new"]["statistics"]["psi"] == {"value": None, "reason": "not_in_baseline"}
    assert found["columns"]["word"]["statistics"]["unseen"] == {
        "value": 0.0,
        "p_value": 1.0,
        "critical": 0.0,
        "effect": 0.0,
        "error": 0.0,
    }
    psi = found["columns"]["x"]["statistics"]["psi"]
    assert psi.keys() == {"value", "p_value", "critical", "expected"}
    assert psi["expected"] == pytest.approx(9 * (1 / found["columns"]["x"]["rows"]["baseline"] + 1 / ks_rows))
    assert (found["columns"]["x"]["direction"], found["columns"]["x"]["verdict"]) == ("up", "calm")
    assert found["columns"]["x"]["shift"] == pytest.approx(0.3, abs=0.1)
    assert {one["column"] for one in found["ranking"]} == {*flat}
    assert found["ranking"][0]["column"] == "x"


def test_tiny_files_get_reasons_and_no_verdict(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text("x\n1\n2\n")
    found = compare_files([tmp_path / "b.csv"], [tmp_path / "b.csv"])
    assert found["reason"] == "too_few_rows"
    assert found["columns"]["x"]["statistics"]["ks"] == {"value": None, "reason": "too_few_rows"}
    found = compare_files([tmp_path / "b.csv"], [tmp_path / "b.csv"], min_rows=1)
    ks = found["columns"]["x"]["statistics"]["ks"]
    assert ks == {"value": 0.0, "p_value": 1.0, "critical": 1.0, "error": 0.0}


def test_files_that_cannot_be_put_together_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x\n1\n")
    (tmp_path / "b.csv").write_text("x\ntext\n")
    for paths, reason in (
        ([], "no_files"),
        (["a.csv", "b.csv"], "schema_differs"),
        (["c.csv"], "file_missing"),
    ):
        with pytest.raises(SourceError) as caught:
            compare_files([tmp_path / path for path in paths], [tmp_path / "a.csv"])
        assert caught.value.reason == reason


def test_files_that_need_too_much_memory_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise MemoryError

    (tmp_path / "a.csv").write_text("x\n1\n")
    monkeypatch.setattr("pyarrow.csv.read_csv", fail)
    with pytest.raises(SourceError, match=r"a\.csv needs more memory") as caught:
        compare_files([tmp_path / "a.csv"], [tmp_path / "a.csv"])
    assert caught.value.reason == "out_of_memory"


def test_real_streams_compare(shared: Path) -> None:
    paths = sorted((shared / "data" / "streams").glob("*.parquet"))
    assert paths
    for path in paths[:4]:
        found = compare_files([path], [path])
        assert "reason" not in found
        for name, column in found["columns"].items():
            for statistic in column["statistics"].values():
                assert statistic["value"] is not None or statistic["reason"], (path.name, name)
            if column["kind"] == "numeric" and column["statistics"]["ks"]["value"] is not None:
                ks = column["statistics"]["ks"]
                assert ks["value"] == 0.0
                assert ks["error"] <= 0.005
