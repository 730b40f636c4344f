"""The product, as one side of a measurement."""

from __future__ import annotations

import sys
from functools import reduce
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.peers.answering import serve, specification
from benchmarks.side_by_side import door

SPEC = specification()


def loaded(path: str) -> Any:
    """The data in the form that is measured: a path is left to the product to read."""
    match SPEC["form"]:
        case "path":
            return path
        case "frame":
            return pd.read_parquet(path, columns=[*SPEC["numeric"], *SPEC["text"]])
        case _:
            return {name: column.to_numpy() for name, column in zip(*columns_of(path), strict=True)}


def columns_of(path: str) -> tuple[list[str], list[Any]]:
    read = pq.read_table(path).combine_chunks()
    return read.column_names, [column.chunk(0) for column in read.columns]


if SPEC["form"] == "frame":
    import pandas as pd
elif SPEC["form"] == "arrays":
    import pyarrow.parquet as pq

BASELINE = loaded(SPEC["baseline"]) if "window" in SPEC else None
WINDOW = loaded(SPEC["window"]) if "window" in SPEC else None
STORED = door.stored(door.baseline_of(loaded(SPEC["baseline"])), Path(SPEC["baseline"]).with_suffix(".json"))
PARTS: list[Any] = []


def window() -> Any:
    """Against a baseline that was made before."""
    return door.report_of(STORED, door.window_of(WINDOW, STORED))


def both() -> Any:
    """The baseline as well."""
    made = door.baseline_of(BASELINE)
    return door.report_of(made, door.window_of(WINDOW, made))


def look(report: Any) -> dict[str, Any]:
    scores = door.statistics_of(report, "ks")
    assert door.statistics_of(report, "psi").keys() >= scores.keys()
    return {"top": sorted(scores, key=lambda name: -scores[name][0])[:2], "ks": scores}


def add(paths: list[str]) -> None:
    """More rows of one window."""
    PARTS.append(door.window_of(paths, STORED))
    PARTS[:] = [reduce(lambda one, other: one.merge(other), PARTS)]


def finish() -> Any:
    """The report on all rows that were added."""
    return door.report_of(STORED, PARTS.pop())


def count(paths: list[str]) -> Any:
    """A window of many files in one call."""
    return door.report_of(STORED, door.window_of(paths, STORED))


def build(paths: list[str]) -> Any:
    """A baseline of many files in one call."""
    return door.baseline_of(paths)


def rows(result: Any) -> dict[str, Any]:
    return {"rows": getattr(result, "rows", None)}


serve(
    {
        "window": (window, look),
        "both": (both, look),
        "add": (add, lambda _: {"rows": PARTS[0].rows}),
        "finish": (finish, look),
        "count": (count, look),
        "build": (build, rows),
    },
    ("numpy", "pandas", "pyarrow", "scipy", *(("numba",) if "numba" in door.kernels() else ())),
)
