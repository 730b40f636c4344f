"""The figures as a table of the README: made from `drift.json` alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.side_by_side.results import Results, ratios, record_of, seconds

KERNELS = {"numpy": "measured", "numba": "with the extra `fast`"}
"""Heads of the columns."""
SIX_HOURS = "https://github.com/evidentlyai/evidently/issues/1526"


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line: what it says of a kernel, and whether the goal is reached."""

    title: str
    goal: str
    cell: Callable[[Results, str], tuple[str, bool] | None]


def cost(title: str, record: str, other: str, most: float) -> Line:
    """How much longer than something that can't be done without."""

    def cell(found: Results, kernel: str) -> tuple[str, bool] | None:
        runs = _runs(found, record, f"ours/{kernel}", other)
        if runs is None:
            return None
        low, middle, high = ratios(*runs)
        text = f"{middle:.2f}× ({low:.2f}–{high:.2f}), {_time(runs[0])}"
        pieces = _runs(found, record, f"ours/{kernel}", f"{other}/row groups")
        if pieces is not None:
            text += f"; {ratios(*pieces)[1]:.2f}× of decoding row groups one by one"
        return text, middle <= most

    return Line(title=title, goal=f"≤ {most:g}×", cell=cell)


def speed(title: str, record: str, mine: str, other: str, least: float | None) -> Line:
    """How many times quicker than somebody else."""

    def cell(found: Results, kernel: str) -> tuple[str, bool] | None:
        runs = _runs(found, record, other, mine.format(kernel=kernel))
        if runs is None:
            return None
        low, middle, high = (_round(value) for value in ratios(*runs))
        return f"{middle}× ({low}–{high}), {_time(runs[1])} against {_time(runs[0])}", _reached(runs, least)

    return Line(title=title, goal=f"≥ {least:g}×" if least else "", cell=cell)


def _reached(runs: Any, least: float | None) -> bool:
    return least is None or ratios(*runs)[1] >= least


def _runs(found: Results, record: str, over: str, under: str) -> tuple[Any, Any] | None:
    rounds = (record_of(found, record) or {}).get("rounds", {})
    return (rounds[over], rounds[under]) if over in rounds and under in rounds else None


def _time(runs: Any) -> str:
    value = seconds(runs)
    return f"{value * 1000:.1f} ms" if value < 0.1 else f"{value:.2f} s"


def _round(value: float) -> str:
    return f"{value:.1f}" if value < 10 else f"{value:,.0f}"


def peak(title: str, record: str, most: float, job: str | None = None) -> Line:
    """Highest memory of a process."""

    def cell(found: Results, kernel: str) -> tuple[str, bool] | None:
        large = _large(found, record, kernel)
        if large is None:
            return None
        if job is not None:
            run = large["one_call"][job]
            return f"{run['peak_mb']:.0f} MB, {run['seconds']:.0f} s", run["peak_mb"] <= most
        low, high = min(large["rss_mb"]), max(large["rss_mb"])
        text = f"{large['peak_mb']:.0f} MB; after each tenth {low:.0f}–{high:.0f} MB"
        return text, large["peak_mb"] <= most

    return Line(title=title, goal=f"≤ {most:g} MB", cell=cell)


def duration(title: str, record: str) -> Line:
    """How long it took, once."""

    def cell(found: Results, kernel: str) -> tuple[str, bool] | None:
        large = _large(found, record, kernel)
        if large is None:
            return None
        count, build = (large["one_call"][job]["seconds"] for job in ("count", "build"))
        return f"{count:.0f} s; as a baseline {build:.0f} s", True

    return Line(title=title, goal="", cell=cell)


def _large(found: Results, record: str, kernel: str) -> dict[str, Any] | None:
    here = [each for each in found["figures"] if each["name"].split()[0] == record]
    return next((each for each in here if each["kernel"] == kernel), None)


def linear(title: str, record: str, most: float) -> Line:
    """Cost of a value at the largest size over that at the smallest."""

    def cell(found: Results, kernel: str) -> tuple[str, bool] | None:
        points = costs(record_of(found, record) or {"points": []}, kernel)
        if not points:
            return None
        (_, first), *_, (_, last) = points
        return f"{last / first:.2f}×, {last:.1f} ns a value", last / first <= most

    return Line(title=title, goal=f"≤ {most:g}×", cell=cell)


