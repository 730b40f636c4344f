"""What the tests of children share."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from ct_daemon.processes.children import Child

Start = Callable[..., Child]

FOR_EVER = "import signal\nwhile True: signal.pause()\n"


def until(condition: Callable[[], object], timeout_s: float = 5.0) -> bool:
    """Wait for something that happens in another process."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def printed(child: Child, path: Path) -> str:
    assert child.ended(10.0)
    assert child.end() == 0, child.log.tail()
    assert child.log.closed(5.0)
    return (path / "child.log").read_text()
