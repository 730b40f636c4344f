"""The product as it is measured: its public door, and nothing of its inside."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any

from ct_daemon import compare, profile

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
    return {
        score.column: (score.statistics[name].value, score.statistics[name].error or 0.0)
        for score in report.columns
        if name in score.statistics and score.statistics[name].value is not None
    }
