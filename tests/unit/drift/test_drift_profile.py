"""Cells, profiles and the laws of merging; documents that survive a round trip and refuse what is wrong."""

from __future__ import annotations

import base64
import copy
import json
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ct_daemon.codec import canonical
from ct_daemon.drift.binning import (
    COARSE_CATEGORIES,
    MAX_CATEGORIES,
    MAX_EDGES,
    CategoryCells,
    NumericCells,
    category_cells,
    ordered,
)
from ct_daemon.drift.distances import ks_from_counts, ks_from_values
from ct_daemon.drift.document import COLUMN_BYTES, from_document, to_document
from ct_daemon.drift.edges import EMPTY, numeric_cells
from ct_daemon.drift.places import Affine
from ct_daemon.drift.profile import (
    Baseline,
    ColumnProfile,
    Profile,
    category_column,
    numeric_column,
    uncounted_column,
)
from ct_daemon.drift.tally import SAMPLE_ROWS, Tally
from ct_daemon.errors import ArtifactError
from ct_daemon.types import ColumnKind

FLOATS = st.floats(allow_nan=False, width=64)
SAMPLES = st.one_of(
    st.lists(FLOATS, min_size=1, max_size=60),
    st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=200),
    st.lists(st.floats(-1, 1), min_size=1, max_size=60),
    st.lists(
        st.sampled_from([0.0, -0.0, 5e-324, 1e308, -1e308, np.inf, -np.inf, 1.0]), min_size=1, max_size=60
    ),
)


def numeric(values: object, cells: NumericCells) -> ColumnProfile:
    tally = Tally(cells.grid, centre=cells.centre)
    tally.add(np.array(values, dtype=float))
    return numeric_column(tally, cells, ColumnKind.NUMERIC)


def cells_at(*edges: float) -> NumericCells:
    some = np.array(edges)
    return NumericCells(
        edges=some, cuts=some, centre=0.0, place_map=Affine(centre=0.0, scale=1.0, shift=100.0)
    )


def baseline_of(*blocks: list[float]) -> Baseline:
    cells = numeric_cells(ordered(np.concatenate([np.array(block, dtype=float) for block in blocks])))
    words = category_cells({"a": 5, "b": 2})
    profiles = []
    for block in blocks:
        column = numeric(block, cells)
        n = len(block)
        texts = category_column(["a", "zz"], np.array([n - 1, 0]), 1, words, ColumnKind.CATEGORICAL)
        gone = uncounted_column(ColumnKind.UNSUPPORTED, "unsupported")
        profiles.append(Profile(rows=n, columns={"x": column, "word": texts, "list": gone}))
    return Baseline(blocks=tuple(profiles))


# --- cells -----------------------------------------------------------------------------------------------


@given(SAMPLES, SAMPLES)
def test_every_value_falls_into_the_cell_that_the_definition_names(
    base: list[float], window: list[float]
) -> None:
    cells = numeric_cells(ordered(base))
    expected = np.zeros(len(cells), dtype=int)
    edges = np.array(cells.edges)
    for value in window:
        if np.isinf(value):
            expected[0 if value < 0 else -1] += 1
        else:
            expected[1 + np.searchsorted(edges, value, "left")] += 1
    assert cells.count(ordered(window)).tolist() == expected.tolist()
    assert numeric(window, cells).counts.tolist() == expected.tolist()


@given(SAMPLES)
def test_edges_are_finite_ascending_few_and_hold_the_extremes_and_cuts(base: list[float]) -> None:
    cells = numeric_cells(ordered(base))
    edges = cells.edges
    finite = np.array(base)[np.isfinite(base)]
    assert len(edges) <= MAX_EDGES
    assert np.isfinite(edges).all()
    assert (np.diff(edges.astype(np.longdouble)) > 0).all()
    assert set(cells.cuts) <= set(cells.edges)
    if finite.size:
        assert edges[-1] >= finite.max()
        assert edges[0] < finite.min() or finite.min() == -np.finfo(float).max
    else:
        assert cells == EMPTY


