"""The product as it is measured: its public door, and nothing of its inside."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ct_daemon import compare, load_profile, profile, save_profile

KERNEL = "CT_DAEMON_KERNEL"
"""The environment variable that picks a kernel."""


def kernels() -> list[str]:
    """Those that this installation has, the one that is always there first."""
    return ["numpy", "numba"] if find_spec("numba") else ["numpy"]


def environment(kernel: str) -> dict[str, str]:
    """Of a process that is to use this kernel."""
    return {**os.environ, KERNEL: kernel}


def baseline_of(data: Any) -> Any:
    """A baseline."""
    return profile(data)


def stored(baseline: Any, path: Path) -> Any:
    """The baseline as it comes back from a file."""
    save_profile(baseline, path)
    return load_profile(path)


def window_of(data: Any, baseline: Any) -> Any:
    """A window on the cells of a baseline."""
    return profile(data, like=baseline)


def report_of(baseline: Any, window: Any) -> Any:
    """All statistics of all columns, KS and PSI among them, and the document made of them."""
    report = compare(baseline, window)
    report.to_dict()
    return report


def statistics_of(report: Any, name: str) -> dict[str, tuple[float, float]]:
    """One statistic by column: value, and the bound on its error."""
    found = {
        column: score.statistics[name] for column, score in report.columns.items() if name in score.statistics
    }
    return {column: (one.value, one.error or 0.0) for column, one in found.items() if one.value is not None}
