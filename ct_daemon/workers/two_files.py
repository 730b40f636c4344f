"""The program behind `ct-daemon drift`: two sets of rows compared, as a table or as JSON."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ct_daemon.scan.door import compare
from ct_daemon.terminal import width
from ct_daemon.workers.answering import answer, document, names
from ct_daemon.workers.tables import comparison_lines


def main(arguments: list[str] | None = None) -> int:
    """Compare and print; the exit code is that of the error tree."""
    parser = argparse.ArgumentParser(prog="ct-daemon drift", allow_abbrev=False)
    parser.add_argument("baseline", type=Path)
    parser.add_argument("window", type=Path)
    parser.add_argument("--columns")
    parser.add_argument("--min-rows", type=int, default=50)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args(arguments)
    return answer(lambda: _compared(chosen), as_json=chosen.json)


def _compared(chosen: argparse.Namespace) -> str:
    found = compare(chosen.baseline, chosen.window, min_rows=chosen.min_rows, columns=names(chosen.columns))
    return document(found.to_dict()) if chosen.json else "\n".join(comparison_lines(found, width()))


if __name__ == "__main__":
    sys.exit(main())
