"""Cells, profiles and the laws of merging; documents that survive a round trip and refuse what is wrong."""

from __future__ import annotations

import base64
import copy
import json
from itertools import chain
from typing import Any

import numpy as np
import pytest
from ct_daemon.drift.layout import points
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
    numeric_cells,
    ordered,
)
from ct_daemon.drift.distances import ks_from_counts, ks_from_values
from ct_daemon.drift.document import COLUMN_BYTES, from_document, to_document
from ct_daemon.drift.profile import (
    Baseline,
    ColumnProfile,
    Profile,
    category_column,
    numeric_column,
    split_missing,
    uncounted_column,
)
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


def numeric(values: object, cells: NumericCells, *, keep: bool = False) -> ColumnProfile:
    return numeric_column(*split_missing(np.array(values, dtype=float)), cells, ColumnKind.NUMERIC, keep=keep)


def baseline_of(*blocks: list[float], keep: bool = False) -> Baseline:
    cells = numeric_cells(ordered(np.concatenate([np.array(block, dtype=float) for block in blocks])))
    words = category_cells({"a": 5, "b": 2})
    profiles = []
    for block in blocks:
        column = numeric(block, cells, keep=keep)
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
            expected[1 + np.searchsorted(edges, value, "left") + np.searchsorted(edges, value, "right")] += 1
    assert cells.count(ordered(window)).tolist() == expected.tolist()


@given(SAMPLES)
def test_edges_are_finite_ascending_few_and_hold_the_extremes_and_cuts(base: list[float]) -> None:
    cells = numeric_cells(ordered(base))
    edges = np.array(cells.edges)
    finite = np.array(base)[np.isfinite(base)]
    assert len(edges) <= MAX_EDGES
    assert np.isfinite(edges).all()
    assert (np.diff(edges.astype(np.longdouble)) > 0).all()
    assert set(cells.cuts) <= set(cells.edges)
    if finite.size:
        assert (edges[0], edges[-1]) == (finite.min(), finite.max())
    else:
        assert cells == NumericCells(edges=(), cuts=())


def test_the_ten_coarse_cells_are_the_right_closed_quantile_cells() -> None:
    base = np.random.default_rng(0).normal(size=5000)
    window = np.random.default_rng(1).normal(size=700) + 0.3
    cells = numeric_cells(ordered(base))
    cuts = np.quantile(base, np.arange(1, 10) / 10)
    assert cells.cuts == tuple(cuts)
    assert 200 < len(cells.edges) <= MAX_EDGES
    expected = np.bincount(np.searchsorted(cuts, window, side="left"), minlength=10)
    assert cells.coarse(cells.count(ordered(window))).tolist() == expected.tolist()
    assert cells.coarse(cells.count(ordered(base))).tolist() == [500] * 10


def test_a_constant_baseline_has_one_cell_and_everything_else_is_outside() -> None:
    cells = numeric_cells(ordered([7.0] * 30))
    assert cells.edges == (7.0,)
    assert cells.coarse(cells.count(ordered([7, 7, 6, 8, np.inf]))).tolist() == [2, 3]
    assert cells.labels(ColumnKind.NUMERIC) == ("x = 7", "x ≠ 7")


def test_labels_read_well() -> None:
    cells = NumericCells(edges=(0.0, 12.5, 86400.0), cuts=(0.0, 12.5, 86400.0))
    assert cells.labels(ColumnKind.NUMERIC) == ("x ≤ 0", "0 < x ≤ 12.5", "12.5 < x ≤ 86400", "x > 86400")
    assert cells.labels(ColumnKind.DATETIME)[-1] == "x > 1970-01-02T00:00:00Z"
    far = NumericCells(edges=(1e300,), cuts=(1e300,))
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
    found = ks_from_counts(cells.count(x), cells.count(y), points(cells))
    exact = largest_gap(x, y)
    assert ks_from_values(x, y) == pytest.approx(exact, abs=1e-15)
    assert abs(exact - found.value) <= found.error + 1e-15
    assert 0 <= found.value <= 1
    return found.error


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
    edges = np.array(numeric_cells(ordered(base)).edges)
    near = g.choice(edges, size=m)
    window = (
        np.nextafter(near, g.choice([-np.inf, np.inf], size=m)) if seed % 2 else near + g.random(m) * 1e-3
    )
    assert_certified(base, window)


