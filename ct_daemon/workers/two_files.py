"""The program behind `ct-daemon drift`: two data files compared, as a table or as JSON."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from ct_daemon.errors import CtDaemonError, SourceError
from ct_daemon.scan.cluster import Cluster
from ct_daemon.scan.files import compare_files
from ct_daemon.scan.profiles import HERE, Spread
from ct_daemon.terminal import GAP, Column, clip, printable, table, width, wrapped
from ct_daemon.words import counted

CELLS = 2
"""So many cells of a column that moved are named."""
UNKNOWN = "can't tell"
_COLUMNS = (
    Column(title="column", flexible=True),
    Column(title="kind"),
    Column(title="PSI", right=True),
    Column(title="KS", right=True),
    Column(title="missing", right=True),
    Column(title="unseen", right=True),
    Column(title="verdict"),
)


def main(arguments: list[str] | None = None) -> int:
    """Compare and print; the exit code is that of the error tree."""
    parser = argparse.ArgumentParser(prog="ct-daemon drift")
    parser.add_argument("baseline", type=Path)
    parser.add_argument("window", type=Path)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--dask", metavar="ADDRESS")
    chosen = parser.parse_args(arguments)
    try:
        for path in (chosen.baseline, chosen.window):
            if not path.exists():
                raise SourceError(f"there is no file {path}; check the name", reason="file_missing")
        with _spread(chosen.dask) as spread:
            found = compare_files([chosen.baseline], [chosen.window], spread=spread)
    except CtDaemonError as error:
        if chosen.json:
            sys.stdout.write(
                json.dumps({"error": {"reason": error.reason, "detail": str(error)}}, indent=2) + "\n"
            )
        else:
            sys.stderr.write(f"ct-daemon: {error}\n")
        return error.exit_code
    text = (
        json.dumps(found, ensure_ascii=False, indent=2) if chosen.json else "\n".join(report(found, width()))
    )
    sys.stdout.write(text + "\n")
    return 0


def _spread(address: str | None) -> AbstractContextManager[Spread]:
    return nullcontext(HERE) if address is None else Cluster(address)


def report(found: dict[str, Any], width: int) -> list[str]:
    """The comparison as lines of at most `width`: the columns that moved most come first."""
    rows, thresholds = found["rows"], found["thresholds"]
    columns = sorted(found["columns"].items(), key=lambda item: -_largest(item[1]))
    head, *cells = table(_COLUMNS, [_row(name, column) for name, column in columns], width)
    lines = [f"baseline {counted(rows['baseline'], 'row')}, window {counted(rows['window'], 'row')}", ""]
    lines.append(GAP.join(head).rstrip())
    for (_, column), row in zip(columns, cells, strict=True):
        lines.append(GAP.join(row).rstrip())
        note = _note(column)
        if note:
            lines.append(clip(f"    {printable(note)}", width))
    if "reason" in found:
        lines += ["", f"{UNKNOWN}: {found['reason']}"]
    told = ", ".join(f"{name.upper()} {value:g}" for name, value in thresholds.items())
    return [*lines, "", *wrapped(f"moved: at {told} or more, and beyond the noise of so many rows", width)]


def _row(name: str, column: dict[str, Any]) -> tuple[str, ...]:
    statistics = column["statistics"]
    return (
        name,
        column["kind"],
        _number(statistics.get("psi"), "{:.3f}"),
        _number(statistics.get("ks"), "{:.3f}"),
        _number(statistics.get("missing"), "{:.1f} %", 100),
        _number(statistics.get("unseen"), "{:.1f} %", 100),
        UNKNOWN if column["verdict"] == "unknown" else column["verdict"],
    )


def _largest(column: dict[str, Any]) -> float:
    values = [column["statistics"].get(name, {}).get("value") for name in ("psi", "ks")]
    return max((value for value in values if value is not None), default=-1.0)


def _number(statistic: dict[str, Any] | None, form: str, times: float = 1) -> str:
    """A dash where the column's kind has no such statistic."""
    if statistic is None:
        return "-"
    return "?" if statistic["value"] is None else form.format(times * statistic["value"])


def _note(column: dict[str, Any]) -> str:
    """What can't be told and why, or what moved most in a column that moved."""
    statistics = column["statistics"].items()
    unknown = [(name, s["reason"]) for name, s in statistics if s["value"] is None and s.get("reason")]
    if unknown:
        reasons = ", ".join(sorted({reason for _, reason in unknown}))
        return (
            reasons if len(unknown) == len(statistics) else f"{reasons} ({', '.join(n for n, _ in unknown)})"
        )
    if column["verdict"] != "moved":
        return ""
    moved = (column.get("moved") or [])[:CELLS]
    return ", ".join(f"{cell['cell']} {100 * cell['change']:+.1f} points" for cell in moved)


if __name__ == "__main__":
    sys.exit(main())
