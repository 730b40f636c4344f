"""How the fine cells of numeric columns lie on the line; what distances need to know of `NumericCells`.

A cell is a *point*, which holds one value (or an infinity), or an interval, in which rows may lie anywhere.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ct_daemon.drift.binning import Floats, Ints, NumericCells

Bools = npt.NDArray[np.bool_]


def points(cells: NumericCells) -> Bools:
    """Which cells are points. Shape (K,) for K cells; the first and the last, of the infinities, are."""
    found = np.zeros(len(cells), dtype=np.bool_)
    if len(cells.edges):
        found[0::2] = True
    else:
        found[[0, -1]] = True
    return found


def marks(cells: NumericCells) -> Floats:
    """Where one finite cell ends and the next one begins, ascending. Shape (K - 3,) for K cells."""
    return np.repeat(np.asarray(cells.edges, dtype=np.float64), 2)


def coarse_ends(cells: NumericCells) -> Ints | None:
    """The fine cells that are the last ones of a coarse cell, without the last of all. Shape (number of cuts,); None
    where the coarse cells are no runs of fine ones: for a baseline without two finite values."""
    if len(cells.edges) < 2:
        return None
    return 2 * np.searchsorted(np.asarray(cells.edges), np.asarray(cells.cuts)).astype(np.int64) + 2