def test_the_ten_coarse_cells_are_the_right_closed_quantile_cells() -> None:
    base = np.random.default_rng(0).normal(size=5000)
    window = np.random.default_rng(1).normal(size=700) + 0.3
    cells = numeric_cells(ordered(base))
    cuts = np.quantile(base, np.arange(1, 10) / 10)
    assert cells.cuts.tolist() == cuts.tolist()
    assert 900 < len(cells.edges) <= MAX_EDGES
    twenty = np.quantile(base, np.arange(1, 20) / 20)
    assert np.isin(twenty, cells.edges).all()
    expected = np.bincount(np.searchsorted(cuts, window, side="left"), minlength=10)
    assert cells.coarse(cells.count(ordered(window))).tolist() == expected.tolist()
    assert cells.coarse(cells.count(ordered(base))).tolist() == [500] * 10


def test_a_constant_baseline_has_one_cell_and_everything_else_is_outside() -> None:
    cells = numeric_cells(ordered([7.0] * 30))
    assert cells.edges.tolist() == [np.nextafter(7.0, 0), 7.0]
    assert cells.coarse(cells.count(ordered([7, 7, 6, 8, np.inf]))).tolist() == [2, 3]
    assert cells.labels(ColumnKind.NUMERIC) == ("x = 7", "x ≠ 7")


def test_labels_read_well() -> None:
    cells = cells_at(0.0, 12.5, 86400.0)
    assert cells.labels(ColumnKind.NUMERIC) == ("x ≤ 0", "0 < x ≤ 12.5", "12.5 < x ≤ 86400", "x > 86400")
    assert cells.labels(ColumnKind.DATETIME)[-1] == "x > 1970-01-02T00:00:00Z"
    far = numeric_cells(ordered([1e300]))
    assert far.labels(ColumnKind.DATETIME)[0] == "x = 1e+300"
    assert category_cells({"a": 1}).labels() == ("category 'a'", "other categories")


def test_the_most_frequent_categories_are_kept_and_the_rest_is_other() -> None:
    many = {f"c{i:04d}": 1000 - i for i in range(500)}
    cells = category_cells(many)
    assert cells.categories == tuple(list(many)[:MAX_CATEGORIES])
    assert cells.folded
    counts = cells.count(list(many), np.array(list(many.values())))
    assert counts.sum() == sum(many.values())
    assert counts[-1] == sum(list(many.values())[MAX_CATEGORIES:])
    assert cells.coarse(counts).size == COARSE_CATEGORIES + 1
    assert cells.coarse(counts).sum() == counts.sum()
    assert category_cells({"b": 1, "a": 1, "never": 0}) == CategoryCells(categories=("a", "b"), folded=False)


def test_huge_category_names_are_folded_so_that_the_document_stays_small() -> None:
    names = {"x" * 100_000: 50, **{f"{i}" + "\x00é" * 400: 20 for i in range(300)}, "short": 1}
    cells = category_cells(names)
    assert "short" in cells.categories
    assert "x" * 100_000 not in cells.categories
    assert cells.folded
    assert len(json.dumps(cells.categories)) < COLUMN_BYTES


# --- Kolmogorov-Smirnov from counts ----------------------------------------------------------------------


def largest_gap(x: np.ndarray, y: np.ndarray) -> float:
    """The definition of KS, as plainly as it can be written."""
    points = np.concatenate([x, y])
    F, G = (np.searchsorted(side, points, side="right") / side.size for side in (x, y))
    return float(np.max(np.abs(F - G)))


def assert_certified(base: list[float], window: list[float]) -> float:
    x, y = ordered(base), ordered(window)
    cells = numeric_cells(x)
    found = ks_from_counts(cells.count(x), cells.count(y), cells.points)
    exact = largest_gap(x, y)
    assert ks_from_values(x, y) == pytest.approx(exact, abs=1e-15)
    assert abs(exact - found.value) <= found.error + 1e-15
    assert 0 <= found.value <= 1
    return float(found.error)