# --- merging ---------------------------------------------------------------------------------------------


@given(st.lists(st.lists(FLOATS, min_size=1, max_size=30), min_size=3, max_size=3), st.booleans())
def test_merging_is_associative_and_commutative_to_the_last_bit(
    blocks: list[list[float]], keep: bool
) -> None:
    a, b, c = baseline_of(*blocks, keep=keep).blocks
    everything = list(chain.from_iterable(blocks))
    whole = numeric(everything, a.columns["x"].cells, keep=keep)  # type: ignore[arg-type]
    assert a.merge(b).merge(c) == a.merge(b.merge(c)) == c.merge(a).merge(b)
    assert a.merge(b).merge(c).columns["x"] == whole
    assert baseline_of(*blocks, keep=keep).merge().rows == len(everything)
    assert all(type(count) is int for count in whole.counts)


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


@given(st.lists(st.lists(FLOATS, min_size=1, max_size=30), min_size=1, max_size=4), st.booleans())
def test_a_baseline_survives_its_document(blocks: list[list[float]], keep: bool) -> None:
    baseline = baseline_of(*blocks, keep=keep)
    text = canonical(to_document(baseline))
    again = from_document(json.loads(text))
    assert again == baseline
    assert canonical(to_document(again)) == text


def test_a_full_column_stays_within_its_room() -> None:
    g = np.random.default_rng(4)
    big = to_document(baseline_of(*(list(g.normal(size=250) * 1e-200) for _ in range(8)), keep=True))
    assert "sample" in big["columns"]["x"]["blocks"][0]
    assert len(canonical(big["columns"]["x"])) < COLUMN_BYTES
    too_big = baseline_of(*(list(g.normal(size=2000)) for _ in range(8)), keep=True)
    with pytest.raises(ArtifactError) as caught:
        to_document(too_big)
    assert caught.value.reason == "baseline_too_large"


def test_another_format_version_is_refused_by_name() -> None:
    document = to_document(baseline_of([1.0, 2.0])) | {"version": 2}
    with pytest.raises(ArtifactError, match="version 2") as caught:
        from_document(document)
    assert caught.value.reason == "baseline_version"


def _damage(path: str, value: Any) -> dict[str, Any]:
    document = copy.deepcopy(to_document(baseline_of([1.0, 2.5, 4.0], [2.0, 1.0, 9.0], keep=True)))
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
        ("columns/x/edges", [1.0, 1.0]),
        ("columns/x/edges", [float("nan")]),
        ("columns/x/edges", [10**400]),
        ("columns/x/edges", [True]),
        ("columns/x/edges", [float(i) for i in range(300)]),
        ("columns/x/cuts", []),
        ("columns/x/cuts", [1.2345]),
        ("columns/x/blocks", {}),
        ("columns/x/blocks/0", 7),
        ("columns/x/blocks/0/counts", [3]),
        ("columns/x/blocks/0/counts/1", -1),
        ("columns/x/blocks/0/counts/1", 1.0),
        ("columns/x/blocks/0/counts/1", 5),
        ("columns/x/blocks/0/missing", True),
        ("columns/x/blocks/0/low", None),
        ("columns/x/blocks/0/low", 99.0),
        ("columns/x/blocks/0/spare", 0),
        ("columns/x/blocks/0/sample", "not base64!"),
        ("columns/x/blocks/0/sample", 5),
        ("columns/x/blocks/0/sample", "AAAAAAAA8D8="),
        ("columns/x/blocks/0/sample", base64.b64encode(np.array([4.0, 2.5, 1.0]).tobytes()).decode()),
        ("columns/x/blocks/0/sample", base64.b64encode(np.array([1.0, 2.0, 3.0]).tobytes()).decode()),
        ("columns/x/blocks/0/sample", base64.b64encode(np.array([1.0, 2.0, np.nan]).tobytes()).decode()),
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
    return to_document(baseline_of([1.0, 2.5, 4.0], [2.0, 1.0, 9.0], keep=True))


@pytest.mark.parametrize("document", [None, [], "x", 3, {}, {"format": "ct-daemon/baseline"}])
def test_what_is_no_document_is_refused(document: object) -> None:
    with pytest.raises(ArtifactError):
        from_document(document)
