"""Counting by places against counting by the definition, on values chosen to be hard; edges; sketches."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ct_daemon.drift.binning import MAX_EDGES
from ct_daemon.drift.edges import SAMPLE, cells_of, counts_of, draft_for
from ct_daemon.drift.grid import FEW, Grid
from ct_daemon.drift.names import CAPACITY, NameCounts
from ct_daemon.drift.places import PLACES, Affine, Logarithmic, PlaceMap, just_above, just_below, map_for
from ct_daemon.drift.plain import CHUNK
from ct_daemon.drift.sketch import QuantileSketch
from ct_daemon.drift.tally import Tally

FINITE = st.floats(allow_nan=False, allow_infinity=False)
MAPS = st.one_of(
    st.builds(
        Affine,
        centre=FINITE,
        scale=st.floats(min_value=1e-300, max_value=1e290),
        shift=st.floats(-PLACES, PLACES),
    ),
    st.builds(Logarithmic, first=st.integers(0, 2**62), shift=st.integers(0, 52)),
)


def naive(values: np.ndarray, edges: np.ndarray) -> list[int]:
    finite = values[np.isfinite(values)]
    return np.bincount(np.searchsorted(edges, finite, side="left"), minlength=edges.size + 1).tolist()


def streams() -> dict[str, np.ndarray]:
    g = np.random.default_rng(7)
    n = 2 * CHUNK + 17
    r = g.normal(size=n)
    return {
        "normal": r * 3 + 5,
        "far from zero": 1e9 + r,
        "rounded": np.round(r * 20 + 100, 2),
        "integers": g.integers(0, 5000, n).astype(float),
        "few integers": g.integers(0, 100, n).astype(float),
        "lognormal": np.exp(r * 2),
        "zeros and a tail": np.where(g.random(n) < 0.5, 0.0, np.exp(r)),
        "cauchy": np.tan(np.pi * (g.random(n) - 0.5)),
        "two far clusters": np.where(g.random(n) < 0.5, 1e9 + r, r),
        "sentinel": np.where(g.random(n) < 0.2, -999.9, r),
        "tenths": np.round(r, 1),
        "constant": np.full(n, 0.1),
        "missing": np.where(g.random(n) < 0.1, np.nan, r),
        "all missing": np.full(n, np.nan),
        "infinite": np.where(g.random(n) < 0.01, np.inf, np.where(g.random(n) < 0.01, -np.inf, r)),
        "denormal": np.arange(n) * 5e-324,
        "huge": r * 1e307,
        "negative": -np.exp(r * 2),
        "sorted": np.sort(r),
    }


STREAMS = streams()


@given(MAPS, hnp.arrays(np.float64, st.integers(2, 60), elements=FINITE))
def test_places_are_in_the_order_of_the_values(place_map: PlaceMap, values: np.ndarray) -> None:
    ordered = np.sort(np.concatenate([values, just_above(values), just_below(values)]))
    ordered = ordered[np.isfinite(ordered)]
    places = place_map.places(ordered, np.empty(ordered.size))
    assert (np.diff(places) >= 0).all()
    assert places.min() >= 0
    assert places.max() < PLACES


@given(MAPS, hnp.arrays(np.float64, st.integers(1, 30), elements=FINITE))
def test_the_last_float_of_a_place_is_the_last(place_map: PlaceMap, values: np.ndarray) -> None:
    places = np.unique(place_map.places(values, np.empty(values.size)))
    places = places[places < PLACES - 1]
    if places.size:
        last = place_map.last(places)
        assert place_map.places(last, np.empty(last.size)).tolist() == places.tolist()
        beyond = just_above(last)
        inner = np.isfinite(beyond)
        assert (place_map.places(beyond[inner], np.empty(inner.sum())) > places[inner]).all()


@given(
    MAPS,
    hnp.arrays(np.float64, st.integers(1, 40), elements=FINITE, unique=True),
    hnp.arrays(np.float64, st.integers(0, 60), elements=st.floats()),
    st.booleans(),
)
def test_any_map_gives_the_counts_of_the_definition(
    place_map: PlaceMap, edges: np.ndarray, values: np.ndarray, around: bool
) -> None:
    """Values at the edges and one float beside them are where a table could go wrong."""
    edges = np.unique(np.concatenate([edges, just_below(edges)]) if around else edges)
    edges = edges[np.isfinite(edges)]
    some = np.concatenate([values, edges, just_above(edges), just_below(edges)])
    kept = some.copy()
    for by_place in (False, True):
        tally = Tally(Grid(edges, place_map), by_place=by_place)
        tally.add(some)
        assert tally.cells.tolist() == naive(some, edges)
        assert tally.missing == np.isnan(some).sum()
        assert (tally.below, tally.above) == ((some == -np.inf).sum(), (some == np.inf).sum())
        _, _, counts = tally.steps
        assert not by_place or counts.sum() == tally.finite
    np.testing.assert_array_equal(some, kept)


@pytest.mark.parametrize("name", STREAMS)
def test_cells_of_long_columns_are_fine_few_and_counted_right(name: str) -> None:
    values = STREAMS[name]
    finite = np.sort(values[np.isfinite(values)])
    draft = draft_for(finite[:: finite.size // (SAMPLE // 2) + 1], whole=False)
    first = draft.tally()
    first.add(values)
    cells = cells_of(draft, first)
    assert cells.edges.size <= MAX_EDGES
    assert counts_of(draft, first, cells).tolist() == naive(values, cells.edges)
    window = np.concatenate([values[::-1], values[: FEW - 1] * 1.01])
    tally = Tally(cells.grid, centre=cells.centre)
    for part in np.array_split(window, 5):
        tally.add(part)
    tally.add(window[:10])
    assert tally.cells.tolist() == naive(np.append(window, window[:10]), cells.edges)
    open_cells = np.array(naive(values, cells.edges))[~cells.points[1:-1]]
    assert not finite.size or open_cells.max() <= 0.004 * finite.size + 1


@given(st.integers(0, 2**32 - 1), st.permutations(range(6)))
def test_the_order_of_rows_and_parts_changes_no_count(seed: int, order: list[int]) -> None:
    g = np.random.default_rng(seed)
    values = np.where(g.random(3000) < 0.1, np.nan, g.normal(size=3000) ** 3)
    cells = cells_of(*_drafted(values[:1000]))
    whole = Tally(cells.grid)
    whole.add(values)
    parts = [Tally(cells.grid) for _ in order]
    for tally, part in zip(parts, np.array_split(g.permutation(values), 6), strict=True):
        tally.add(part)
    merged = Tally(cells.grid)
    for i in order:
        merged.merge(parts[i])
    assert merged.cells.tolist() == whole.cells.tolist()
    found = [(t.missing, t.finite, t.low, t.high) for t in (merged, whole)]
    assert found[0] == found[1]
    np.testing.assert_array_equal(merged.values, whole.values)


def _drafted(values: np.ndarray) -> tuple:
    draft = draft_for(np.sort(values[np.isfinite(values)]), whole=True)
    tally = draft.tally()
    tally.add(values)
    return draft, tally


def test_a_map_suits_what_it_is_made_for() -> None:
    g = np.random.default_rng(1)
    for values, kind in ((g.normal(size=9000), Affine), (np.exp(3 * g.normal(size=9000)), Logarithmic)):
        ordered = np.sort(values)
        targets = ordered[::9]
        found = map_for(ordered, targets)
        assert isinstance(found, kind)
        assert np.unique(found.places(targets, np.empty(targets.size))).size > 0.8 * targets.size


# --- what is seen once -----------------------------------------------------------------------------------


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.sampled_from(["normal", "sorted", "ties"]))
def test_no_rank_of_a_sketch_is_further_off_than_it_says(seed: int, parts: int, shape: str) -> None:
    g = np.random.default_rng(seed)
    values = g.normal(size=int(g.integers(1, 6000)))
    values = {"normal": values, "sorted": np.sort(values), "ties": np.round(values, 1)}[shape]
    sketches = []
    for part in np.array_split(values, parts):
        sketch = QuantileSketch(buffer=128)
        for piece in np.array_split(part, 3):
            sketch.add(piece)
        sketches.append(sketch)
    merged = sketches[0]
    for other in sketches[1:]:
        merged.merge(other)
    held, upto = merged.ranked()
    assert merged.count == values.size == upto[-1]
    assert held.size <= 4 * 128 * len(merged.levels) + 128 * parts
    at = g.choice(values, size=50)
    true = np.searchsorted(np.sort(values), at, side="right")
    told = np.append(0, upto)[np.searchsorted(held, at, side="right")]
    assert np.abs(true - told).max() <= merged.error
    if values.size < 256:
        assert merged.error == 0


def test_a_sketch_of_many_values_is_small_and_close() -> None:
    g = np.random.default_rng(3)
    sketch = QuantileSketch()
    for _ in range(20):
        sketch.add(g.normal(size=100_000))
    held, _ = sketch.ranked()
    assert held.size < 300_000
    assert 0 < sketch.error / sketch.count < 0.001


@given(st.integers(0, 2**32 - 1))
def test_names_are_counted_exactly_or_within_the_error(seed: int) -> None:
    g = np.random.default_rng(seed)
    frequent = [f"often {i}" for i in range(20)]
    counted, true = NameCounts(), dict.fromkeys(frequent, 0)
    total = 0
    for block in range(3):
        other = NameCounts()
        names = [f"once {block} {i}" for i in range(CAPACITY // 2)]
        often = g.integers(1, 500, len(frequent)).tolist()
        other.add([*names, *frequent, None], [*([1] * len(names)), *often, 7])
        for name, count in zip(frequent, often, strict=True):
            true[name] += count
        total += len(names) + sum(often)
        counted.merge(other)
    assert counted.total == total
    assert counted.missing == 21
    assert counted.error > 0
    assert len(counted.counts) <= CAPACITY
    for name, count in true.items():
        assert count - counted.error <= counted.counts.get(name, 0) <= count