@given(SAMPLES, SAMPLES)
def test_the_bound_holds_on_small_and_extreme_samples(base: list[float], window: list[float]) -> None:
    assert assert_certified(base, window) == 0  # few distinct values: each is an edge


@pytest.mark.parametrize(
    "name", ["normal", "cauchy", "ties", "discrete", "zero_inflated", "between", "apart", "tiny"]
)
def test_the_bound_holds_on_large_samples(name: str) -> None:
    g = np.random.default_rng(2)
    base, window = {
        "normal": (g.normal(size=6000), g.normal(size=900) + 0.1),
        "cauchy": (g.standard_cauchy(5000), g.standard_cauchy(700) * 1.2),
        "ties": (np.round(g.normal(size=5000), 2), np.round(g.normal(size=800), 2)),
        "discrete": (g.poisson(3, 5000), g.poisson(3.3, 800)),
        "zero_inflated": (g.exponential(size=5000) * (g.random(5000) < 0.3), g.exponential(size=500)),
        "between": (g.random(5000), np.repeat(g.random(5) * 0.001 + 0.5, 100)),
        "apart": (g.random(5000), g.random(500) + 2),
        "tiny": (np.arange(1000) * 5e-324, np.arange(500) * 1e-323),
    }[name]
    error = assert_certified(base, window)
    assert error < (0.02 if name != "between" else 1.01)
    if name in {"discrete", "apart"}:
        assert error == 0


@given(st.integers(0, 2**32 - 1), st.integers(251, 2000), st.integers(1, 500))
def test_the_bound_holds_when_the_window_hides_between_the_edges(seed: int, n: int, m: int) -> None:
    """Adversarial: all of the window just beside edges or inside one cell, where counts tell least."""
    g = np.random.default_rng(seed)
    base = g.normal(size=n) ** 3
    edges = numeric_cells(ordered(base)).edges
    near = g.choice(edges, size=m)
    window = (
        np.nextafter(near, g.choice([-np.inf, np.inf], size=m)) if seed % 2 else near + g.random(m) * 1e-3
    )
    assert_certified(base, window)


# --- merging ---------------------------------------------------------------------------------------------


def without_sums(profile: Profile | ColumnProfile) -> Profile | ColumnProfile:
    """Sums of floats depend on their order in the last digits; all else must not."""
    if isinstance(profile, ColumnProfile):
        return replace(profile, moments=None)
    return replace(profile, columns={name: without_sums(one) for name, one in profile.columns.items()})


@given(st.lists(st.lists(FLOATS, min_size=1, max_size=30), min_size=3, max_size=3))
def test_merging_is_associative_and_commutative_to_the_last_bit(blocks: list[list[float]]) -> None:
    a, b, c = baseline_of(*blocks).blocks
    everything = list(chain.from_iterable(blocks))
    whole = numeric(everything, a.columns["x"].cells)  # type: ignore[arg-type]
    left, right, turned = a.merge(b).merge(c), a.merge(b.merge(c)), c.merge(a).merge(b)
    assert without_sums(left) == without_sums(right) == without_sums(turned)
    assert without_sums(left.columns["x"]) == without_sums(whole)
    assert baseline_of(*blocks).merge().rows == len(everything)


@given(st.lists(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), min_size=2, max_size=4))
def test_moments_of_parts_add_up_within_the_stated_tolerance(blocks: list[list[float]]) -> None:
    found = baseline_of(*blocks).merge().columns["x"].moments
    values = np.concatenate([np.array(block) for block in blocks])
    assert found is not None
    assert found.count == values.size
    scale = np.abs(values).max() + 1
    assert found.mean == pytest.approx(values.mean(), abs=1e-9 * scale)
    assert found.sd == pytest.approx(values.std(), abs=1e-6 * scale)
    other = found.about(found.centre + 3)
    assert other.mean == pytest.approx(found.mean, abs=1e-9 * scale)
    assert other.sd == pytest.approx(found.sd, abs=1e-5 * scale)


