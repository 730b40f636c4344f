"""Columns that are made from a seed, and files of them.

`normals` can't be compressed: every value is another double. `mix` is as tables are: decimals with two places, whole
numbers, a heavy tail, mostly zeros. Two columns of a window have moved, and whatever looks for drift must find them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

MOVED = ("n005", "n010")
"""Whole numbers and a heavy tail, of the mix."""
CATEGORIES = (3, 20, 100, 1000)
"""Distinct words of the text columns."""


def numeric(columns: int) -> list[str]:
    """Names of numeric columns."""
    return [f"n{number:03}" for number in range(columns)]


def text(columns: int) -> list[str]:
    """Names of text columns."""
    return [f"t{number:03}" for number in range(columns)]


def table(kind: str, rows: int, columns: int, seed: int, *, texts: int = 0, moved: bool = False) -> pa.Table:
    """Rows of a seed.

    Parameters
    ----------
    kind : {"normals", "mix"}
        Of the numeric columns.
    columns, texts : int
        Numeric columns and text columns.
    moved : bool
        The columns of `MOVED` have another distribution.
    """
    random = np.random.default_rng([seed, rows, columns])
    one = {"normals": _normal, "mix": _of_a_table}[kind]
    names = numeric(columns)
    made: dict[str, pa.Array] = {
        name: pa.array(one(random, rows, number, moved=moved and name in MOVED))
        for number, name in enumerate(names)
    }
    for number, name in enumerate(text(texts)):
        made[name] = _words(random, rows, CATEGORIES[number % len(CATEGORIES)])
    return pa.table(made)


def _normal(random: np.random.Generator, rows: int, number: int, *, moved: bool) -> np.ndarray:
    return random.standard_normal(rows) + (0.3 if moved else 0.0)


def _of_a_table(random: np.random.Generator, rows: int, number: int, *, moved: bool) -> np.ndarray:
    match number % 4:
        case 0:
            return np.round(random.normal(100.0, 20.0, rows), 2)
        case 1:
            return random.poisson(14.0 if moved else 12.0, rows)
        case 2:
            return random.lognormal(1.0 if moved else 0.5, 1.5, rows)
        case _:
            return np.where(random.random(rows) < 0.8, 0.0, random.exponential(5.0, rows))


def _words(random: np.random.Generator, rows: int, distinct: int) -> pa.Array:
    """Few words are frequent, most are rare."""
    places = np.minimum(random.exponential(distinct / 5, rows).astype(np.int64), distinct - 1)
    return pa.array([f"word {number}" for number in range(distinct)]).take(pa.array(places))


def as_pandas_writes(rows: pa.Table, path: Path) -> None:
    """`DataFrame.to_parquet` with its own settings."""
    rows.to_pandas().to_parquet(path)


def uncompressed(rows: pa.Table, path: Path) -> None:
    """The same without compression."""
    rows.to_pandas().to_parquet(path, compression=None)


def in_pieces(pieces: Iterator[pa.Table], path: Path) -> None:
    """One file of many pieces, as `DataFrame.to_parquet` would have written it, without holding all of it."""
    first = next(pieces)
    with pq.ParquetWriter(path, first.schema) as writer:
        writer.write_table(first)
        for piece in pieces:
            writer.write_table(piece)