def costs(record: dict[str, Any], kernel: str) -> list[tuple[int, float]]:
    """Values counted, and nanoseconds each, at each size."""
    found = []
    for point in record["points"]:
        values = point["rows"] * point["columns"]
        if f"ours/{kernel}" in point["rounds"]:
            found.append((values, seconds(point["rounds"][f"ours/{kernel}"]) / values * 1e9))
    return found


FILE = "KS + PSI of 1M rows × 50 columns of a Parquet file, over decoding it alone"
FRAME = "200,000 rows × 20 columns (4 of text)"
LINES = (
    cost(f"{FILE}: as pandas writes it, as in tables", "decode mix as pandas writes it", "pyarrow", 1.5),
    cost("— as pandas writes it, nothing to compress", "decode normals as pandas writes it", "pyarrow", 1.5),
    cost("— uncompressed, as in tables", "decode mix uncompressed", "pyarrow", 2.5),
    cost("— uncompressed, nothing to compress", "decode normals uncompressed", "pyarrow", 2.5),
    speed(
        "arrays of 1M numbers in memory, against `scipy.stats.ks_2samp`",
        "arrays normals",
        "ours/{kernel}",
        "scipy",
        100,
    ),
    speed("— as in tables", "arrays mix", "ours/{kernel}", "scipy", 100),
    speed("— with making the baseline", "arrays normals", "ours/{kernel}/both", "scipy", None),
    speed(f"{FRAME}, against Evidently's preset", "peers evidently", "ours/{kernel}", "evidently", 300),
    speed("— with making the baseline", "peers evidently", "ours/{kernel}/both", "evidently", None),
    speed(f"{FRAME}, against NannyML's KS and chi-square", "peers nannyml", "ours/{kernel}", "nannyml", 20),
    speed("— each with its baseline", "peers nannyml", "ours/{kernel}/both", "nannyml/both", None),
    speed("— its defaults", "peers nannyml", "ours/{kernel}", "nannyml/default", None),
    speed(
        "200,000 rows × 16 numeric columns, against alibi-detect's KSDrift",
        "peers alibi-detect",
        "ours/{kernel}",
        "alibi-detect",
        20,
    ),
    speed("— each with its baseline", "peers alibi-detect", "ours/{kernel}/both", "alibi-detect/both", None),
    linear("a value's cost as rows grow ×100, to 10M × 16", "growth rows", 1.2),
    linear("a value's cost as columns grow ×100, to 100,000 × 1,600", "growth columns", 1.2),
    peak("peak memory over 100M rows × 20 columns, file by file", "memory", 500),
    peak("— all of them in one call", "memory", 500, "count"),
    peak("— a baseline of all of them", "memory", 500, "build"),
    duration(
        f"3M rows × 1,000 columns (a user of another tool [reports]({SIX_HOURS}) six hours for a baseline of 3M and "
        "a window of 0.3M)",
        "wide",
    ),
)


def lines(found: Results) -> Iterator[tuple[str, list[str], str]]:
    """Title, a cell for each kernel, goal."""
    for line in LINES:
        cells = [line.cell(found, kernel) for kernel in found["kernels"]]
        said = [
            "not measured" if cell is None else cell[0] + ("" if cell[1] else ", missed") for cell in cells
        ]
        yield line.title, said, line.goal


def markdown(found: Results) -> str:
    """The table, and under it where it comes from."""
    heads = ["figure", *(KERNELS[kernel] for kernel in found["kernels"]), "goal"]
    rows = [heads, ["---"] * len(heads)]
    rows += [[title, *cells, goal] for title, cells, goal in lines(found)]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"{table}\n\n{caption(found)}\n"


def caption(found: Results) -> str:
    """Machine, versions, and what a cell says."""
    machine, versions = found["machine"], found["versions"]
    own = versions[f"ours/{found['kernels'][0]}"]
    names = ("evidently", "nannyml", "alibi-detect")
    beside = [f"{name} {versions[name][name]}" for name in names if name in versions]
    beside += [f"{name} not measured ({why.splitlines()[-1]})" for name, why in found["left_out"].items()]
    libraries = ", ".join(f"{name} {own[name]}" for name in ("pyarrow", "numpy", "scipy") if name in own)
    where = "one pinned core" if machine["pinned"] else "cores not pinned"
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {where}, Python {own['python']}, {libraries}; "
        f"{', '.join(beside)}. All take turns in one run, data loaded and warm; a ratio is the median of the pairs, "
        "in brackets the middle half of them. Ours is against a stored baseline unless it says otherwise."
    )


def plain(found: Results) -> str:
    """The same for a terminal."""
    rows = [(title, *cells, goal) for title, cells, goal in lines(found)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in text)
