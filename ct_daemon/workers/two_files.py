"""The program behind `ct-daemon drift`: two data files compared, as a table or as JSON."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

from ct_daemon.errors import CtDaemonError
from ct_daemon.scan.files import compare_files

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SHOWN = ("psi", "ks", "js", "missing", "unseen")


def main(arguments: list[str] | None = None) -> int:
    """Compare and print; the exit code is that of the error tree."""
    parser = argparse.ArgumentParser(prog="ct-daemon drift")
    parser.add_argument("baseline", type=Path)
    parser.add_argument("window", type=Path)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args(arguments)
    try:
        found = compare_files([chosen.baseline], [chosen.window])
    except CtDaemonError as error:
        if chosen.json:
            sys.stdout.write(
                json.dumps({"error": {"reason": error.reason, "detail": str(error)}}, indent=2) + "\n"
            )
        else:
            sys.stderr.write(f"ct-daemon: {error}\n")
        return error.exit_code
    text = json.dumps(found, ensure_ascii=False, indent=2) if chosen.json else "\n".join(table(found))
    sys.stdout.write(text + "\n")
    return 0


def table(found: dict[str, Any]) -> list[str]:
    """The comparison as lines: the columns that moved most come first."""
    rows = found["rows"]
    columns = sorted(found["columns"].items(), key=lambda item: -_largest(item[1]))
    width = max([6, *(len(_clean(name)) for name, _ in columns)])
    lines = [
        f"baseline {rows['baseline']:,} rows, window {rows['window']:,} rows",
        "",
        f"{'column':<{width}}  {'kind':<11}"
        + "".join(f"{name:>10}" for name in _SHOWN)
        + "  what moved most",
    ]
    for name, column in columns:
        cells = "".join(f"{_number(column['statistics'].get(statistic)):>10}" for statistic in _SHOWN)
        lines.append(f"{_clean(name):<{width}}  {column['kind']:<11}{cells}  {_moved(column)}")
    if "reason" in found:
        lines += ["", f"can't tell: {found['reason']}"]
    return lines


def _largest(column: dict[str, Any]) -> float:
    values = [column["statistics"].get(name, {}).get("value") for name in ("psi", "ks")]
    return max((value for value in values if value is not None), default=-1.0)


def _number(statistic: dict[str, Any] | None) -> str:
    if statistic is None:
        return "-"
    return "can't tell" if statistic["value"] is None else f"{statistic['value']:.4f}"


def _moved(column: dict[str, Any]) -> str:
    reasons = {s["reason"] for s in column["statistics"].values() if s.get("reason")}
    if reasons:
        return _clean(", ".join(sorted(reasons)))
    moved = column.get("moved") or []
    return _clean(f"{moved[0]['cell']} ({moved[0]['change']:+.1%})") if moved else ""


def _clean(text: str) -> str:
    return _CONTROL.sub("?", text)


if __name__ == "__main__":
    sys.exit(main())
