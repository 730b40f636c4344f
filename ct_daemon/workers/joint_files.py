"""The program behind `ct-daemon drift --joint`: two data files compared, also by a classifier over all columns.

It is one of its own, because the plain comparison does without scikit-learn.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ct_daemon.errors import SourceError
from ct_daemon.scan.read import read_table
from ct_daemon.types import JointDrift
from ct_daemon.workers import two_files
from ct_daemon.workers.joint import SAMPLE_ROWS, SEED, compare_jointly, sampled

CERTAIN = 0.001
"""The files can be told apart where chance alone does as well in one comparison of a thousand at most."""
MAX_ROWS, MAX_COLUMNS = 20_000_000, 10_000


def main(arguments: list[str] | None = None) -> int:
    """Compare and print; the exit code is that of the error tree."""
    return two_files.main(arguments, joint=compare_files_jointly)


def compare_files_jointly(baseline: Path, window: Path, ignore: Sequence[str] = ()) -> dict[str, Any]:
    """Tell the rows of two files apart, as a plain JSON document.

    Returns
    -------
    dict
        ``{"statistics": {"auc": {"value": ..., "low": ..., "high": ..., "p_value": ..., "effect": ...}}, "rows":
        {"baseline": n, "window": m}, "columns": k, "leaned_on": [{"column": ..., "auc_loss": ...}], "verdict":
        "moved"}``: the rows of the samples, how many columns were looked at, and for the columns that the classifier
        needs most by how much the AUC falls without what they say. `effect` is 2 AUC - 1, the share of rows that
        are told apart beyond guessing. What can't be told has ``"value": null``, a ``"reason"`` and the verdict
        `unknown`.

    Raises
    ------
    SourceError
        When a file can't be read (see `read_table`), or is `unreadable` or too large (`out_of_memory`).
    """
    random = np.random.default_rng(SEED)
    base, other = (sampled(_read(path), SAMPLE_ROWS, random) for path in (baseline, window))
    left_out = frozenset(ignore)
    absent = sorted(left_out.difference(base.column_names, other.column_names))
    if absent:
        raise SourceError(
            f"there is no column {absent[0]!r} to ignore; check the name", reason="unknown_column"
        )
    return document(compare_jointly(base, other, [n for n in base.column_names if n not in left_out]))


def document(found: JointDrift) -> dict[str, Any]:
    """What `compare_files_jointly` returns."""
    if found.auc is None or found.p_value is None:
        auc: dict[str, Any] = {"value": None, "reason": found.reason}
        verdict = "unknown"
    else:
        auc = {
            "value": found.auc,
            "low": found.low,
            "high": found.high,
            "p_value": found.p_value,
            "effect": 2 * found.auc - 1,
        }
        verdict = "moved" if found.p_value < CERTAIN else "calm"
    return {
        "statistics": {"auc": auc},
        "rows": {"baseline": found.baseline_rows, "window": found.window_rows},
        "columns": found.columns,
        "leaned_on": [{"column": name, "auc_loss": loss} for name, loss in found.leaned_on],
        "verdict": verdict,
    }


def _read(path: Path) -> pa.Table:
    try:
        return read_table(path, path.name, max_rows=MAX_ROWS, max_columns=MAX_COLUMNS)
    except OSError as error:
        raise SourceError(
            f"{path} can't be read: {error.strerror}; name a file that is there and open to this user",
            reason="unreadable",
        ) from error
    except MemoryError as error:
        raise SourceError(
            f"{path} needs more memory than there is; compare a part of it", reason="out_of_memory"
        ) from error


if __name__ == "__main__":
    sys.exit(main())
