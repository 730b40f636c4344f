"""What `ct-daemon doctor` says about counting. A process of its own tries it: this one loads no numpy."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from ct_daemon.processes.children import describe_end
from ct_daemon.terminal import clip, printable

PROGRAM = (sys.executable, "-P", "-m", "ct_daemon.workers.counting_speed")
LONGEST_S = 120.0
"""Compiling takes a few seconds, the first time on a machine."""
KERNELS = ("", "numpy", "numba")


class NotCountedError(Exception):
    """The process that tried gave no answer; the message says how it ended."""


def tried() -> dict[str, Any]:
    """The kernel that counts here: `name`, `version`, `note`, `amiss`, `milliseconds` for a million values, `wish`.

    Raises
    ------
    NotCountedError
        When the process that tries it dies or is stuck.
    """
    try:
        done = subprocess.run(
            PROGRAM, stdin=subprocess.DEVNULL, capture_output=True, timeout=LONGEST_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise NotCountedError(f"no answer within {LONGEST_S:.0f} s") from error
    try:
        found: dict[str, Any] = json.loads(done.stdout)
    except ValueError as error:
        last = printable(done.stderr.decode(errors="replace").strip().rpartition("\n")[2])
        raise NotCountedError(f"the process {describe_end(done.returncode)}: {clip(last, 200)}") from error
    return found


def in_words(found: dict[str, Any]) -> tuple[str, str, str]:
    """Level, what was found, and the next step."""
    which = f"compiled (numba {found['version']})" if found["name"] == "numba" else "numpy"
    what = f"counting: {which}, {found['milliseconds']:.1f} ms for a million values"
    note = printable(found["note"])
    if found["wish"] not in KERNELS:
        wish = clip(printable(found["wish"]), 40)
        return "warning", f"{what}; CT_DAEMON_KERNEL is {wish!r}", "set it to numpy or numba, or not at all"
    if found["amiss"]:
        return (
            "warning",
            f"{what}; {note}",
            "CT_DAEMON_KERNEL=numpy does without numba; the results are the same",
        )
    return "ok", f"{what}; {note}" if note else what, ""
