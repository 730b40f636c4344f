"""Small, seeded data, and the proper way to let it arrive."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


def rows(
    count: int, *, seed: int, shift: float = 0.0, flip: bool = False, first_id: int = 0, labelled: bool = True
) -> pa.Table:
    """A small classification problem with mixed columns.

    Parameters
    ----------
    count : int
        Rows.
    seed : int
        The same seed gives the same rows.
    shift : float
        Moves the column `a` by so many standard deviations (drift in the inputs).
    flip : bool
        Turns the meaning of `a` round (drift of the concept): a model trained before is worse than chance.
    first_id : int
        `row_id` counts from here.
    labelled : bool
        With the target `y`; about 90 % of it can be learnt.

    Returns
    -------
    pyarrow.Table
        Columns row_id (int), at (timestamp, one row a minute), a, b (float, b with gaps), c (text), d (bool) and,
        if `labelled`, y (int, 0 or 1).
    """
    random = np.random.default_rng(seed)
    a = random.normal(shift, 1.0, count)
    b = random.exponential(1.0, count)
    c = random.choice(["red", "green", "blue"], count)
    d = random.random(count) < 0.5
    signal = 2.5 * (a - shift) * (-1.0 if flip else 1.0) + 0.8 * (c == "red") - 0.5 * d
    y = (signal + random.logistic(0.0, 0.5, count) > 0).astype(np.int64)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    columns = {
        "row_id": pa.array(np.arange(first_id, first_id + count)),
        "at": pa.array([start + timedelta(minutes=first_id + i) for i in range(count)]),
        "a": pa.array(a),
        "b": pa.array(b, mask=random.random(count) < 0.05),
        "c": pa.array(c),
        "d": pa.array(d),
    }
    if labelled:
        columns["y"] = pa.array(y)
    return pa.table(columns)


def drop(folder: Path, name: str, table: pa.Table) -> Path:
    """Let a Parquet file arrive the proper way: written under a hidden name and synced, then renamed into place."""
    hidden = folder / f".{name}.part"
    with hidden.open("wb") as file:
        pq.write_table(table, file)
        file.flush()
        os.fsync(file.fileno())
    target = folder / name
    hidden.rename(target)
    return target
