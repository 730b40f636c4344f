"""The ways to count give the same, bit by bit, and the compiled one is chosen when it pays."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ct_daemon
from ct_daemon.drift import kernel as kernels
from ct_daemon.drift.edges import cells_of, draft_for
from ct_daemon.drift.grid import Grid
from ct_daemon.drift.kernel import Kernels, KernelStatus, NoCacheFolderError, agrees
from ct_daemon.drift.places import PLACES, Affine, Floats, Ints, Logarithmic, PlaceMap
from ct_daemon.drift.plain import CHUNK, LANES, PLAIN, Kernel, Sums
from ct_daemon.drift.tally import FEW, Tally

LARGEST = float(np.finfo(np.float64).max)
ROWS = 150_000
"""More than two chunks, and no multiple of anything."""


@pytest.fixture(scope="module")
def compiled() -> Kernel:
    pytest.importorskip("numba", reason="numba is not installed, so there is no compiled kernel to test")
    one = Kernels("numba")
    found = one.for_values(1)
    assert one.status.name == "numba", one.status.note
    return found


def made(kind: str, rows: int = ROWS, seed: int = 7) -> Floats:
    """Columns as they come, and worse."""
    rng = np.random.default_rng(seed)
    r = rng.normal(size=rows)
    half = rng.random(rows) < 0.5
    columns = {
        "normal": lambda: r * 3 + 5,
        "cents": lambda: np.round(r * 20 + 100, 2),
        "codes": lambda: rng.integers(0, 100, rows).astype(float),
        "lognormal": lambda: np.exp(3 * r),
        "mostly zero": lambda: np.where(half, 0.0, np.exp(r)),
        "heavy tails": lambda: np.tan(np.pi * (rng.random(rows) - 0.5)),
        "far clusters": lambda: np.where(half, 1e9 + r, r),
        "three scales": lambda: r * 10.0 ** rng.choice([-200, 0, 200], rows),
        "constant": lambda: np.full(rows, 4.2),
        "gaps": lambda: np.where(half, np.nan, r),
        "gaps among zeros": lambda: np.where(rng.random(rows) < 0.1, np.nan, np.where(half, 0.0, np.exp(r))),
        "infinities": lambda: np.where(
            half, r, rng.choice([np.inf, -np.inf, np.nan, LARGEST, -LARGEST], rows)
        ),
        "nothing": lambda: np.full(rows, np.nan),
        "nothing finite": lambda: rng.choice([np.inf, -np.inf, np.nan], rows),
        "denormal": lambda: r * 1e-310,
        "whole range": lambda: rng.integers(0, 2**64, rows, dtype=np.uint64).view(np.float64),
        "two huge": lambda: rng.choice([LARGEST, -LARGEST, np.nextafter(LARGEST, 0)], rows),
        "zeros": lambda: rng.choice([0.0, -0.0, 5e-324, -5e-324], rows),
    }
    return np.asarray(columns[kind](), dtype=np.float64)


KINDS = (
    *("normal", "cents", "codes", "lognormal", "mostly zero", "heavy tails", "far clusters", "three scales"),
    *("constant", "gaps", "gaps among zeros", "infinities", "nothing", "nothing finite", "denormal"),
    *("whole range", "two huge", "zeros"),
)


def cells_for(values: Floats) -> Any:
    draft = draft_for(np.sort(values[np.isfinite(values)][:20_000] + 0.0), whole=False)
    counted = draft.tally()
    counted.add(values)
    return cells_of(draft, counted)


def by(one: Kernel, values: Floats, grid: Grid, centre: float) -> tuple[Sums, Ints, Ints]:
    table, slots = np.zeros(PLACES + 1, dtype=np.int64), np.zeros(grid.slots, dtype=np.int64)
    sums = one.count(values, grid, centre, Sums(total=0.25, squares=3.0), table, slots)
    return sums, table, slots


def counted_slowly(values: Floats, edges: Floats) -> Ints:
    """By definition, without any table."""
    finite = np.sort(values[np.isfinite(values)])
    upto = np.searchsorted(finite, edges, side="right")
    return np.diff(upto, prepend=0, append=finite.size)


def assert_same(values: Floats, grid: Grid, centre: float, other: Kernel) -> None:
    sums, table, slots = by(PLAIN, values, grid, centre)
    others = by(other, values, grid, centre)
    assert repr(others[0]) == repr(sums)  # NaN is like NaN, and 0.0 not like -0.0
    np.testing.assert_array_equal(others[1], table)
    np.testing.assert_array_equal(others[2], slots)


def around(edges: Floats) -> Floats:
    """Every edge and its neighbours, as floats and as places."""
    with np.errstate(over="ignore"):
        one = np.concatenate([edges, np.nextafter(edges, np.inf), np.nextafter(edges, -np.inf)])
    return np.concatenate(
        [one, -one, [0.0, -0.0, np.nan, np.inf, -np.inf, LARGEST, -LARGEST, 5e-324, -5e-324]]
    )


# --- the plain way is right -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_plain_way_counts_what_is_there(kind: str) -> None:
    base, window = made(kind), made(kind, seed=8)
    cells = cells_for(base)
    values = np.concatenate([window, around(cells.edges)])
    sums, table, slots = by(PLAIN, values, cells.grid, cells.centre)
    np.testing.assert_array_equal(cells.grid.cells(table, slots), counted_slowly(values, cells.edges))
    assert (sums.missing, sums.below, sums.above) == tuple(
        int(np.count_nonzero(x)) for x in (np.isnan(values), values == -np.inf, values == np.inf)
    )
    finite = values[np.isfinite(values)]
    assert (sums.finite, sums.low, sums.high) == (finite.size, finite.min(), finite.max())


@pytest.mark.parametrize("kind", ["normal", "gaps", "cents", "mostly zero"])
def test_sums_are_those_of_the_values(kind: str) -> None:
    values = made(kind)
    sums, _, _ = by(PLAIN, values, Grid(np.array([0.0]), Affine(centre=0.0, scale=1.0, shift=8000.0)), 1.5)
    there = values[np.isfinite(values)] - 1.5
    assert sums.total == pytest.approx(0.25 + there.sum(), rel=1e-12)
    assert sums.squares == pytest.approx(3.0 + (there**2).sum(), rel=1e-12)


def test_the_order_of_the_sum_is_as_it_is_written_down() -> None:
    values = made("lognormal", CHUNK + 3 * LANES + 5)
    total = 0.25
    for chunk in (values[:CHUNK], values[CHUNK:]):
        lanes = [0.0] * LANES
        for i, value in enumerate(chunk.tolist()):
            lanes[i % LANES] += value - 0.5
        of_chunk = lanes[0]
        for lane in lanes[1:]:
            of_chunk += lane
        total += of_chunk
    grid = Grid(np.array([1.0]), Affine(centre=0.0, scale=1.0, shift=8000.0))
    assert by(PLAIN, values, grid, 0.5)[0].total == total


@pytest.mark.parametrize("size", [0, 1, FEW - 1, FEW])
def test_few_values_are_counted_like_many(size: int) -> None:
    base = made("infinities")
    cells = cells_for(base)
    tally, by_place = Tally(cells.grid), Tally(cells.grid, by_place=True)
    for one in (tally, by_place):
        one.add(base[:size])
    np.testing.assert_array_equal(tally.cells, counted_slowly(base[:size], cells.edges))
    np.testing.assert_array_equal(by_place.cells, tally.cells)
    assert (tally.missing, tally.below, tally.above) == (by_place.missing, by_place.below, by_place.above)


def test_a_far_cluster_has_a_grid_of_its_own() -> None:
    cells = cells_for(made("far clusters"))
    assert cells.grid.slots_of_split.max() > 100
    values = made("far clusters", seed=9)
    _, table, slots = by(PLAIN, values, cells.grid, 0.0)
    assert cells.grid._finer_grids
    np.testing.assert_array_equal(cells.grid.cells(table, slots), counted_slowly(values, cells.edges))


# --- the compiled way is the same -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_compiled_way_is_the_plain_one_bit_by_bit(compiled: Kernel, kind: str) -> None:
    cells = cells_for(made(kind))
    values = np.concatenate([made(kind, seed=8), around(cells.edges)])
    assert_same(values, cells.grid, cells.centre, compiled)


MAPS: tuple[PlaceMap, ...] = (
    Affine(centre=0.1, scale=1234.5, shift=7000.3),
    Affine(centre=-LARGEST, scale=1e-290, shift=1.0),
    Affine(centre=LARGEST, scale=1e290, shift=8192.0),
    Affine(centre=1 / 3, scale=1e17, shift=4096.7),
    Logarithmic(first=0, shift=63),
    Logarithmic(first=1 << 60, shift=45),
    Logarithmic(first=4_600_000_000_000_000_000, shift=0),
)


@pytest.mark.parametrize("place_map", MAPS, ids=repr)
def test_any_map_and_any_edges(compiled: Kernel, place_map: PlaceMap) -> None:
    rng = np.random.default_rng(3)
    ends = place_map.last(np.arange(0, PLACES - 1, 97))
    ends = ends[np.isfinite(ends)]
    anything = made("whole range", 3000)
    anything = anything[np.isfinite(anything)]
    for edges in (
        np.unique(ends),
        np.unique(anything[:500]),
        np.unique(np.concatenate([ends, anything, [0.0]])),
    ):
        grid = Grid(edges, place_map)
        values = np.concatenate([around(edges), rng.permutation(around(ends)), anything])
        assert_same(values, grid, float(rng.choice(values[np.isfinite(values)])), compiled)


@pytest.mark.parametrize("size", [0, 1, LANES - 1, LANES, LANES + 1, CHUNK - 1, CHUNK, CHUNK + 1])
def test_any_length(compiled: Kernel, size: int) -> None:
    values = made("infinities")
    assert_same(values[:size], cells_for(values).grid, 0.5, compiled)


def test_memory_that_is_read_only_or_scattered(compiled: Kernel) -> None:
    values = made("normal")
    grid = cells_for(values).grid
    scattered, locked = values[::3], values[::3].copy()
    locked.flags.writeable = False
    assert repr(by(compiled, scattered, grid, 0.0)[0]) == repr(by(compiled, locked, grid, 0.0)[0])
    assert_same(scattered, grid, 0.0, compiled)


def test_a_map_that_it_does_not_know_is_counted_all_the_same(compiled: Kernel) -> None:
    class Sign:
        def places(self, values: Floats, work: Floats, *, clip: bool = True) -> Ints:
            return np.where(values < 0, 5, 6)

        def last(self, places: Ints) -> Floats:
            raise NotImplementedError

    values = made("normal")
    assert_same(values, Grid(np.array([-1.0, 0.0, 1.0]), Sign()), 0.0, compiled)


def test_threads_count_at_the_same_time(compiled: Kernel) -> None:
    values = made("far clusters")
    grid = cells_for(values).grid
    expected = by(PLAIN, values, grid, 0.0)
    found: list[Any] = [None] * 4

    def count(place: int) -> None:
        found[place] = by(compiled, values, grid, 0.0)

    threads = [threading.Thread(target=count, args=(place,)) for place in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert all(repr(one[0]) == repr(expected[0]) for one in found)
    assert all((one[2] == expected[2]).all() and (one[1] == expected[1]).all() for one in found)


# --- which one is chosen --------------------------------------------------------------------------------------


class Loader:
    """Stands for numba: what it gives, and what it was asked for."""

    def __init__(self, *answers: Kernel | Exception) -> None:
        self.answers, self.asked = list(answers), list[bool]()

    def __call__(self, in_memory: bool) -> Kernel:
        self.asked.append(in_memory)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Other:
    """A kernel that is not the plain one, and counts like it, or nearly."""

    def __init__(self, lost: int = 0) -> None:
        self._lost = lost

    def count(self, values: Floats, grid: Grid, centre: float, sums: Sums, table: Ints, slots: Ints) -> Sums:
        table[0] -= self._lost
        return PLAIN.count(values, grid, centre, sums, table, slots)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(kernels, "version", lambda name: "0.99")


@pytest.mark.usefixtures("installed")
def test_it_is_loaded_when_it_pays() -> None:
    other = Other()
    load = Loader(other)
    one = Kernels("", load)
    assert one.for_values(kernels.PAYS - 1) is PLAIN
    assert not load.asked
    assert one.status.name == "numpy"
    assert one.for_values(1) is other
    assert one.for_values(1) is other
    assert load.asked == [False]
    assert one.status == KernelStatus(name="numba", version="0.99")


@pytest.mark.usefixtures("installed")
def test_a_wish_for_it_is_met_at_once() -> None:
    other = Other()
    assert Kernels("numba", Loader(other)).for_values(1) is other


@pytest.mark.usefixtures("installed")
def test_it_can_be_switched_off() -> None:
    one = Kernels("numpy", Loader())
    assert one.for_values(10 * kernels.PAYS) is PLAIN
    assert one.status == KernelStatus(name="numpy", note="switched off by CT_DAEMON_KERNEL")


def test_without_numba_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels.importlib.util, "find_spec", lambda name: None)
    one = Kernels("numba", Loader())
    assert one.for_values(1) is PLAIN
    assert "not installed; pip install 'ct-daemon[fast]'" in one.status.note
    assert not one.status.amiss


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    "fault", [ImportError("Numba needs NumPy 2.5 or less"), OSError("disk full"), ValueError("no target")]
)
def test_when_it_refuses_to_load_the_plain_way_stays(fault: Exception) -> None:
    load = Loader(fault)
    one = Kernels("numba", load)
    assert one.for_values(1) is PLAIN
    assert one.for_values(1) is PLAIN
    assert len(load.asked) == 1
    assert one.status.amiss
    assert str(fault) in one.status.note


@pytest.mark.usefixtures("installed")
def test_one_that_counts_otherwise_is_not_used() -> None:
    assert agrees(Other())
    assert not agrees(Other(lost=1))
    one = Kernels("numba", Loader(Other(lost=1)))
    assert one.for_values(1) is PLAIN
    assert one.status.amiss


@pytest.mark.usefixtures("installed")
def test_where_it_can_not_be_kept_it_must_pay_for_compiling() -> None:
    other = Other()
    load = Loader(NoCacheFolderError(), other)
    one = Kernels("", load)
    assert one.for_values(kernels.PAYS) is PLAIN
    assert one.for_values(kernels.PAYS_IN_MEMORY - kernels.PAYS - 1) is PLAIN
    assert load.asked == [False]
    assert one.for_values(1) is other
    assert load.asked == [False, True]
    assert "NUMBA_CACHE_DIR" in one.status.note


@pytest.mark.usefixtures("installed")
def test_while_one_thread_loads_the_others_go_on() -> None:
    loading, go_on = threading.Event(), threading.Event()

    def load(in_memory: bool) -> Kernel:
        loading.set()
        assert go_on.wait(30)
        return Other()

    one = Kernels("", load)
    first = threading.Thread(target=one.for_values, args=(kernels.PAYS,))
    first.start()
    assert loading.wait(30)
    assert one.for_values(kernels.PAYS) is PLAIN
    go_on.set()
    first.join()
    assert isinstance(one.for_values(1), Other)


# --- as it is installed ---------------------------------------------------------------------------------------

SPEED = ("-P", "-m", "ct_daemon.workers.counting_speed")


def tried(package: Path, **environment: str) -> dict[str, Any]:
    env = {
        key: value for key, value in os.environ.items() if key not in ("CT_DAEMON_KERNEL", "NUMBA_CACHE_DIR")
    }
    env |= {"PYTHONPATH": os.pathsep.join([str(package), *filter(None, sys.path)]), **environment}
    done = subprocess.run([sys.executable, *SPEED], env=env, capture_output=True, check=True, timeout=100)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_variable_switches_it_off() -> None:
    found = tried(Path(ct_daemon.__file__).parents[1], CT_DAEMON_KERNEL="numpy")
    assert (found["name"], found["note"]) == ("numpy", "switched off by CT_DAEMON_KERNEL")


@pytest.mark.usefixtures("compiled")
def test_where_no_folder_can_be_written_it_is_compiled_in_memory(tmp_path: Path) -> None:
    package = tmp_path / "site"
    drop = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(ct_daemon.__file__).parent, package / "ct_daemon", ignore=drop)
    # A file in the place of each folder that numba would make: root, too, can't write there.
    (package / "ct_daemon" / "drift" / "__pycache__").write_text("")
    (tmp_path / "home").write_text("")
    env = {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": str(tmp_path / "home" / "cache")}
    found = tried(package, PYTHONDONTWRITEBYTECODE="1", **env)
    assert found["name"] == "numba", found
    assert found["amiss"]
    assert "NUMBA_CACHE_DIR" in found["note"]