def test_values_are_kept_while_they_are_few_however_they_come() -> None:
    g = np.random.default_rng(1)
    cells = numeric_cells(ordered(g.normal(size=500)))
    few, many = g.normal(size=SAMPLE_ROWS), g.normal(size=SAMPLE_ROWS + 1)
    gaps = np.append(few, np.full(100_000, np.nan))
    g.shuffle(gaps)
    assert (
        numeric(few, cells).sample.tolist() == np.sort(few).tolist() == numeric(gaps, cells).sample.tolist()
    )
    assert numeric(many, cells).sample is None
    halves = numeric(few[:1000], cells).merge(numeric(few[1000:], cells))
    assert halves.sample.tolist() == np.sort(few).tolist()
    assert halves.merge(numeric(few[:1], cells)).sample is None


def test_missing_infinities_and_extremes_are_counted() -> None:
    cells = numeric_cells(ordered([1.0, 2.0, 3.0]))
    column = numeric([np.nan, 2, -np.inf, np.inf, np.inf, 9, np.nan], cells)
    assert (column.missing, column.present, column.rows) == (2, 5, 7)
    assert (column.counts[0], column.counts[-1]) == (1, 2)
    assert (column.low, column.high) == (2.0, 9.0)
    empty = numeric([np.nan], cells)
    assert (empty.low, empty.high, empty.present) == (None, None, 0)
    assert column.merge(empty).low == 2.0


def test_profiles_on_other_cells_or_columns_do_not_merge() -> None:
    one, other = baseline_of([1.0, 2.0]).blocks[0], baseline_of([1.0, 3.0]).blocks[0]
    with pytest.raises(ValueError, match="different cells"):
        one.merge(other)
    with pytest.raises(ValueError, match="different columns"):
        one.merge(Profile(rows=1, columns={}))
    with pytest.raises(ValueError, match="at least one block"):
        Baseline(blocks=()).merge()


# --- documents -------------------------------------------------------------------------------------------


@given(st.lists(st.lists(FLOATS, min_size=1, max_size=30), min_size=1, max_size=4))
def test_a_baseline_survives_its_document(blocks: list[list[float]]) -> None:
    baseline = baseline_of(*blocks)
    text = canonical(to_document(baseline))
    again = from_document(json.loads(text))
    assert again == baseline
    assert canonical(to_document(again)) == text


