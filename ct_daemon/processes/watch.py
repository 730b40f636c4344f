"""A child's time and memory, held against its limits."""

from __future__ import annotations

import time
from typing import NamedTuple

from ct_daemon.processes.children import Child

POLL_S = 0.05
"""A waiting parent looks at time and memory this often."""


class Fault(NamedTuple):
    """A limit that was passed: its slug, and what is said about it."""

    reason: str
    detail: str


class Watch:
    """Time and memory of a child against its limits. Asking is cheap: it looks no more often than is affordable."""

    def __init__(self, child: Child, *, time_s: float, memory_mb: int) -> None:
        self._child, self._time_s, self._memory_mb = child, time_s, memory_mb
        self._deadline = time.monotonic() + time_s
        self._next_look = 0.0

    def fault(self) -> Fault | None:
        """The limit that has been passed, if any: `timeout`, `stopped_process` or `out_of_memory`."""
        now = time.monotonic()
        late = now >= self._deadline
        if now < self._next_look and not late:
            return None
        family = self._child.family()
        cost = time.monotonic() - now
        self._next_look = now + max(POLL_S, 20 * cost)  # at most 5 % of a core, however many processes run
        used = sum(process.rss_bytes for process in family) / 2**20
        if used > self._memory_mb:
            return Fault("out_of_memory", f"used {used:.0f} MiB where {self._memory_mb} MiB are allowed")
        if not late:
            return None
        if any(process.state == "T" for process in family):
            return Fault("stopped_process", f"was stopped by a signal and not done after {self._time_s:g} s")
        return Fault("timeout", f"was not done after {self._time_s:g} s")
