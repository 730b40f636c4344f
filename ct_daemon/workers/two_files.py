"""The program behind `ct-daemon drift`: two sets of rows compared, as a table or as JSON."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ct_daemon.scan.door import compare
from ct_daemon.terminal import width
from ct_daemon.workers.answering import answer, document, names, spread_of
from ct_daemon.workers.tables import comparison_lines

Joint = Callable[[Path, Path, Sequence[str], Sequence[str] | None], dict[str, Any]]
"""Baseline, window, columns to ignore and columns to look at (None: all) → what `joint_files` says."""


def main(arguments: list[str] | None = None, joint: Joint | None = None) -> int:
    """Compare and print, with what `joint` says of all columns together; the exit code is that of the error tree."""
    parser = argparse.ArgumentParser(prog="ct-daemon drift", allow_abbrev=False)
    parser.add_argument("baseline", type=Path)
    parser.add_argument("window", type=Path)
    parser.add_argument("--columns")
    parser.add_argument("--min-rows", type=int, default=50)
    parser.add_argument("--ignore", action="append", default=[])
    parser.add_argument("--dask")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args(arguments)
    return answer(lambda: _compared(chosen, joint), as_json=chosen.json)


def _compared(chosen: argparse.Namespace, joint: Joint | None) -> str:
    baseline, window, columns = chosen.baseline, chosen.window, names(chosen.columns)
    with spread_of(chosen.dask) as spread:
        found = compare(baseline, window, min_rows=chosen.min_rows, columns=columns, spread=spread)
    together = {} if joint is None else {"joint": joint(baseline, window, chosen.ignore, columns)}
    if chosen.json:
        return document(found.to_dict() | together)
    return "\n".join(comparison_lines(found, width(), together.get("joint")))


if __name__ == "__main__":
    sys.exit(main())