def test_a_full_column_stays_within_its_room() -> None:
    g = np.random.default_rng(4)
    big = to_document(baseline_of(*(list(g.normal(size=SAMPLE_ROWS // 8) * 1e-200) for _ in range(8))))
    assert "sample" in big["columns"]["x"]["blocks"][0]
    assert len(canonical(big["columns"]["x"])) < COLUMN_BYTES
    long = baseline_of(*(list(g.normal(size=100_000)) for _ in range(8)))
    assert "sample" not in to_document(long)["columns"]["x"]["blocks"][0]
    many = [replace(long.blocks[0], rows=0) for _ in range(100)]
    with pytest.raises(ArtifactError) as caught:
        to_document(Baseline(blocks=tuple(many)))
    assert caught.value.reason == "baseline_too_large"


def test_another_format_version_is_refused_by_name() -> None:
    document = to_document(baseline_of([1.0, 2.0])) | {"version": 1}
    with pytest.raises(ArtifactError, match="version 1") as caught:
        from_document(document)
    assert caught.value.reason == "baseline_version"


def packed(*values: float) -> str:
    return base64.b64encode(np.array(values, dtype="<f8").tobytes()).decode()


def _damage(path: str, value: Any) -> dict[str, Any]:
    document = copy.deepcopy(to_document(baseline_of([1.0, 2.5, 4.0], [2.0, 1.0, 9.0])))
    where: Any = document
    *parents, last = path.split("/")
    for part in parents:
        where = where[int(part) if part.isdigit() else part]
    where[int(last) if last.isdigit() else last] = value
    return document


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("format", "pickle"),
        ("extra", 1),
        ("rows", []),
        ("rows", [3]),
        ("rows", "3"),
        ("rows/0", 4),
        ("columns", []),
        ("columns/x", None),
        ("columns/x/kind", "complex"),
        ("columns/x/kind", []),
        ("columns/x/kind", "empty"),
        ("columns/x/kind", "categorical"),
        ("columns/x/edges", packed(1.0, 1.0)),
        ("columns/x/edges", packed(float("nan"))),
        ("columns/x/edges", packed(*range(1100))),
        ("columns/x/edges", [1.0]),
        ("columns/x/edges", "AAAA"),
        ("columns/x/cuts", packed()),
        ("columns/x/cuts", packed(1.2345)),
        ("columns/x/centre", None),
        ("columns/x/centre", 10**400),
        ("columns/x/map", ["affine", 0.0, -1.0, 0.0]),
        ("columns/x/map", ["affine", 0.0, 1.0, 1e9]),
        ("columns/x/map", ["affine", 0.0]),
        ("columns/x/map", ["logarithmic", -1, 3]),
        ("columns/x/map", ["logarithmic", 1, 64]),
        ("columns/x/map", ["pickle", 1, 64]),
        ("columns/x/blocks", {}),
        ("columns/x/blocks/0", 7),
        ("columns/x/blocks/0/counts", [3]),
        ("columns/x/blocks/0/counts", "u1:AAAA"),
        ("columns/x/blocks/0/counts", "u3:AAAA"),
        ("columns/x/blocks/0/counts", "u8:" + base64.b64encode(b"\xff" * 160).decode()),
        ("columns/x/blocks/0/counts", "u1:!"),
        ("columns/x/blocks/0/missing", True),
        ("columns/x/blocks/0/low", None),
        ("columns/x/blocks/0/low", 99.0),
        ("columns/x/blocks/0/spare", 0),
        ("columns/x/blocks/0/rank_error", -1),
        ("columns/x/blocks/0/rank_error", 4),
        ("columns/x/blocks/0/moments", [3, 0.0]),
        ("columns/x/blocks/0/moments", [2, 0.0, 1.0]),
        ("columns/x/blocks/0/moments", [3, 0.0, -1.0]),
        ("columns/x/blocks/0/moments", [3, "x", 1.0]),
        ("columns/x/blocks/0/sample", "not base64!"),
        ("columns/x/blocks/0/sample", 5),
        ("columns/x/blocks/0/sample", packed(1.0)),
        ("columns/x/blocks/0/sample", packed(4.0, 2.5, 1.0)),
        ("columns/x/blocks/0/sample", packed(1.0, 2.0, 3.0)),
        ("columns/x/blocks/0/sample", packed(1.0, 2.0, np.nan)),
        ("schema", "0" * 64),
        ("columns/word/categories", ["a", "a"]),
        ("columns/word/categories", [1]),
        ("columns/word/categories", [str(i) for i in range(300)]),
        ("columns/word/folded", 1),
        ("columns/word/blocks/0/sample", ""),
        ("columns/word/categories/0", "x" * 70_000),
        ("columns/list/reason", "because"),
        ("columns/list/more", 1),
    ],
)
def test_what_does_not_fit_is_refused(path: str, value: Any) -> None:
    assert from_document(_undamaged()) is not None
    with pytest.raises(ArtifactError, match="not a usable baseline") as caught:
        from_document(_damage(path, value))
    assert caught.value.reason == "baseline_malformed"


def _undamaged() -> dict[str, Any]:
    return to_document(baseline_of([1.0, 2.5, 4.0], [2.0, 1.0, 9.0]))


@pytest.mark.parametrize("document", [None, [], "x", 3, {}, {"format": "ct-daemon/baseline"}])
def test_what_is_no_document_is_refused(document: object) -> None:
    with pytest.raises(ArtifactError):
        from_document(document)
