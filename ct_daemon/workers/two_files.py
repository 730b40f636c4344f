"""The program behind `ct-daemon drift`: two data files compared, as a table or as JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ct_daemon.errors import CtDaemonError, SourceError
from ct_daemon.scan.files import compare_files
from ct_daemon.terminal import GAP, Column, clip, printable, table, width, wrapped
from ct_daemon.words import counted

Joint = Callable[[Path, Path, Sequence[str]], dict[str, Any]]
"""Baseline, window and columns to ignore → what `joint_files` says."""
CELLS = 2
"""So many cells of a column that moved are named."""
UNKNOWN = "can't tell"
_SHARES = ("missing", "unseen")
_SHOWN = ("psi", "ks", *_SHARES)
CHANCE = 1e-6
"""Smaller p-values are told as below this."""
_COLUMNS = (
    Column(title="column", flexible=True),
    Column(title="kind"),
    Column(title="PSI", right=True),
    Column(title="KS", right=True),
    Column(title="missing", right=True),
    Column(title="unseen", right=True),
    Column(title="verdict"),
)


def main(arguments: list[str] | None = None, joint: Joint | None = None) -> int:
    """Compare and print, with what `joint` says of all columns together; the exit code is that of the error tree."""
    parser = argparse.ArgumentParser(prog="ct-daemon drift")
    parser.add_argument("baseline", type=Path)
    parser.add_argument("window", type=Path)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--ignore", action="append", default=[])
    chosen = parser.parse_args(arguments)
    try:
        for path in (chosen.baseline, chosen.window):
            if not path.exists():
                raise SourceError(f"there is no file {path}; check the name", reason="file_missing")
        found = compare_files([chosen.baseline], [chosen.window])
        if joint is not None:
            found["joint"] = joint(chosen.baseline, chosen.window, chosen.ignore)
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


def report(found: dict[str, Any], width: int) -> list[str]:
    """The comparison as lines of at most `width`: the columns that moved most come first."""
    rows, thresholds = found["rows"], found["thresholds"]
    place = {one["column"]: number for number, one in enumerate(found["ranking"])}
    columns = sorted(found["columns"].items(), key=lambda item: place.get(item[0], len(place)))
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
    if "joint" in found:
        lines += ["", *_together(found["joint"], width)]
    told = ", ".join(
        f"{name} {100 * value:g} points" if name in _SHARES else f"{name.upper()} {value:g}"
        for name, value in thresholds.items()
    )
    return [*lines, "", *wrapped(f"moved: at {told} or more, and beyond the noise of so many rows", width)]


def _together(joint: dict[str, Any], width: int) -> list[str]:
    """What the classifier says of all columns together."""
    auc = joint["statistics"]["auc"]
    if auc["value"] is None:
        return wrapped(f"all columns together: {UNKNOWN} ({auc['reason']})", width)
    chance = f"p {auc['p_value']:.2g}" if auc["p_value"] >= CHANCE else f"p below {CHANCE:g}"
    text = (
        f"all columns together: {joint['verdict']}; a classifier tells the files apart with AUC {auc['value']:.3f} "
        f"[{auc['low']:.3f}, {auc['high']:.3f}] (0.5 is guessing), {chance}, on {joint['rows']['baseline']:,} and "
        f"{counted(joint['rows']['window'], 'row')}"
    )
    lines = wrapped(text, width)
    if joint["leaned_on"]:
        needed = (f"{printable(one['column'])} ({one['auc_loss']:+.3f})" for one in joint["leaned_on"])
        lines += wrapped(f"it leaned on {', '.join(needed)}", width, first="    ", rest="    ")
    return lines


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


def _number(statistic: dict[str, Any] | None, form: str, times: float = 1) -> str:
    """A dash where the column's kind has no such statistic."""
    if statistic is None:
        return "-"
    return "?" if statistic["value"] is None else form.format(times * statistic["value"])


def _note(column: dict[str, Any]) -> str:
    """What moved most in a column that moved, and which way; what can't be told and why."""
    parts = []
    if column["verdict"] == "moved":
        cells = [f"{c['cell']} {100 * c['change']:+.1f} points" for c in (column.get("moved") or [])[:CELLS]]
        parts.append(": ".join(part for part in (column.get("direction"), ", ".join(cells)) if part))
    shown = {name: s for name, s in column["statistics"].items() if name in _SHOWN}
    unknown = [(name, s["reason"]) for name, s in shown.items() if s["value"] is None and s.get("reason")]
    if unknown:
        reasons = ", ".join(sorted({reason for _, reason in unknown}))
        names = f" ({', '.join(name for name, _ in unknown)})" if len(unknown) < len(shown) else ""
        parts.append(reasons + names)
    return "; ".join(part for part in parts if part)


if __name__ == "__main__":
    sys.exit(main())
