"""A child against its limits."""

from __future__ import annotations

import psutil
import pytest

from ct_daemon.processes.kin import LINUX
from ct_daemon.processes.watch import Watch
from tests.unit.processes.rig import Start, until

pytestmark = pytest.mark.skipif(not LINUX, reason="/proc and the death signal are Linux features")


def test_memory_counts_the_whole_family(start: Start) -> None:
    text = (
        "import os, signal\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    hog = bytearray(b'x') * (60 << 20)\n"
        "    print('ready')\n"
        "while True: signal.pause()\n"
    )
    with start(text) as child:
        assert until(lambda: "ready" in child.log.tail())
        used = sum(process.rss_bytes for process in child.family())
        parent = psutil.Process(child.pid)
        truth = sum(p.memory_info().rss for p in (parent, *parent.children(recursive=True)))
        assert used == pytest.approx(truth, rel=0.05)
        assert Watch(child, time_s=60, memory_mb=1000).fault() is None
        assert Watch(child, time_s=60, memory_mb=50).fault().reason == "out_of_memory"
