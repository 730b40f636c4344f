"""A daemon that acknowledges before it commits: the control that the crash suite must catch.

`python tests/crash/sabotaged.py run CONFIG` behaves like `ct-daemon run`, but for one thing: a demand is answered at
once and written down a little later, as a daemon would do that keeps its queue in memory.
"""

from __future__ import annotations

import threading
from typing import Any

from ct_daemon.cli.main import main
from ct_daemon.monitor.monitor import Monitor

DELAY_S = 0.5


def acknowledge_first(self: Monitor, demand: Any) -> Any:
    threading.Timer(DELAY_S, honest, args=(self, demand)).start()
    return demand, True, None


honest = Monitor.demand

if __name__ == "__main__":
    Monitor.demand = acknowledge_first  # type: ignore[method-assign]
    main()
