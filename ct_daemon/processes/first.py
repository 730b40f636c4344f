"""The first thing that a child runs: it ties its life to its parent's, then runs the wanted module.

Run as a file, before this package can be imported; so it imports nothing but the standard library.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import resource
import runpy
import signal
import site
import sys
import traceback
from pathlib import Path

HEARING, DEAF = "hearing", "deaf"
"""Whether SIGTERM and SIGINT end the child."""
MEMORY_EXIT, DISK_EXIT = 72, 73
"""Exit codes of a child that ended in a MemoryError, or because a disk took no more."""
SACRIFICED_FIRST = {"hearing": 1000, "deaf": 100}
"""Added to the kernel's score of a child when memory is short: a trainer goes before a worker, the daemon last."""
DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38


def _first_steps(parent: str, ears: str, module: str, *arguments: str) -> None:
    """Tie this process to its parent, then run the module as ``__main__``."""
    if sys.platform == "linux":
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
        _offer_to_the_killer(SACRIFICED_FIRST[ears])
    if os.getppid() != int(parent):  # it died before the signal was set
        sys.exit("the parent is gone")
    if ears == DEAF:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the starting thread may have blocked some
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _import_from(str(Path(__file__).resolve().parents[2]))
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except MemoryError:
        traceback.print_exc()
        sys.exit(MEMORY_EXIT)
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        traceback.print_exc()
        sys.exit(DISK_EXIT)


def _import_from(root: str) -> None:
    """Let the child take this package from where its parent has it, which may not be where another is installed."""
    sites = {*site.getsitepackages(), site.getusersitepackages()}
    if root not in sys.path:
        at = next((at for at, folder in enumerate(sys.path) if folder in sites), len(sys.path))
        sys.path.insert(at, root)


def _offer_to_the_killer(by: int) -> None:
    """Be more willing than the parent to be ended when memory is short. More is always allowed, if it can be said."""
    score = Path("/proc/self/oom_score_adj")
    with contextlib.suppress(OSError):
        score.write_text(str(min(int(score.read_text()) + by, 1000)))


def _prctl(option: int, value: int) -> None:
    zero = ctypes.c_ulong(0)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(ctypes.c_int(option), ctypes.c_ulong(value), zero, zero, zero) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}) failed")


if __name__ == "__main__":
    _first_steps(*sys.argv[1:])
