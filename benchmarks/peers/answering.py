"""How a program that is measured answers: one line in, one timed run, one line out.

Only the standard library, and nothing newer than Python 3.10: every peer has an environment of its own.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

Job = tuple[Callable[..., Any], Callable[[Any], dict[str, Any]]]
"""What is timed, and what is read off its result afterwards."""


def specification() -> dict[str, Any]:
    """What the first argument of the program says."""
    return json.loads(sys.argv[1])


def serve(jobs: Mapping[str, Job], packages: tuple[str, ...]) -> None:
    """Answer until standard input ends. Answers have a pipe of their own: libraries print what they like."""
    with os.fdopen(int(sys.argv[2]), "w", encoding="utf-8") as answers:

        def answer(content: dict[str, Any]) -> None:
            answers.write(json.dumps(content) + "\n")
            answers.flush()

        answer({"python": platform.python_version(), **{name: version(name) for name in packages}})
        for line in sys.stdin:
            request = json.loads(line)
            answer(timed(*jobs[request["job"]], request["with"]))


def timed(run: Callable[..., Any], look: Callable[[Any], dict[str, Any]], arguments: dict[str, Any]) -> dict:
    """One run: seconds by the clock and of CPU (all threads), memory in MB, and what it found."""
    gc.collect()
    cpu, begun = time.process_time(), time.perf_counter()
    result = run(**arguments)
    wall, cpu = time.perf_counter() - begun, time.process_time() - cpu
    rss, peak = memory_mb()
    return {"wall": wall, "cpu": cpu, "rss": rss, "peak": peak, "found": look(result)}


def memory_mb() -> tuple[float, float]:
    """Resident memory now and at its highest, in MB (10**6 bytes)."""
    status = Path("/proc/self/status")
    if not status.exists():  # macOS: the highest only, in bytes
        highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        return highest, highest
    lines = dict(line.split(":", 1) for line in status.read_text(encoding="utf-8").splitlines())
    return tuple(int(lines[name].split()[0]) * 1024 / 1e6 for name in ("VmRSS", "VmHWM"))
