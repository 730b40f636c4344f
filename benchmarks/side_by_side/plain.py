"""What the product stands beside in its own environment: pyarrow that only decodes, scipy's KS test."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import pyarrow.parquet as pq
from scipy.stats import ks_2samp

from benchmarks.peers.answering import serve, specification

SPEC = specification()


def decode() -> int:
    """The whole file into one table."""
    return pq.read_table(SPEC["window"], use_threads=False).num_rows


def row_groups() -> int:
    """One row group after the other, none kept."""
    with pq.ParquetFile(SPEC["window"]) as file:
        return sum(
            file.read_row_group(number, use_threads=False).num_rows for number in range(file.num_row_groups)
        )


def arrays(path: str) -> dict[str, Any]:
    read = pq.read_table(path)
    return {name: read.column(name).to_numpy() for name in read.column_names}


if SPEC["form"] == "arrays":
    BASELINE, WINDOW = arrays(SPEC["baseline"]), arrays(SPEC["window"])


def ks() -> dict[str, float]:
    """Column by column, both sides sorted each time."""
    return {name: float(ks_2samp(BASELINE[name], WINDOW[name]).statistic) for name in WINDOW}


def look(scores: dict[str, float]) -> dict[str, Any]:
    return {"top": sorted(scores, key=lambda name: -scores[name])[:2], "ks": scores}


def rows(found: int) -> dict[str, Any]:
    return {"rows": found}


serve(
    {"decode": (decode, rows), "row groups": (row_groups, rows), "ks_2samp": (ks, look)},
    ("numpy", "pyarrow", "scipy"),
)
