"""What was measured, kept as `drift.json`."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Results = dict[str, Any]
"""`machine`, `versions`, `kernels`, `left_out`, and `figures`, a list of records (`figures.Record`)."""


class OtherMachineError(Exception):
    """Figures of two machines, or of two sets of versions, don't belong in one file."""


def machine(core: int | None) -> dict[str, Any]:
    """Where it was measured."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "pinned": core is not None,
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def load(path: Path) -> Results:
    """What a file holds."""
    return json.loads(path.read_text(encoding="utf-8"))


def save(found: Results, path: Path) -> None:
    """Write the file whole, one run a line."""
    text = json.dumps({name: value for name, value in found.items() if name != "figures"}, indent=1)
    figures = ",\n".join(f"  {json.dumps(record, ensure_ascii=False)}" for record in found["figures"])
    path.write_text(f'{text[:-2]},\n "figures": [\n{figures}\n ]\n}}\n', encoding="utf-8")


def into(found: Results, path: Path) -> Results:
    """Figures that were measured apart, in the place of their old ones in a file.

    Raises
    ------
    OtherMachineError
        When the rest of the file was measured elsewhere, or with other versions.
    """
    if not path.exists():
        return found
    old = load(path)
    versions = {**old["versions"], **found["versions"]}
    same = all(versions[name] == version for name, version in old["versions"].items())
    if old["machine"] != found["machine"] or old["kernels"] != found["kernels"] or not same:
        raise OtherMachineError(f"{path} is of another machine or other versions: measure all figures anew")
    new = {record["name"]: record for record in found["figures"]}
    kept = [new.pop(record["name"], record) for record in old["figures"]]
    left_out = {name: why for name, why in old["left_out"].items() if name not in found["versions"]}
    return {
        **found,
        "versions": versions,
        "left_out": {**left_out, **found["left_out"]},
        "figures": [*kept, *new.values()],
    }


def record_of(found: Results, name: str) -> dict[str, Any] | None:
    """The record of this name, if it was measured."""
    return next((record for record in found["figures"] if record["name"] == name), None)


def seconds(runs: Sequence[Sequence[float]]) -> float:
    """Median by the clock."""
    return statistics.median(wall for wall, _ in runs)


def ratios(over: Sequence[Sequence[float]], under: Sequence[Sequence[float]]) -> tuple[float, float, float]:
    """Of each pair of runs that stood side by side: the lower quartile of their ratios, the median, the upper."""
    found = [one / other for (one, _), (other, _) in zip(over, under, strict=True)]
    if len(found) < 2:
        return (found[0],) * 3
    low, middle, high = statistics.quantiles(found, n=4, method="inclusive")
    return low, middle, high
