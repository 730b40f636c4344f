"""The program behind the line on counting of `ct-daemon doctor`: which kernel this machine counts with, and how fast.

It loads the compiled one whatever pays, so where code can be kept it has been compiled when a worker wants it.
"""

from __future__ import annotations

import json
import os
import sys
import time

import numpy as np

from ct_daemon.codec import plain
from ct_daemon.drift.edges import draft_for
from ct_daemon.drift.kernel import NUMBA, NUMPY, VARIABLE, Kernels
from ct_daemon.drift.places import PLACES
from ct_daemon.drift.plain import Kernel, Sums

VALUES = 1_000_000
REPEATS = 5


def main() -> int:
    """Print the kernel's status and the milliseconds for a million values, as JSON."""
    wish = os.environ.get(VARIABLE, "")
    kernels = Kernels(NUMPY if wish == NUMPY else NUMBA)
    kernel = kernels.for_values(VALUES)
    found = {**plain(kernels.status), "milliseconds": round(_measured(kernel), 2), "wish": wish}
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


def _measured(kernel: Kernel) -> float:
    """The best of a few tries; others may be busy, too."""
    values = np.random.default_rng(0).normal(size=VALUES)
    grid = draft_for(np.sort(values[:: VALUES // 10_000]), whole=False).tally().grid
    table, slots = np.zeros(PLACES + 1, dtype=np.int64), np.zeros(grid.slots, dtype=np.int64)
    took = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        kernel.count(values, grid, 0.0, Sums(), table, slots)
        took.append(time.perf_counter() - start)
    return 1e3 * min(took)


if __name__ == "__main__":
    sys.exit(main())
